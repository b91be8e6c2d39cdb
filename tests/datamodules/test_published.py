"""The published data sets beside CIFAR-10: their descriptions, and their readers on small files of the same layout."""

import gzip
import hashlib
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision.datasets

import datamodules
from datamodules import download
from datamodules.data_sets import CIFAR100_COARSE, PUBLISHED
from datamodules.errors import InputError
from tests.data_files import COUNTS, take, take_cifar100, write_cifar100, write_idx, write_svhn
from tests.helpers import refusal

CIFAR100, FASHION, MNIST, SVHN = (PUBLISHED[name] for name in ("CIFAR100", "FashionMNIST", "MNIST", "SVHN"))
FIT = ("fit", "--model=MLP", "--model.hidden_sizes=[4]", "--data.val_size=10", "--trainer.max_epochs=1")


# Descriptions.


@pytest.mark.parametrize("option", ["CIFAR100", "FashionMNIST", "MNIST", "SVHN"])
def test_sums_are_torchvisions(option):
    ours, theirs = PUBLISHED[option], getattr(torchvision.datasets, option)
    if option == "CIFAR100":
        sums = dict(map(tuple, theirs.train_list + theirs.test_list)) | {theirs.meta["filename"]: theirs.meta["md5"]}
        assert ours.md5 == sums
        assert ours.archive.md5 == theirs.tgz_md5
        assert ours.archive.addresses[0] == theirs.url
    elif option == "SVHN":
        assert ours.md5 == {theirs.split_list[split][1]: theirs.split_list[split][2] for split in ("train", "test")}
        assert {a.name: a.md5 for a in ours.archives} == ours.md5
    else:
        assert {archive.name: archive.md5 for archive in ours.archives} == dict(theirs.resources)
        for mirror in theirs.mirrors:
            assert all(f"{mirror}{archive.name}" in archive.addresses for archive in ours.archives)


def test_class_names_of_fashion_mnist_are_torchvisions():
    assert list(FASHION.class_names) == torchvision.datasets.FashionMNIST.classes


@pytest.mark.parametrize("option", PUBLISHED)
def test_a_description_is_complete(option):
    data_set = PUBLISHED[option]
    assert len(data_set.mean) == len(data_set.std) == data_set.channels
    assert len(set(data_set.class_names)) == len(data_set.class_names) >= 10
    assert data_set.origin
    assert data_set.page.startswith("http")
    assert data_set.form
    assert {archive.name.removesuffix(".gz") for archive in data_set.archives} == {*data_set.files} or option in (
        "CIFAR10",
        "CIFAR100",
    )


def test_labels_of_cifar100():
    assert (len(CIFAR100.class_names), len(CIFAR100_COARSE.class_names)) == (100, 20)
    assert list(CIFAR100.class_names) == sorted(CIFAR100.class_names)
    assert list(CIFAR100_COARSE.class_names) == sorted(CIFAR100_COARSE.class_names)


# Readers.


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["data", "data/mnist", "data/mnist/t10k-labels-idx1-ubyte"])
def test_idx(monkeypatch, packed, place):
    folder = write_idx(Path("data/mnist"), packed)
    data_set = take(monkeypatch, "MNIST", folder)
    place = f"{place}.gz" if packed and "ubyte" in place else place
    for split, count in COUNTS.items():
        images, labels, official = data_set.read(place, split)
        assert official
        assert images.shape == (count, 1, 28, 28)
        np.testing.assert_array_equal(images[:, 0, 27, 27], np.arange(count))
        assert (images[:, 0, 2, 5] == 255).all(), "row, column"
        np.testing.assert_array_equal(labels, np.arange(count) % 10)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        images[0] = 1  # they can be written to, as PyTorch asks for


@pytest.mark.parametrize("labels", ["fine", "coarse"])
def test_cifar100(monkeypatch, labels):
    take_cifar100(monkeypatch, write_cifar100(Path("data/cifar-100-python")))
    data = datamodules.CIFAR100(data_dir="data", labels=labels, val_size=100)
    data.setup()
    assert data.num_classes == (100 if labels == "fine" else 20)
    assert data.chosen == {"labels": labels}
    expected = data.test.images[:, 0, 0, 0].long() % data.num_classes
    assert data.test.labels.tolist() == expected.tolist()


def test_svhn(monkeypatch):
    data_set = take(monkeypatch, "SVHN", write_svhn(Path("data/svhn")))
    images, labels, official = data_set.read("data", "train")
    assert official
    np.testing.assert_array_equal(labels, (np.arange(60) + 1) % 10)  # 10 stands for the digit 0
    np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(60) % 10 + 1)
    assert (images[:, 1, 2, 5] == 77).all(), "channel, row, column"
    assert (images == 77).sum() == 60


@pytest.mark.fashion_mnist
def test_fashion_mnist_as_it_is(fashion_mnist):
    """Debian's copy, which is packed anew, and torchvision's reader on it."""
    for split in ("train", "test"):
        images, labels, official = FASHION.read(fashion_mnist, split)
        assert official
        prefix = "train" if split == "train" else "t10k"
        unpacked = {}
        for kind in ("images-idx3", "labels-idx1"):
            unpacked[kind] = Path(f"{prefix}-{kind}-ubyte")
            unpacked[kind].write_bytes(gzip.decompress((fashion_mnist / f"{unpacked[kind]}.gz").read_bytes()))
        theirs = torchvision.datasets.mnist
        np.testing.assert_array_equal(images[:, 0], theirs.read_image_file(str(unpacked["images-idx3"])))
        np.testing.assert_array_equal(labels, theirs.read_label_file(str(unpacked["labels-idx1"])))
        if split == "train":
            assert images.mean() / 255 == pytest.approx(FASHION.mean[0], abs=5e-5)
            assert images.std() / 255 == pytest.approx(FASHION.std[0], abs=5e-5)


def test_readers_need_no_torch():
    code = "import datamodules.data_sets, sys; assert not {'torch', 'lightning', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(datamodules.__file__).parents[1])


# Bad files.


def rewritten(folder: Path, name: str, change) -> None:
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


IDX_CASES = {
    "a missing file": (lambda folder: (folder / "train-labels-idx1-ubyte.gz").unlink(), "lacks train-labels-idx1"),
    "a wrong number at the start": (
        lambda folder: rewritten(folder, "train-images-idx3-ubyte", lambda c: b"\0\0\x0d\x03" + c[4:]),
        "begins with 0x00000d03, and IDX images with 0x00000803",
    ),
    "labels in place of images": (
        lambda folder: (folder / "train-labels-idx1-ubyte.gz").replace(folder / "train-images-idx3-ubyte.gz"),
        "lacks train-labels-idx1-ubyte",
    ),
    "a wrong size": (
        lambda folder: rewritten(folder, "train-images-idx3-ubyte", lambda c: c[:4] + struct.pack(">I", 59) + c[8:]),
        "holds 59 x 28 x 28 bytes, expected 60 x 28 x 28",
    ),
    "cut": (lambda folder: rewritten(folder, "train-images-idx3-ubyte", lambda c: c[:-1]), "truncated download"),
    "an empty file": (lambda folder: rewritten(folder, "train-labels-idx1-ubyte", lambda c: b""), "has 0 bytes"),
    "too long": (lambda folder: rewritten(folder, "train-images-idx3-ubyte", lambda c: c + bytes(9)), "more than"),
    "no gzip": (lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(b"<html>"), "cannot be read"),
    "a label out of range": (
        lambda folder: rewritten(folder, "train-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a"),
        "label 10 of image 59 is not a class from 0 to 9",
    ),
}


@pytest.mark.parametrize("case", IDX_CASES)
def test_bad_idx_files(monkeypatch, capsys, case):
    damage, expected = IDX_CASES[case]
    folder = write_idx(Path("data/mnist"))
    take(monkeypatch, "MNIST", folder)
    damage(folder)
    line = refusal(capsys, *FIT, "--data=MNIST", "--data.verify_checksums=false")
    assert expected in line
    assert not Path("runs").exists()


@pytest.mark.parametrize("verify", ["true", "false"])
def test_files_of_mnist_are_not_taken_for_fashion_mnist(monkeypatch, capsys, verify):
    """They have the same names and sizes: without the sums, nothing would tell."""
    take(monkeypatch, "MNIST", write_idx(Path("theirs")))
    take(monkeypatch, "FashionMNIST", write_idx(Path("ours"), shift=100))
    options = ("--data=FashionMNIST", "--data.data_dir=theirs", f"--data.verify_checksums={verify}")
    assert "is a file of MNIST: train on it by --data MNIST" in refusal(capsys, *FIT, *options)


def test_a_copy_of_fashion_mnist(monkeypatch, capsys):
    """Other files are refused by their sums, and can be used knowingly."""
    take(monkeypatch, "FashionMNIST", write_idx(Path("ours")))
    write_idx(Path("copy"), shift=100)
    options = ("--data=FashionMNIST", "--data.data_dir=copy")
    assert "not the official Fashion-MNIST" in refusal(capsys, *FIT, *options)
    data_set = PUBLISHED["FashionMNIST"]
    assert not data_set.read("copy", "train", verify_checksums=False).official


SVHN_CASES = {
    "not a Matlab file": (lambda path: path.write_bytes(b"<html>"), "not a readable Matlab file"),
    "no labels": (lambda path: scipy.io.savemat(path, {"X": np.zeros((32, 32, 3, 60), np.uint8)}), "'y' is missing"),
    "too few images": (
        lambda path: scipy.io.savemat(path, {"X": np.zeros((32, 32, 3, 9), np.uint8), "y": np.ones((9, 1), np.uint8)}),
        "'X' is uint8 (32, 32, 3, 9), expected uint8 (32, 32, 3, 60)",
    ),
    "label 0": (
        lambda path: scipy.io.savemat(
            path, {"X": np.zeros((32, 32, 3, 60), np.uint8), "y": np.zeros((60, 1), np.uint8)}
        ),
        "label 0 of image 0",
    ),
}


def test_svhn_pixels_are_unpacked_once_their_shape_is_known(monkeypatch, capsys):
    """A few packed kilobytes can hold gigabytes."""
    damage, expected = SVHN_CASES["too few images"]
    folder = write_svhn(Path("data/svhn"))
    take(monkeypatch, "SVHN", folder)
    damage(folder / "train_32x32.mat")
    monkeypatch.setattr(scipy.io, "loadmat", None)
    assert expected in refusal(capsys, *FIT, "--data=SVHN", "--data.verify_checksums=false")


@pytest.mark.parametrize("case", SVHN_CASES)
def test_bad_svhn_files(monkeypatch, capsys, case):
    damage, expected = SVHN_CASES[case]
    folder = write_svhn(Path("data/svhn"))
    take(monkeypatch, "SVHN", folder)
    damage(folder / "train_32x32.mat")
    assert expected in refusal(capsys, *FIT, "--data=SVHN", "--data.verify_checksums=false")


@pytest.mark.parametrize("command", [FIT, ("data", "prepare"), ("data", "check")])
def test_svhn_needs_scipy(monkeypatch, capsys, command):
    monkeypatch.setattr("datamodules.readers.mat.find_spec", lambda name: None)
    assert "pip install 'cifar10-zoo[svhn]'" in refusal(capsys, *command, "--data", "SVHN")
    assert not list(Path().iterdir())


# Data sets that are taken for each other.


def test_the_folder_of_another_data_set(official_layout, capsys):
    """Each names the other, and how to train on it."""
    write_cifar100(Path("hundred/cifar-100-python"))
    write_idx(Path("gray"))
    for data, folder, told in (
        ("CIFAR100", official_layout, "holds CIFAR-10, which is another data set: read it by --data CIFAR10)"),
        ("CIFAR10", "hundred", "holds CIFAR-100, which is another data set: read it by --data CIFAR100)"),
        ("SVHN", "gray", "holds Fashion-MNIST or MNIST, which is another data set: read it by --data FashionMNIST or"),
    ):
        options = (f"--data={data}", f"--data.data_dir={folder}", "--data.download=false")
        assert told in refusal(capsys, *FIT, *options)


def test_the_class_folder_train_is_not_cifar100():
    Path("photos/train/cat").mkdir(parents=True)
    assert CIFAR100.find("photos") is None


# Downloads of several files.


def test_a_download_of_four_files(monkeypatch, capsys):
    served = write_idx(Path("server"))
    data_set = take(monkeypatch, "MNIST", served)
    archives = tuple(
        archive._replace(
            addresses=(f"http://a/{archive.name}",),
            size=(served / archive.name).stat().st_size,
            md5=hashlib.md5((served / archive.name).read_bytes()).hexdigest(),
        )
        for archive in data_set.archives
    )
    data_set = replace(data_set, archives=archives)
    asked = []

    def complete(part: Path, address: str, archive, patient: bool) -> None:
        asked.append(address)
        if len(asked) == 3 and address.startswith("http://a/"):
            raise InputError("stop")
        part.write_bytes((served / archive.name).read_bytes())

    monkeypatch.setattr(download, "_complete", complete)
    with pytest.raises(InputError, match="stop"):
        download.fetch(data_set, "data")
    assert data_set.find("data") is None
    assert len(list(Path("data").glob("mnist-*.part"))) == 2, "those of another data set have other names"
    download.fetch(data_set, "data", ["http://mirror/"])
    assert asked[3:] == [f"http://mirror/{archive.name}" for archive in archives[2:]], "what is there is kept"
    assert all(verdict.official for verdict in data_set.check(Path("data/mnist")))
    assert sorted(path.name for path in Path("data").iterdir()) == ["mnist"]
    with pytest.raises(InputError, match=r"mirror 'http://b/x\.gz' names one file: give the folder"):
        download.fetch(data_set, "elsewhere", ["http://b/x.gz"])
