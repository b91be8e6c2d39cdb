"""Read test sets that others published for networks trained on CIFAR-10, from a folder.

CIFAR-10-C (Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261; https://zenodo.org/records/2535967): the
test images under 15 corruptions, and under 4 more for model selection. NAME.npy, uint8 (50000, 32, 32, 3), holds the
severities 1 to 5 of one corruption in that order; labels.npy, (50000,), the classes. Files with other names are
ignored. Files may hold fewer images, in five blocks of one size.

CIFAR-10.1 (Recht et al. 2018, https://arxiv.org/abs/1806.00451; https://github.com/modestyachts/CIFAR-10.1): 2,000
new photographs, selected like those of CIFAR-10. cifar10.1_v6_data.npy, uint8 (2000, 32, 32, 3), and
cifar10.1_v6_labels.npy, (2000,).

The files may come from a stranger: reading them runs no code.
"""

from pathlib import Path

import numpy as np

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError, one_line

SEVERITIES = 5  # blocks in a file
MOST_IMAGES = 1_000_000  # in a file; the published ones have up to 50,000
LABELS = "labels.npy"  # of CIFAR-10-C
KINDS = {  # CIFAR-10-C's corruptions
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
FOR_CHOICES = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # no part of published means
CIFAR10_1 = ("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy")


def cifar10_c(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return CIFAR-10-C: images of each corruption, uint8 (5 b, 32, 32, 3), left on the disk; classes, int64 (5 b,).

    Raises:
        InputError: if the folder lacks them, or a file holds something else.
    """
    _check_folder(folder, LABELS)
    names = [name for kind in KINDS.values() for name in kind if (folder / f"{name}.npy").exists()]
    if not names:
        raise InputError(f"'{folder}' has no images of CIFAR-10-C: expected files such as gaussian_noise.npy")
    labels = _labels(folder / LABELS)
    if len(labels) % SEVERITIES:
        raise InputError(
            f"'{folder / LABELS}' has {len(labels)} classes, which are not {SEVERITIES} blocks of one size"
        )
    return {name: _images(folder / f"{name}.npy", len(labels)) for name in names}, labels


def cifar10_1(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return CIFAR-10.1: images, uint8 (n, 32, 32, 3), and classes, int64 (n,); errors as of `cifar10_c`."""
    images, labels = (folder / name for name in CIFAR10_1)
    _check_folder(folder, labels.name)
    classes = _labels(labels)
    return _images(images, len(classes)), classes


def _check_folder(folder: Path, needed: str) -> None:
    try:
        if not folder.is_dir():
            raise InputError(f"'{folder}' is not a folder: name the one that has {needed}")
        if needed not in {path.name for path in folder.iterdir()}:
            raise InputError(f"'{folder}' has no {needed}: name the folder that has it")
    except OSError as error:
        raise InputError(f"'{folder}' cannot be read: {error.strerror}") from error


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"'{path}' is not a regular file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"'{path}' cannot be read as an array: {one_line(error) or type(error).__name__}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"'{path}' holds several arrays, expected one")
    return array


def _images(path: Path, n: int) -> np.ndarray:
    images, expected = _read(path), (n, CIFAR10.image_size, CIFAR10.image_size, CIFAR10.channels)
    if images.dtype != np.uint8 or images.shape != expected:
        raise InputError(f"'{path}' is {images.dtype} {images.shape}, expected uint8 {expected}")
    return images


def _labels(path: Path) -> np.ndarray:
    labels, last = _read(path), len(CIFAR10.class_names) - 1
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"'{path}' is {labels.dtype} {labels.shape}, expected one whole number for each image")
    if not 0 < len(labels) <= MOST_IMAGES:
        raise InputError(f"'{path}' has {len(labels):,} classes, expected 1 to {MOST_IMAGES:,}")
    if not 0 <= labels.min() <= labels.max() <= last:
        raise InputError(f"'{path}' has classes {labels.min()} to {labels.max()}, expected 0 to {last}")
    return labels.astype(np.int64)
