"""What is told of a folder that has CIFAR-10 elsewhere, in another form, or not at all."""

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import cli
from datamodules import download
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_set import Archive
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.readers import lookalikes
from datamodules.readers.cifar import CIFARDataSet
from zoo.scratch import __main__ as lesson


def put(*names: str) -> None:
    """Make small files, and folders where a name ends in a slash."""
    for name in names:
        path = Path("data") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"0")


def pack(archive: str, *names: str) -> None:
    Path("data").mkdir(exist_ok=True)
    if archive.endswith(".zip"):
        with zipfile.ZipFile(f"data/{archive}", "w") as file:
            for name in names:
                file.writestr(name, "0")
        return
    with tarfile.open(f"data/{archive}", "w" if archive.endswith("tar") else "w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())


BATCHES = [f"cifar-10-batches-py/{name}" for name in CIFAR10.files]
FOUND = {
    "a folder deeper": (lambda: put("cifar/cifar-10-batches-py/data_batch_1"), "it lies in 'data/cifar': name that"),
    "two folders deeper": (lambda: put("a/b/test_batch"), "it lies in 'data/a/b': name that folder"),
    "Keras": (
        lambda: put("datasets/cifar-10-batches-py-target/cifar-10-batches-py/data_batch_1"),
        "it lies in 'data/datasets/cifar-10-batches-py-target': name that folder",
    ),
    "archive under another name": (lambda: pack("cifar-10-python (1).tar.gz", *BATCHES), "(1).tar.gz' holds it: name"),
    "archive of Keras": (lambda: pack("cifar-10-batches-py.tar.gz", *BATCHES), "py.tar.gz' holds it: name"),
    "archive without compression": (lambda: pack("cifar-10-python.tar", *BATCHES), "python.tar' holds it: name"),
    "zip": (lambda: pack("archive.zip", *BATCHES), "'data/archive.zip' holds it: unpack that file"),
    "binary": (lambda: put("cifar-10-batches-bin/data_batch_1.bin"), "batches-bin' holds CIFAR-10's binary"),
    "archive of the binary version": (
        lambda: pack("cifar-10-binary.tar.gz", "cifar-10-batches-bin/", "cifar-10-batches-bin/data_batch_1.bin"),
        "'data/cifar-10-binary.tar.gz' holds CIFAR-10's binary version",
    ),
    "Matlab": (lambda: put("data_batch_1.mat", "test_batch.mat"), "'data' holds CIFAR-10's Matlab version"),
    "Kaggle": (lambda: put("train/1.png", "train/2.png", "trainLabels.csv"), "'data' holds CIFAR-10 as Kaggle"),
    "archive of Kaggle": (lambda: pack("cifar-10.zip", "train.7z", "trainLabels.csv"), "holds CIFAR-10 as Kaggle"),
    "a folder of pictures for each class": (
        lambda: put(*(f"train/{name}/0001.png" for name in CIFAR10.class_names)),
        "'data/train' holds image files in a folder for each class",
    ),
    "CIFAR-100": (lambda: put("cifar-100-python/train", "cifar-100-python/test"), "holds CIFAR-100, which is another"),
    "CIFAR-100 itself": (lambda: put("train", "test", "meta", "file.txt~"), "holds CIFAR-100, which is another"),
    "archive of CIFAR-100": (lambda: pack("x.tgz", "cifar-100-python/", "cifar-100-python/train"), "holds CIFAR-100"),
    "Parquet": (lambda: put("plain_text/train-00000-of-00001.parquet"), "'data/plain_text' holds Parquet files"),
    "something else": (lambda: put("a", "b/", "c", "d", "e"), "the folder holds a, b, c and 2 more"),
    "nothing": (lambda: put("x/") or Path("data/x").rmdir(), "the folder is empty"),
    "a broken archive": (lambda: put("cifar-10-python (1).tar.gz"), "the folder holds cifar-10-python (1).tar.gz"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_data_check_tells_what_is_there(case, capsys):
    make, expected = FOUND[case]
    make()
    assert cli.main(["data", "check"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no CIFAR-10 in 'data' (")
    assert expected in line
    assert "data prepare" in line


def test_every_error_tells_it(capsys):
    put("cifar/cifar-10-batches-py/data_batch_1")
    told = r"no CIFAR-10 in 'data' \(it lies in 'data/cifar': name that folder\)"
    with pytest.raises(InputError, match=told):
        CIFAR10.read("data", "test")
    with pytest.raises(InputError, match=told):
        CIFAR10DataModule("data", download=False).prepare_data()
    assert lesson.main(["--data_dir=data"]) == 2
    assert cli.main(["data", "show"]) == 2
    error = capsys.readouterr().err
    assert error.count("(it lies in 'data/cifar': name that folder)") == 2


def test_it_is_told_before_a_download(capsys):
    put("data_batch_1.bin")
    nowhere = replace(CIFAR10, archives=(Archive("x", ("http://127.0.0.1:9/x",), 10, "", room=10),))
    with pytest.raises(InputError):
        download.fetch(nowhere, "data")
    assert "Before the download: 'data' holds CIFAR-10's binary version" in capsys.readouterr().out


def test_a_misspelled_folder(capsys):
    Path("cifar10").mkdir()
    assert cli.main(["data", "check", "--data_dir=cifar01"]) == 1
    assert "(there is no such folder. Did you mean 'cifar10'?)" in capsys.readouterr().out


def test_a_batch_file_stands_for_its_folder(official_layout):
    folder = official_layout / CIFAR10.folder
    assert CIFAR10.find(folder / "test_batch") == folder


def test_a_link_in_a_circle_comes_to_an_end(capsys):
    put("a/b/c/d/")
    Path("data/a/back").symlink_to(Path("data").resolve())
    assert cli.main(["data", "check"]) == 1
    assert "the folder holds a" in capsys.readouterr().out


def test_a_folder_that_may_not_be_searched_costs_nothing(monkeypatch, capsys):
    """As root, any may be: so the refusal is played."""
    put("closed/x", "other")
    look = CIFARDataSet.find

    def refuse(self, place):
        if Path(place).name == "closed":
            raise InputError("cannot be searched")
        return look(self, place)

    monkeypatch.setattr(CIFARDataSet, "find", refuse)
    assert cli.main(["data", "check"]) == 1
    assert "the folder holds closed, other" in capsys.readouterr().out


def test_of_many_archives_a_few_are_looked_into(monkeypatch):
    looked = []
    monkeypatch.setattr(lookalikes, "in_archive", lambda data_set, path: looked.append(path) or "")
    put(*(f"{number}.zip" for number in range(100)))
    assert lookalikes.recognized(CIFAR10, Path("data")) == ""
    assert len(looked) == lookalikes.MOST_ARCHIVES
