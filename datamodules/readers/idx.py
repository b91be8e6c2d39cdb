"""Read the IDX files of MNIST and of data sets in its format, with NumPy alone.

A file is an array: four bytes that tell type and number of dimensions, the size of each dimension as a big-endian
integer of 32 bits, then the values (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/). The files may be
packed by gzip.
"""

import gzip
import struct
from pathlib import Path

import numpy as np

from datamodules.errors import InputError
from datamodules.readers.files import FilesDataSet, class_labels

# The first four bytes, as an integer, of a file of images and of a file of labels: bytes in three dimensions or one.
IMAGES, LABELS = 0x00000803, 0x00000801


class IDXDataSet(FilesDataSet):
    """A data set of gray images in MNIST's format: for each split a file of images and a file of labels."""

    packed = ".gz"

    def content(self, path: Path) -> bytes:
        """Return the content of a file; a packed file is unpacked up to the size that it can have."""
        most = 16 + max(self.train_images, self.test_images) * self.image_size**2
        with gzip.open(path) if path.suffix == self.packed else path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise InputError(f"'{path}' has more than {most:,} bytes: it is not a file of {self.title}")
        return content

    def arrays(self, name: str, where: str, content: bytes) -> tuple[np.ndarray, ...]:
        n, is_images = self.count_of(name), "images" in name
        expected = (IMAGES, n, self.image_size, self.image_size) if is_images else (LABELS, n)
        size = 4 * len(expected)
        if len(content) < size:
            raise InputError(f"'{where}' has {len(content)} bytes, not even the {size} of an IDX header")
        header = struct.unpack(f">{len(expected)}I", content[:size])
        if header[0] != expected[0]:
            kind = "images" if is_images else "labels"
            problem = f"begins with {header[0]:#010x}, and IDX {kind} with {expected[0]:#010x}"
            raise InputError(f"'{where}' {problem}: another file under this name?")
        if header != expected:
            told, wanted = (" x ".join(map(str, sizes[1:])) for sizes in (header, expected))
            raise InputError(f"'{where}' holds {told} bytes, expected {wanted}")
        values = np.frombuffer(content, np.uint8, offset=size)
        if values.size != np.prod(expected[1:]):
            wanted = f"expected {size + np.prod(expected[1:]):,}"
            raise InputError(f"'{where}' has {len(content):,} bytes, {wanted}: perhaps a truncated download")
        return (
            values.reshape(expected[1:]) if is_images else class_labels(f"'{where}'", values, len(self.class_names)),
        )

    def join(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        images, labels = arrays
        return images[:, None].copy(), labels  # a copy, because `frombuffer` returns a read-only view
