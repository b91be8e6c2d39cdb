"""Read the cropped digits of SVHN from their Matlab files; needs scipy.

A file has the pixels "X", uint8 (32, 32, 3, n), and the labels "y", (n, 1), in which 10 stands for the digit 0
(http://ufldl.stanford.edu/housenumbers/).
"""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from datamodules.errors import InputError
from datamodules.readers.files import FilesDataSet, class_labels


class SVHNDataSet(FilesDataSet):
    """SVHN's cropped digits: one file for each split."""

    def find(self, data_dir: str | Path) -> Path | None:
        """Return the folder of files that `data_dir` is or holds; raise InputError, before a download, without scipy.

        `data_dir` may also be one of the files.
        """
        if find_spec("scipy") is None:
            raise InputError(f"{self.title} needs scipy, which reads its files: pip install 'cifar10-zoo[svhn]'")
        return super().find(data_dir)

    def content(self, path: Path) -> bytes:
        return path.read_bytes()

    def arrays(self, name: str, where: str, content: bytes) -> tuple[np.ndarray, ...]:
        from scipy.io import loadmat, whosmat  # optional, and slow to import

        n, size = self.count_of(name), self.image_size
        shapes = {"X": (size, size, self.channels, n), "y": (n, 1)}
        try:
            # The shapes before the contents: a few packed kilobytes can hold gigabytes.
            held = {key: f"{kind} {shape}" for key, shape, kind in whosmat(io.BytesIO(content))}
            for key, shape in shapes.items():
                if held.get(key) != f"uint8 {shape}":
                    raise InputError(f"'{where}': '{key}' is {held.get(key, 'missing')}, expected uint8 {shape}")
            found = loadmat(io.BytesIO(content), variable_names=tuple(shapes))
        except InputError:
            raise
        except Exception as error:  # a damaged file can raise almost anything
            raise InputError(f"'{where}' is not a readable Matlab file: {error}") from error
        digits = found["y"][:, 0].astype(np.int64)
        if (digits == 0).any():
            position = int(np.argmin(digits))
            raise InputError(f"'{where}': label 0 of image {position} is not a digit from 1 to 10 (10 stands for 0)")
        return found["X"], class_labels(f"'{where}'", np.where(digits == 10, 0, digits), len(self.class_names))

    def join(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = arrays
        return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels
