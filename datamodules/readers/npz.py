"""Read images and labels from an .npz file of NumPy arrays, with MedMNIST's names (Yang et al., Scientific Data 2023).

The arrays are `train_images` and `train_labels`, and the same for val and test:

- images: uint8 (n, h, w), (n, h, w, 1) or (n, h, w, 3), with h = w, at most 1024
- labels: integers (n,) or (n, 1), 0 for the first class
- class_names, optional: strings; without them the classes are called "0", "1" and so on

No pickle is read, so that a stranger's file runs no code.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from datamodules.data_set import (
    LARGEST_SIDE,
    DataSet,
    Split,
    SplitName,
    check_names,
    check_training_images,
    cut_test,
)
from datamodules.errors import InputError, did_you_mean
from datamodules.paths import user_path
from datamodules.readers.files import class_labels
from datamodules.readers.image_folder import SPLITS, names_of

MOST_CLASSES = 100_000
Headers = Mapping[str, tuple[tuple[int, ...], np.dtype]]  # shape and dtype of each array


@dataclass(frozen=True, eq=False, kw_only=True)
class ArraysDataSet(DataSet):
    """The arrays that `describe` found in a file."""

    # Of each split: the array of the file, the positions in it, and the labels.
    parts: Mapping[SplitName, tuple[str, np.ndarray, np.ndarray]]

    def find(self, data_dir: str | Path) -> Path | None:
        path = user_path(data_dir)
        return path if path.is_file() else None

    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        key, positions, labels = self.parts[split]
        images = _load(user_path(data_dir), key)[positions]
        channels_last = images if images.ndim == 4 else images[..., None]
        return Split(channels_last.transpose(0, 3, 1, 2), labels, official=True)


def describe(data_dir: str | Path) -> ArraysDataSet:
    """Return the description of a file of arrays; raise InputError if they are not usable. Reads labels, not pixels."""
    path = user_path(data_dir)
    if path.is_dir():
        found = ", ".join(sorted(file.name for file in path.glob("*.npz"))[:3])
        raise InputError(f"--data.data_dir={data_dir} is a folder: name an .npz file ({found or 'it holds none'})")
    if not path.is_file():
        hint = did_you_mean(path.name, [file.name for file in path.parent.glob("*.npz") if file.is_file()])
        raise InputError(f"--data.data_dir={data_dir} is not a file.{hint} Give an .npz file of images and labels")
    headers = _headers(path)
    if lacking := [key for key in ("train_images", "train_labels") if key not in headers]:
        hint = did_you_mean(lacking[0], headers)
        raise InputError(f"'{path}' has no array {lacking[0]}.{hint} It holds {', '.join(headers) or 'none'}")

    splits = [split for split in SPLITS if {f"{split}_images", f"{split}_labels"} & headers.keys()]
    labels = {split: _labels(path, split, headers) for split in splits}
    shapes = {split: _shape(path, f"{split}_images", headers) for split in splits}
    if different := [split for split in splits if shapes[split] != shapes["train"]]:
        told = ", ".join(f"{split}_images have {shapes[split]}" for split in ("train", different[0]))
        raise InputError(f"'{path}': the images differ in their shape (channels, height, width): {told}")
    class_names = _class_names(path, headers, labels["train"])
    for split, values in labels.items():
        class_labels(f"'{path}': {split}_labels", values, len(class_names))

    parts = {split: (f"{split}_images", np.arange(len(values)), values) for split, values in labels.items()}
    if "test" not in parts:
        train, test = (("train_images", chosen, labels["train"][chosen]) for chosen in cut_test(labels["train"]))
        parts |= {"train": train, "test": test}
    check_training_images(f"'{path}'", class_names, parts["train"][2])
    name, title = names_of(path)
    channels, image_size, _ = shapes["train"]
    return ArraysDataSet(
        name=name,
        title=title,
        class_names=class_names,
        train_images=len(parts["train"][2]),
        test_images=len(parts["test"][2]),
        splits=tuple(split for split in SPLITS if split in parts),
        channels=channels,
        image_size=image_size,
        parts=parts,
    )


def _headers(path: Path) -> Headers:
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    version = npy.read_magic(file)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = read(file)
                key = member.filename.removesuffix(".npy")
                if key in headers:  # NumPy would read either of them
                    raise InputError(f"'{path}' holds two arrays {key}: leave one out")
                headers[key] = (shape, dtype)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"'{path}' cannot be read as an .npz file: {error}") from error
    for key, (_, dtype) in headers.items():
        if dtype.hasobject:
            raise InputError(f"'{path}': {key} holds Python objects, which only a pickle can: save an array of numbers")
    return headers


def _load(path: Path, key: str) -> Any:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[key]
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"'{path}': {key} cannot be read: {error}") from error


def _shape(path: Path, key: str, headers: Headers) -> tuple[int, int, int]:
    """Return the shape of an image, (channels, height, width)."""
    shape, dtype = headers[key]
    if dtype != np.uint8:
        way_out = ": turn 0..1 into bytes, (255 * images).round().astype(np.uint8)" if dtype.kind == "f" else ""
        raise InputError(f"'{path}': {key} are {dtype}, expected uint8 pixels of 0 to 255{way_out}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise InputError(f"'{path}': {key} are {shape}, expected (n, h, w), (n, h, w, 1) or (n, h, w, 3)")
    if shape[1] != shape[2]:
        raise InputError(f"'{path}': {key} are {shape[1]} x {shape[2]} pixels, expected squares: crop or resize them")
    if not 1 <= shape[1] <= LARGEST_SIDE:
        limits = f"1 x 1 to {LARGEST_SIDE:,} x {LARGEST_SIDE:,}"
        raise InputError(f"'{path}': {key} are {shape[1]} x {shape[2]} pixels, expected {limits}: resize them")
    return (shape[3] if len(shape) == 4 else 1), shape[1], shape[2]


def _labels(path: Path, split: SplitName, headers: Headers) -> np.ndarray:
    """Return the labels of a split, int64 (n,)."""
    images, key = f"{split}_images", f"{split}_labels"
    for one, other in ((images, key), (key, images)):
        if one not in headers:
            raise InputError(f"'{path}' has {other} without {one}: add {one}, or leave out {other}")
    (n, *_), (shape, dtype) = headers[images][0] or (0,), headers[key]
    count = shape[0] if shape else 0
    if n == 0:
        raise InputError(f"'{path}': {images} holds no images")
    if dtype.kind not in "iu":
        raise InputError(f"'{path}': {key} are {dtype}, expected integers")
    if shape not in ((count,), (count, 1)):
        raise InputError(f"'{path}': {key} are {shape}, expected a class for each image, (n,) or (n, 1)")
    if count != n:
        raise InputError(f"'{path}': {key} has {count:,} labels for {n:,} images")
    return _load(path, key).reshape(n).astype(np.int64)


def _class_names(path: Path, headers: Headers, labels: np.ndarray) -> tuple[str, ...]:
    """Return the names of the classes: those in the file, or else their numbers."""
    if "class_names" not in headers:
        if labels.max() >= MOST_CLASSES:
            raise InputError(f"'{path}': train_labels go up to {labels.max():,}: {MOST_CLASSES:,} classes at most")
        return check_names(f"'{path}'", [str(number) for number in range(labels.max() + 1)])
    shape, dtype = headers["class_names"]
    if len(shape) != 1 or dtype.kind not in "US":
        raise InputError(f"'{path}': class_names are {dtype} {shape}, expected strings, (number of classes,)")
    names = _load(path, "class_names")
    texts = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names]
    return check_names(f"'{path}'", texts)
