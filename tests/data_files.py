"""Small files of data sets beside CIFAR-10, in their layouts: published ones, folders of images, and arrays."""

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from datamodules.data_set import DataSet
from datamodules.data_sets import CIFAR100, CIFAR100_COARSE, CIFAR100_LABELS, PUBLISHED
from tests.helpers import write_pickle

COUNTS = {"train": 60, "test": 20}  # images of the published ones


def md5(path: Path) -> str:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return hashlib.md5(content).hexdigest()


def take(monkeypatch, option: str, folder: Path) -> DataSet:
    """Let a data set be the small files in a folder, and return its description."""
    files = {path.name.removesuffix(".gz"): md5(path) for path in folder.iterdir()}
    sums = {name: files.get(name, "") for name in PUBLISHED[option].files}
    small = {"train_images": COUNTS["train"], "test_images": COUNTS["test"], "md5": sums}
    monkeypatch.setitem(PUBLISHED, option, replace(PUBLISHED[option], **small))
    return PUBLISHED[option]


def take_cifar100(monkeypatch, folder: Path) -> None:
    """Let CIFAR-100, with either labels, be the small files of `write_cifar100`."""
    small = {"train_images": 200, "test_images": 100, "md5": {path.name: md5(path) for path in folder.iterdir()}}
    for labels, data_set in CIFAR100_LABELS.items():
        monkeypatch.setitem(CIFAR100_LABELS, labels, replace(data_set, **small))


def write_idx(folder: Path, packed: bool = True, shift: int = 0) -> Path:
    """Write the four files of MNIST's layout; the pixels of image k are k + shift, one is 255; its label is k % 10."""
    folder.mkdir(parents=True)
    for split, count in COUNTS.items():
        prefix = "train" if split == "train" else "t10k"
        images = (np.arange(count, dtype=np.uint8) + shift).repeat(784).reshape(count, 28, 28)
        images[:, 2, 5] = 255
        contents = {
            f"{prefix}-images-idx3-ubyte": struct.pack(">4I", 0x803, count, 28, 28) + images.tobytes(),
            f"{prefix}-labels-idx1-ubyte": struct.pack(">2I", 0x801, count) + bytes(k % 10 for k in range(count)),
        }
        for name, content in contents.items():
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def write_cifar100(folder: Path) -> Path:
    """Write the files of CIFAR-100's layout; the fine label of image k is k, the coarse one k % 20."""
    folder.mkdir(parents=True)
    names = {"fine_label_names": list(CIFAR100.class_names), "coarse_label_names": list(CIFAR100_COARSE.class_names)}
    write_pickle(folder / "meta", names)
    for split, count in {"train": 200, "test": 100}.items():
        numbers = np.arange(count) % 100
        write_pickle(
            folder / split,
            {
                "data": np.repeat(numbers.astype(np.uint8)[:, None], 3072, axis=1),
                "fine_labels": numbers.tolist(),
                "coarse_labels": (numbers % 20).tolist(),
                "batch_label": f"{'training' if split == 'train' else 'testing'} batch 1 of 1",
            },
        )
    return folder


def write_svhn(folder: Path) -> Path:
    """Write the files of SVHN's layout; the labels are 1 to 10, and the pixels tell label, row and column."""
    folder.mkdir(parents=True)
    for split, count in COUNTS.items():
        labels = np.arange(count) % 10 + 1
        pixels = np.zeros((32, 32, 3, count), np.uint8)
        pixels += labels.astype(np.uint8)
        pixels[2, 5, 1] = 77
        scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": pixels, "y": labels[:, None].astype(np.uint8)})
    return folder


def put(path: str, value: int = 0, size: tuple[int, int] = (12, 9), mode: str = "RGB") -> None:
    """Write an image of one color."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 2 * value, 255 - value)).save(path)


def photos(root: str = "photos", classes: dict[str, int] | None = None) -> str:
    """Write images sorted by class: the number in the name is the value of red."""
    for name, count in (classes or {"cat": 20, "dog": 30}).items():
        for k in range(count):
            put(f"{root}/{name}/{k:02}.png", k)
    return root


def arrays(path: str = "my.npz", **changes) -> str:
    """Write arrays of 30 training images and 10 test images of 10 x 10 pixels in three classes; None leaves one out."""
    content = {
        f"{split}_{kind}": value
        for split, n in (("train", 30), ("test", 10))
        for kind, value in (
            ("images", np.arange(n, dtype=np.uint8)[:, None, None].repeat(10, 1).repeat(10, 2)),
            ("labels", np.arange(n) % 3),
        )
    }
    np.savez(path, **{key: value for key, value in (content | changes).items() if value is not None})
    return path
