"""`CIFAR10DataModule`: CIFAR-10, or synthetic images in its place."""

from typing import Any

from datamodules.checks import one_of
from datamodules.data_sets import SOURCES, Source
from datamodules.image_data_module import ImageDataModule


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 (Krizhevsky 2009): 60,000 color images of 32 x 32 pixels in ten classes.

    Args:
        data_dir: folder of CIFAR-10, extracted or as `.tar.gz`, and of its download; by default the environment
            variable `CIFAR10_DIR`, else `data`.
        source: "cifar10", or "synthetic": ten geometric figures, drawn without a download (`datamodules.synthetic`).
        options: see `ImageDataModule`.
    """

    def __init__(self, data_dir: str | None = None, source: Source = "cifar10", **options: Any) -> None:
        super().__init__(SOURCES[one_of("source", source, tuple(SOURCES))], data_dir, **options)
        self.chosen = {"source": source}
