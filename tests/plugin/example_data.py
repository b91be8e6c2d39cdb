"""A data set of a package outside the zoo."""

from dataclasses import dataclass

import numpy as np

from datamodules import ImageDataModule
from datamodules.data_set import DataSet, Split


@dataclass(frozen=True, eq=False, kw_only=True)
class Stripes(DataSet):
    """Horizontal and vertical stripes, drawn at random."""

    def find(self, data_dir):
        return data_dir  # no files are needed

    def read(self, data_dir, split, *, verify_checksums=True, wanted=None):
        rng = np.random.default_rng(0 if split == "train" else 1)
        labels = np.arange(wanted or 1000) % 2
        rows = rng.integers(0, 256, (len(labels), 1, 1, 16), dtype=np.uint8).repeat(16, axis=2)  # (n, 1, 16, 16)
        images = np.where(labels[:, None, None, None] == 0, rows.swapaxes(2, 3), rows)
        return Split(images, labels, official=True)


class StripesData(ImageDataModule):
    def __init__(self, val_size: int = 100, **options) -> None:
        names = ("horizontal", "vertical")
        data_set = Stripes(name="stripes", title="stripes", class_names=names, channels=1, image_size=16)
        super().__init__(data_set, val_size=val_size, **options)  # the command line finds the options here
