"""The NumPy reader: what it reads, and what it refuses."""

import io
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.readers import cifar
from tests.helpers import Malicious, batch_file, write_pickle


def read(root, split="test", **options):
    return CIFAR10.read(root, split, verify_checksums=False, **options)


def test_reads_what_was_written(official_layout):
    train, test = read(official_layout, "train"), read(official_layout, "test")
    assert train.images.shape == (50_000, 3, 32, 32)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    assert np.bincount(train.labels).tolist() == [5000] * 10
    # Batch k was filled with 20 x label + 5 + k.
    np.testing.assert_array_equal(train.images[30_000:40_000, 2, 31, 31], train.labels[30_000:40_000] * 20 + 5 + 3)
    assert not test.official


def test_channels_rows_and_columns_are_in_the_official_order(damaged_layout):
    row = np.arange(3072) % 251
    data = np.tile(row.astype(np.uint8), (10_000, 1))
    _replace(damaged_layout, "test_batch", batch_file("test_batch", data=data))
    image = read(damaged_layout).images[0]
    assert image[0, 0].tolist() == row[:32].tolist()  # the first 1024 values are red, row by row
    assert image[1, 2, 3] == row[1024 + 2 * 32 + 3]


@pytest.mark.parametrize("inside", ["root", "folder"])
def test_either_folder_may_be_named(official_layout, inside):
    root = official_layout if inside == "root" else official_layout / CIFAR10.folder
    assert len(read(root).labels) == 10_000


@pytest.mark.parametrize("named", ["archive", "folder"])
def test_reads_the_archive_as_it_comes(official_layout, tmp_path, named):
    archive = tmp_path / CIFAR10.archive.name
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(official_layout / CIFAR10.folder, CIFAR10.folder)
    test = read(archive if named == "archive" else tmp_path)
    np.testing.assert_array_equal(test.images, read(official_layout).images)


def test_needs_no_torch():
    code = "import datamodules.readers.cifar, sys; assert not {'torch', 'lightning', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(cifar.__file__).parents[2])


def _replace(root: Path, name: str, content: object) -> None:
    path = root / CIFAR10.folder / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_pickle(path, content)


class MaliciousEncode:
    def __reduce__(self):
        import codecs

        return (codecs.encode, ("x", "rot13"))


def without(name: str, key: str) -> dict:
    return {k: v for k, v in batch_file(name).items() if k != key}


BAD = {
    "truncated": (lambda: pickle.dumps(batch_file("test_batch"), 2)[:1_000_000], "not a readable batch file"),
    "empty": (lambda: b"", "not a readable batch file"),
    "no pickle": (lambda: b"<html>404</html>", "not a readable batch file"),
    "runs code": (lambda: Malicious(), "asks to call"),
    "runs code inside": (lambda: batch_file("test_batch", data=Malicious()), "asks to call"),
    "odd encoding": (lambda: MaliciousEncode(), "rot13"),
    "a list": (lambda: [1, 2, 3], "holds a list"),
    "swapped": (lambda: batch_file("data_batch_2"), "calls itself 'training batch 2 of 5'"),
    "too few images": (lambda: batch_file("test_batch", data=np.zeros((9_999, 3072), np.uint8)), "(9999, 3072)"),
    "batch_label an array": (lambda: batch_file("test_batch", batch_label=np.zeros(3)), "calls itself"),
    "floats": (lambda: batch_file("test_batch", data=np.zeros((10_000, 3072), np.float32)), "float32"),
    "no data": (lambda: without("test_batch", "data"), "'data' is NoneType"),
    "no labels": (lambda: without("test_batch", "labels"), "'labels' is NoneType"),
    "too few labels": (lambda: batch_file("test_batch", labels=[0] * 9_999), "length 9999"),
    "label too large": (lambda: batch_file("test_batch", labels=[0] * 9_999 + [10]), "label 10 of image 9999"),
    "label negative": (lambda: batch_file("test_batch", labels=[-1] + [0] * 9_999), "label -1 of image 0"),
    "label a float": (lambda: batch_file("test_batch", labels=[0.5] * 10_000), "label 0.5 of image 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(damaged_layout, case):
    content, message = BAD[case]
    _replace(damaged_layout, "test_batch", content())
    with pytest.raises(InputError, match=r"test_batch") as raised:
        read(damaged_layout)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not Path("it-ran").exists()


def test_refuses_another_data_set(damaged_layout):
    _replace(damaged_layout, "batches.meta", {"label_names": ["apple", "bear"]})
    with pytest.raises(InputError, match="apple"):
        read(damaged_layout)


def test_names_as_an_array_are_names(damaged_layout):
    _replace(damaged_layout, "batches.meta", {"label_names": np.array(CIFAR10.class_names, dtype="S10")})
    assert len(read(damaged_layout).labels) == 10_000


def test_malicious_meta_runs_nothing(damaged_layout):
    _replace(damaged_layout, "batches.meta", Malicious())
    with pytest.raises(InputError, match=r"batches\.meta"):
        read(damaged_layout)
    assert not Path("it-ran").exists()


def test_missing_file_is_named(damaged_layout):
    _replace(damaged_layout, "data_batch_3", None)
    with pytest.raises(InputError, match="lacks data_batch_3"):
        read(damaged_layout, "train")


def test_nothing_there(tmp_path):
    assert CIFAR10.find(tmp_path / "nowhere") is None
    with pytest.raises(InputError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_truncated_archive(official_layout, tmp_path):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=1) as tar:
        tar.add(official_layout / CIFAR10.folder / "test_batch", f"{CIFAR10.folder}/test_batch")
    (tmp_path / CIFAR10.archive.name).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(InputError, match="truncated"):
        read(tmp_path)


def test_checksums_tell_which_file_differs_and_what_to_do(official_layout):
    with pytest.raises(InputError) as raised:
        CIFAR10.read(official_layout, "test")
    message = str(raised.value)
    assert "test_batch" in message
    assert CIFAR10.md5["test_batch"] in message
    assert "--data.verify_checksums=false" in message
    assert "\n" not in message


def test_checksums_are_torchvisions():
    from torchvision import datasets

    theirs = dict(map(tuple, datasets.CIFAR10.train_list + datasets.CIFAR10.test_list))
    assert theirs | {datasets.CIFAR10.meta["filename"]: datasets.CIFAR10.meta["md5"]} == CIFAR10.md5


@pytest.mark.real_data
def test_real_files_agree_with_torchvision(real_data, monkeypatch):
    """torchvision refuses a copy by its checksums: its check is switched off, its reader used."""
    from torchvision import datasets

    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    theirs = datasets.CIFAR10(real_data, train=False)
    ours = read(real_data)
    np.testing.assert_array_equal(ours.images.transpose(0, 2, 3, 1), theirs.data)
    assert ours.labels.tolist() == theirs.targets


def archive(path: Path, members: dict[str, bytes], header_only: dict[str, int] | None = None, mode: str = "w") -> Path:
    """An archive; of some members only the header, which tells a size."""
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, size in (header_only or {}).items():
            info = tarfile.TarInfo(name)
            info.size = size
            tar.fileobj.write(info.tobuf())
    return path


def test_an_archive_that_stands_for_gigabytes_is_not_unpacked(tmp_path, monkeypatch):
    """By the sizes that it tells, and by what comes out of it."""
    path = archive(tmp_path / "a.tar", {}, {f"{CIFAR10.folder}/test_batch": 6_000_000_000})
    with pytest.raises(InputError, match=r"test_batch' is 6,000,000,000 bytes, expected 200,000,000 at most"):
        read(path)
    path = archive(tmp_path / "b.tar", {}, {f"{CIFAR10.folder}/batches.meta": 2_000_000})
    with pytest.raises(InputError, match=r"batches.meta' is 2,000,000 bytes, expected 1,000,000 at most"):
        read(path)

    monkeypatch.setattr(cifar, "MOST_UNPACKED", 2_000_000)
    stray = {"stray": bytes(3_000_000)}
    for end, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        path = archive(tmp_path / f"c.{end}", stray, mode=mode)
        with pytest.raises(InputError, match=f"c.{end}' unpacks to more than 2,000,000 bytes"):
            read(path)
    # A header that is itself as long: tarfile reads it whole.
    long_name = tarfile.TarInfo("x" * 3_000_000)
    (tmp_path / "d.tar").write_bytes(long_name.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(InputError, match="unpacks to more than"):
        read(tmp_path / "d.tar")
    assert all("unpacks to more than" in verdict.problem for verdict in CIFAR10.check(tmp_path / "d.tar"))


def test_a_file_that_is_too_large_is_not_read(damaged_layout):
    _replace(damaged_layout, "test_batch", None)
    with (damaged_layout / CIFAR10.folder / "test_batch").open("wb") as file:
        file.truncate(6_000_000_000)  # which takes no room on the disk
    with pytest.raises(InputError, match=r"test_batch' is 6,000,000,000 bytes"):
        read(damaged_layout)


@pytest.mark.parametrize("mode", ["w:xz", "w"])
def test_an_archive_may_be_packed_in_other_ways(official_layout, tmp_path, mode):
    members = {name: (official_layout / CIFAR10.folder / name).read_bytes() for name in ("test_batch", "batches.meta")}
    assert len(read(archive(tmp_path / "other", members, mode=mode)).labels) == 10_000


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", b""])
def test_a_damaged_archive_of_each_kind(tmp_path, start):
    (tmp_path / "damaged").write_bytes(start + bytes(range(256)) * 8)
    with pytest.raises(InputError, match="cannot be read as an archive"):
        read(tmp_path / "damaged")


def test_a_pickle_that_asks_for_all_memory_is_not_read(damaged_layout):
    """Twelve bytes: an empty dictionary, remembered as number 2,147,483,647 of a list."""
    _replace(damaged_layout, "test_batch", b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(InputError, match="test_batch' is not a readable batch file: it numbers an object 2,147"):
        read(damaged_layout)
    verdict = next(v for v in CIFAR10.check(damaged_layout / CIFAR10.folder) if v.name == "test_batch")
    assert "it numbers an object" in verdict.problem
