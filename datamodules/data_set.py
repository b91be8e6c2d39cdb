"""`DataSet`: everything that is known about a data set, in one place. Imports no torch."""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.errors import InputError
from datamodules.paths import user_path

SplitName = Literal["train", "val", "test"]
# A fixed seed: every run holds out the same images, so that results on `val` can be compared.
SPLIT_SEED = 10
LONGEST_NAME = 100  # characters of the name of a class or a data set
LARGEST_SIDE = 1024  # pixels: height and width of images


class Split(NamedTuple):
    """The images of one split."""

    images: np.ndarray  # uint8 (n, channels, image_size, image_size)
    labels: np.ndarray  # int64 class indices (n,)
    official: bool  # whether the files that were read are the published ones


class Archive(NamedTuple):
    """A file on the network: a packed data set, or a part of one."""

    name: str  # of the file; one that ends in .tar.gz is unpacked
    addresses: tuple[str, ...]  # in the order in which the download tries them
    size: int  # in bytes
    md5: str
    room: int  # bytes on the disk that the archive and its files need side by side


class Verdict(NamedTuple):
    """The result of `DataSet.check` for one file."""

    name: str
    size: int | None = None  # in bytes; None, like `md5`, if the file is missing or unreadable
    md5: str | None = None
    official: bool = False  # whether the file is the published one
    problem: str = ""  # why the file cannot be used


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet(ABC):
    """A data set of small images. A subclass reads one format; a data set is a value in `datamodules.data_sets`."""

    name: str  # on the command line, in configs and in checkpoints
    title: str  # in plots, tables and messages
    origin: str = ""  # who made it, and when
    page: str = ""  # its address on the web
    class_names: tuple[str, ...]  # in the order of the labels
    # Of the training images, per channel, on a scale of 0 to 1; empty if they are to be measured.
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    train_images: int = 0  # 0 if it varies, like `test_images`
    test_images: int = 0
    splits: tuple[SplitName, ...] = ("train", "test")  # without "val", validation images are held out from "train"
    channels: int = 3
    image_size: int = 32  # height and width in pixels
    folder: str = ""  # holds the files
    md5: Mapping[str, str] = field(default_factory=dict)  # of each published file, unpacked, by name
    archives: tuple[Archive, ...] = ()
    form: str = ""  # what `read` can read, where there are other forms
    # Descriptions of published forms that `read` cannot read, by a pattern of their file names.
    other_forms: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image: (channels, image_size, image_size)."""
        return self.channels, self.image_size, self.image_size

    @property
    def mean_color(self) -> tuple[int, ...]:
        """Mean of the training images in bytes; normalization turns it into (nearly) zero."""
        return mean_color(self.mean)

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.md5)

    def title_of(self, official: bool) -> str:
        return self.title if official else f"{self.title} copy (not the official files)"

    def missing(self, data_dir: str | Path) -> str:
        """Return a message that `data_dir` lacks the data set, with what was found there instead."""
        from datamodules.readers import lookalikes  # imports the readers, which import this module

        instead = lookalikes.describe(self, user_path(data_dir))
        return f"no {self.title} in '{data_dir}'" + (f" ({instead})" if instead else "")

    @abstractmethod
    def find(self, data_dir: str | Path) -> Path | None:
        """Return the file or folder that `read` would read, or None; raise InputError if `data_dir` is unreadable."""

    @abstractmethod
    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        """Read one split; raise InputError if the images are missing or unusable.

        `verify_checksums` rejects files that are not the published ones. A data set that generates its images generates
        `wanted` of them.
        """

    def check(self, location: Path) -> list[Verdict]:
        """Check each published file of a location that `find` has returned, on its own."""
        return []

    def altered(self, location: Path, digests: Mapping[str, str], verify_checksums: bool) -> list[str]:
        """Return the names of the files that are not the published ones, given the MD5 sums of some files.

        Raises:
            InputError: if `verify_checksums` rejects them, or if they are files of another published data set.
        """
        altered = [name for name, digest in digests.items() if digest != self.md5[name]]
        if not altered:
            return []
        from datamodules.data_sets import PUBLISHED  # imports the readers, which import this module

        name = altered[0]
        for option, other in PUBLISHED.items():
            if other.title != self.title and digests[name] in other.md5.values():
                raise InputError(f"'{location}': {name} is a file of {other.title}: train on it by --data {option}")
        if verify_checksums:
            raise InputError(
                f"'{location}': not the official {self.title}: {', '.join(altered)} (MD5 of {name}: {digests[name]}, "
                f"official: {self.md5[name]}): the download was truncated, or this is a re-encoded copy; "
                "to use a copy, add --data.verify_checksums=false"
            )
        return altered


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of samples with the given labels, int64 (n,): a permutation of 0..n-1, int64 (n,).

    Its first k samples are a stratified subset for any k.
    """
    shuffled = rng.permutation(len(labels))
    progress = np.empty(len(labels))
    for label in np.unique(labels):
        members = labels[shuffled] == label
        progress[members] = (np.arange(members.sum()) + rng.random()) / members.sum()
    return shuffled[np.argsort(progress, kind="stable")]


def cut_test(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the training and of the test images, int64, for data without test images.

    A tenth of the images, at least one, is for the test: of each class its share, drawn with a fixed seed.
    """
    order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
    count = max(1, len(order) // 10)
    return np.sort(order[count:]), np.sort(order[:count])


def check_names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes; raise InputError, which calls the data `what`, unless they can be the names."""
    if len(names) < 2:
        told = f"one class, '{names[0]}'" if names else "no classes"
        raise InputError(f"{what} has {told}: a classifier needs at least two")
    for name in names:
        if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
            limits = f"1 to {LONGEST_NAME} printable characters"
            raise InputError(f"{what} has a class with the name {name!r}: give it a name of {limits}")
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"{what} has two classes with the name '{repeated[0]}'")
    return tuple(names)


def check_training_images(what: str, class_names: Sequence[str], labels: np.ndarray) -> None:
    """Raise InputError, which calls the data `what`, for a class without a label among those of training images."""
    counts = np.bincount(labels, minlength=len(class_names))
    if (counts == 0).any():
        name = class_names[int(np.argmin(counts))]
        raise InputError(f"{what} has no training image of the class '{name}', or too few to cut test images from them")


def mean_color(mean: Sequence[float]) -> tuple[int, ...]:
    """Return the color of a mean, per channel on a scale of 0 to 1, in bytes."""
    return tuple(round(255 * value) for value in mean)


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, on a scale of 0 to 1, of uint8 images (n, c, h, w)."""
    means, stds, levels = [], [], np.arange(256) / 255
    for channel in range(images.shape[1]):
        counts = np.zeros(256)
        for block in np.array_split(images[:, channel], max(1, len(images) // 1000)):  # bincount converts to int64
            counts += np.bincount(block.ravel(), minlength=256)
        mean = float(counts @ levels / counts.sum())
        means.append(mean)
        # A channel without contrast would be divided by 0.
        stds.append(float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())) or 1.0)
    return tuple(means), tuple(stds)
