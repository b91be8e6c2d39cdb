"""Data modules of a user's own images. Mean and standard deviation are measured on the training images."""

from typing import Any, Literal

from datamodules.checks import in_range, one_of
from datamodules.data_set import LARGEST_SIDE
from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.readers import image_folder, npz

NAME_IT = "name it by --data.data_dir, or by --data_dir where a command has that"


class ImageFolder(ImageDataModule):
    """Image files that are sorted into a folder for each class.

    The folders may lie in `train`, `val` and `test`. Images that are missing there are cut from the training images, of
    each class in its share, with a fixed seed: a tenth for the test, and of the others a tenth (or `val_size`) for
    validation. Adding or removing a file changes the cut.

    Args:
        data_dir: the folder. Hidden files in it are ignored; another file that is not an image ends the command.
        image_size: height and width. The square in the middle of each image is resized to it, see
            `datamodules.readers.image_files`.
        channels: 3 for color, 1 for gray.
        val_size: images for validation; None takes a tenth of the training images, or all images of `val`.
        options: see `ImageDataModule`.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        image_size: int = 32,
        channels: Literal[1, 3] = 3,
        val_size: int | None = None,
        **options: Any,
    ) -> None:
        in_range("image_size", image_size, 1, LARGEST_SIDE)
        one_of("channels", channels, (1, 3))
        if not data_dir:
            raise InputError(f"ImageFolder needs a folder that has one for each class: {NAME_IT}")
        data_set = image_folder.describe(data_dir, image_size, channels)
        super().__init__(data_set, data_dir=data_dir, val_size=val_size, **options)
        self.chosen = {"image_size": image_size, "channels": channels}


class Arrays(ImageDataModule):
    """Images and labels in an .npz file, as MedMNIST has them; see `datamodules.readers.npz`.

    Arrays that are missing, of test or validation images, are cut from the training images as `ImageFolder` does it.

    Args:
        data_dir: the file.
        val_size: images for validation; None takes a tenth of the training images, or all of `val_images`.
        options: see `ImageDataModule`.
    """

    def __init__(self, data_dir: str | None = None, val_size: int | None = None, **options: Any) -> None:
        if not data_dir:
            raise InputError(f"Arrays needs an .npz file with train_images and train_labels: {NAME_IT}")
        super().__init__(npz.describe(data_dir), data_dir=data_dir, val_size=val_size, **options)
