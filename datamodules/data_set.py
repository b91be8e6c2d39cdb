"""`DataSet`: everything that is known about a data set, in one place. Imports no torch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.paths import user_path

SplitName = Literal["train", "test"]


class Split(NamedTuple):
    """The images of one split.

    Attributes:
        images: uint8 pixels (n, channels, side, side).
        labels: int64 class indices (n,).
        official: whether the files that were read are the published ones.
    """

    images: np.ndarray
    labels: np.ndarray
    official: bool


class Archive(NamedTuple):
    """A packed data set on the network.

    Attributes:
        name: its file name.
        addresses: URLs in the order in which the download tries them.
        size: in bytes.
        md5: MD5 sum.
        room: bytes on the disk that the archive and its files need side by side.
    """

    name: str
    addresses: tuple[str, ...]
    size: int
    md5: str
    room: int


@dataclass(frozen=True, eq=False, kw_only=True)
class DataSet(ABC):
    """A data set of small images. A subclass reads one format; a data set is a value in `datamodules.data_sets`.

    Attributes:
        name: identifies the data set on the command line, in configs and in checkpoints.
        title: names the data set in plots, tables and messages.
        class_names: in the order of the labels.
        mean, std: of the training images, per channel, on a scale of 0 to 1. Models normalize with them.
        train_images, test_images: number of images of each split.
        channels: number of color channels.
        side: height and width of an image in pixels.
        folder: the folder that holds the files.
        md5: MD5 sum of each published file, by name.
        archive: the download; None if there is none.
        other_forms: descriptions of published forms that `read` cannot read, by a pattern of their file names.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_images: int
    test_images: int
    channels: int = 3
    side: int = 32
    folder: str = ""
    md5: Mapping[str, str] = field(default_factory=dict)
    archive: Archive | None = None
    other_forms: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image: (channels, side, side)."""
        return self.channels, self.side, self.side

    @property
    def mean_color(self) -> tuple[int, ...]:
        """Mean of the training images in bytes; normalization turns it into (nearly) zero."""
        return tuple(round(255 * mean) for mean in self.mean)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files."""
        return tuple(self.md5)

    def title_of(self, official: bool) -> str:
        """Return the title of the published files, or of a copy of them."""
        return self.title if official else f"{self.title} copy (not the official files)"

    def task_classes(self, task: str) -> tuple[str, ...]:
        """Return the class names of a task: all of them, or the first class against the rest."""
        first = self.class_names[0]
        return self.class_names if task == "multiclass" else (first, f"not {first}")

    def missing(self, data_dir: str | Path) -> str:
        """Return a message that `data_dir` lacks the data set, with what was found there instead."""
        from datamodules.readers import lookalikes  # imports the readers, which import this module

        instead = lookalikes.found(self, user_path(data_dir))
        return f"no {self.title} in '{data_dir}'" + (f" ({instead})" if instead else "")

    @abstractmethod
    def find(self, data_dir: str | Path) -> Path | None:
        """Return the file or folder in `data_dir` that `read` would read, or None.

        Raises:
            InputError: if `data_dir` cannot be searched.
        """

    @abstractmethod
    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        """Read one split.

        Args:
            data_dir: see `find`.
            split: which images to read.
            verify_checksums: reject files that are not the published ones.
            wanted: number of images to generate, for a data set that generates them; others return all they have.

        Raises:
            InputError: if the images are missing or unusable.
        """
