"""Data sets of other shapes and classes than CIFAR-10, as a package of other people adds them; drawn in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.data_set import DataSet, Split
from datamodules.image_data_module import ImageDataModule
from tests import plugins
from zoo.catalogue import registry


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchesDataSet(DataSet):
    """Noise with a bright square, whose place tells the class."""

    def find(self, data_dir: str | Path) -> Path:
        return Path(data_dir)

    def read(self, data_dir: str | Path, split: str, *, verify_checksums: bool = True, wanted: int | None = None):
        n, k = wanted or 4 * len(self.class_names), len(self.class_names)
        rng = np.random.default_rng(["train", "test"].index(split))
        images, labels = rng.integers(0, 90, (n, *self.shape), dtype=np.uint8), rng.permutation(n) % k
        per_row = int(np.ceil(np.sqrt(k)))
        step = self.image_size // per_row
        for image, label in zip(images, labels, strict=True):
            row, column = step * (label // per_row), step * (label % per_row)
            image[:, row : row + step, column : column + step] = 200
        return Split(images, labels.astype(np.int64), official=True)


# What breaks writers of HTML, Markdown, CSV, formulas and tables: a folder may have any of these names.
HOSTILE = ("<b>x</b>", "=1+1", "a|b`_*$^$", "日本", "long" * 20)
HUNDRED = tuple(f"kind {k:02}" for k in range(100))

GRAY = PatchesDataSet(name="gray", title="Gray <i>&</i> $^$", class_names=HOSTILE, channels=1, image_size=28)
MANY = PatchesDataSet(name="many", title="Many", class_names=HUNDRED, image_size=48)


class GrayData(ImageDataModule):
    """Gray images of 28 x 28 pixels in five classes with hostile names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(GRAY, **options)


class ManyData(ImageDataModule):
    """Color images of 48 x 48 pixels in a hundred classes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(MANY, **options)


def install(monkeypatch) -> None:
    """Let a package add the data sets of this module to the zoo."""
    points = [EntryPoint(data.__name__, f"{__name__}:{data.__name__}", registry.DATA_GROUP) for data in DATA]
    plugins.claim(monkeypatch, points)


DATA: Sequence[type[ImageDataModule]] = (GrayData, ManyData)
