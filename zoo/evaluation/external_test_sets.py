"""Test sets that others published for networks trained on CIFAR-10, as they lie in a folder.

CIFAR-10-C (Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261; https://zenodo.org/records/2535967): the
test images under 15 corruptions, and under 4 more to make choices on. NAME.npy, uint8 (50000, 32, 32, 3), holds one
corruption, severity 1 to 5 one after the other; labels.npy, (50000,), the classes. Files of other names are left
alone. Files of fewer images are read, too, as long as they are five blocks.

CIFAR-10.1 (Recht et al. 2018, https://arxiv.org/abs/1806.00451; https://github.com/modestyachts/CIFAR-10.1): 2,000
new photographs, chosen as those of CIFAR-10 were. cifar10.1_v6_data.npy, uint8 (2000, 32, 32, 3), and
cifar10.1_v6_labels.npy, (2000,).

The files may come from a stranger: nothing in them is run.
"""

from pathlib import Path

import numpy as np

from datamodules.errors import InputError, one_line
from datamodules.readers.cifar import CLASS_NAMES

SEVERITIES = 5  # blocks of a file
MOST_IMAGES = 1_000_000  # of a file; those that were published have up to 50,000
LABELS = "labels.npy"  # of CIFAR-10-C
KINDS = {  # of its corruptions
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
FOR_CHOICES = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # of them; no part of a published mean
CIFAR10_1 = ("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy")


def cifar10_c(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return CIFAR-10-C: images of each corruption, uint8 (5 b, 32, 32, 3), left on the disk; classes, int64 (5 b,).

    Raises:
        InputError: where it is not there, or a file holds something else.
    """
    there = {path.name for path in _look(folder, LABELS)}
    names = [name for kind in KINDS.values() for name in kind if f"{name}.npy" in there]
    if not names:
        raise InputError(f"'{folder}' has no images of CIFAR-10-C: expected files such as gaussian_noise.npy")
    labels = _labels(folder / LABELS)
    if len(labels) == 0 or len(labels) % SEVERITIES:
        raise InputError(
            f"'{folder / LABELS}' has {len(labels)} classes, which are not {SEVERITIES} blocks of one size"
        )
    return {name: _images(folder / f"{name}.npy", len(labels)) for name in names}, labels


def cifar10_1(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return CIFAR-10.1: images, uint8 (n, 32, 32, 3), and classes, int64 (n,).

    Raises:
        InputError: where it is not there, or a file holds something else.
    """
    of_images, of_labels = CIFAR10_1
    _look(folder, of_labels)
    labels = _labels(folder / of_labels)
    if len(labels) == 0:
        raise InputError(f"'{folder / of_labels}' has no classes")
    return _images(folder / of_images, len(labels)), labels


def _look(folder: Path, needed: str) -> list[Path]:
    """Return what is in a folder that has the file `needed`."""
    try:
        if not folder.is_dir():
            raise InputError(f"'{folder}' is no folder: name the one that has {needed}")
        found = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"'{folder}' cannot be looked into: {error.strerror}") from error
    if needed not in {path.name for path in found}:
        raise InputError(f"'{folder}' has no {needed}: name the folder that has it")
    return found


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"'{path}' is no regular file")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"'{path}' cannot be read as an array: {one_line(error) or type(error).__name__}") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"'{path}' holds several arrays, expected one")
    return found


def _images(path: Path, n: int) -> np.ndarray:
    images = _read(path)
    if images.dtype != np.uint8 or images.shape != (n, 32, 32, 3):
        raise InputError(f"'{path}' is {images.dtype} {images.shape}, expected uint8 {(n, 32, 32, 3)}")
    return images


def _labels(path: Path) -> np.ndarray:
    labels = _read(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"'{path}' is {labels.dtype} {labels.shape}, expected one whole number for each image")
    if len(labels) > MOST_IMAGES:
        raise InputError(f"'{path}' has {len(labels):,} classes, expected {MOST_IMAGES:,} at most")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
        raise InputError(f"'{path}' has classes {labels.min()} to {labels.max()}, expected 0 to {len(CLASS_NAMES) - 1}")
    return labels.astype(np.int64)
