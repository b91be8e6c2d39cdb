"""Read the "python version" of the CIFAR data sets with NumPy alone.

The version is a set of pickle files (https://www.cs.toronto.edu/~kriz/cifar.html; Krizhevsky, "Learning Multiple Layers
of Features from Tiny Images", 2009), in a folder or in the published archive. A stranger's file runs no code.
"""

import contextlib
import io
import math
import pickle
import pickletools
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from datamodules.data_set import Archive, DataSet, Split, SplitName, Verdict, md5
from datamodules.errors import InputError
from datamodules.paths import user_path

# Limits well above the published files, because copies may be written differently: bytes of a batch file, of a file of
# class names, and of all files together.
MOST_BYTES, MOST_META_BYTES, MOST_UNPACKED = 200_000_000, 1_000_000, 400_000_000
MOST_REMEMBERED = 1_000_000  # objects that a pickle may number; the published files have some ten thousand
MEMO_CODES = ("PUT", "BINPUT", "LONG_BINPUT")
# The Python module for each kind of compression, by the first bytes of a file. Python may be built without one of them.
PACKERS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "lzma"}


@dataclass(frozen=True, eq=False, kw_only=True)
class CIFARDataSet(DataSet):
    """A data set in CIFAR's "python version"."""

    batches: Mapping[SplitName, Mapping[str, str]]  # files of each split, with the title that each file gives itself
    meta: str  # name of the file with the class names
    # Where a batch file keeps its labels, and `meta` the class names.
    labels_key: str = "labels"
    names_key: str = "label_names"

    @property
    def archive(self) -> Archive:
        return self.archives[0]

    def find(self, data_dir: str | Path) -> Path | None:
        """Return the folder of batch files or the archive that `data_dir` is or holds; it may also be a batch file."""
        root = user_path(data_dir)
        try:
            if root.is_file():
                return root.parent if root.name in self.files else root
            for folder in (root / self.folder, root):
                if any((folder / name).is_file() for name in self.files):
                    return folder
            return root / self.archive.name if (root / self.archive.name).is_file() else None
        except OSError as error:  # the name is too long, or the folder may not be searched
            raise InputError(f"--data.data_dir={root} cannot be searched: {error}") from error

    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        """Read one split. Shapes, dtypes, counts, labels and the order of the files are checked in any case."""
        location = self.find(data_dir)
        if location is None:
            raise InputError(f"{self.missing(data_dir)}: expected {self.folder}/ or {self.archive.name} there")
        contents = dict(self._contents(location, (*self.batches[split], self.meta)))
        if lacking := [name for name in (*self.batches[split], self.meta) if name not in contents]:
            raise InputError(f"'{location}' lacks {', '.join(lacking)}: delete it and download {self.title} again")
        digests = {name: md5(content) for name, content in contents.items()}
        altered = self.altered(location, digests, verify_checksums)

        where = {name: f"{location}: {name}" for name in contents}
        for name in altered:
            _check_memo(where[name], contents[name])
        self._check_class_names(where[self.meta], contents[self.meta])
        images = np.empty((len(self.batches[split]), self._batch_images(split), *self.shape), np.uint8)
        labels = []
        for name, images_of_file in zip(self.batches[split], images, strict=True):
            # `pop` frees the bytes of each file once its images are copied: memory never holds the images twice.
            images_of_file[:], labels_of_file = self._read_batch(where[name], name, contents.pop(name))
            labels.append(labels_of_file)
        return Split(images.reshape(-1, *self.shape), np.concatenate(labels), official=not altered)

    def check(self, location: Path) -> list[Verdict]:
        """Check each file of a folder or an archive on its own."""
        verdicts: dict[str, Verdict] = {}
        # The files of a folder are read one by one, so that an unreadable one does not hide the others.
        for names in [(name,) for name in self.files] if location.is_dir() else [self.files]:
            problem = "missing"
            try:
                for name, content in self._contents(location, names):
                    digest = md5(content)
                    official = digest == self.md5[name]
                    reason = "" if official else self._problem(name, content)
                    verdicts[name] = Verdict(name, len(content), digest, official, reason)
            except InputError as error:
                problem = f"unreadable: {error}"
            for name in names:
                verdicts.setdefault(name, Verdict(name, problem=problem))
        return [verdicts[name] for name in self.files]

    def _problem(self, name: str, content: bytes) -> str:
        try:
            _check_memo(name, content)
            if name == self.meta:
                self._check_class_names(name, content)
            else:
                self._read_batch(name, name, content)
        except InputError as error:
            return str(error)
        return ""

    def _contents(self, location: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        try:
            if location.is_dir():
                for path in (location / name for name in names if (location / name).is_file()):
                    self._check_size(location, path.name, path.stat().st_size)
                    yield path.name, path.read_bytes()
                return
            # As a stream: one pass over the compressed bytes, whatever the order of the members.
            with unpacked(location) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    if name in names and member.isreg() and (file := archive.extractfile(member)) is not None:
                        self._check_size(location, name, member.size)
                        yield name, file.read()
        except InputError:
            raise
        except Exception as error:  # a damaged archive can raise almost anything
            archive_advice = f" as an archive ({error}): perhaps a truncated download; delete it and download it again"
            told = f": {error}" if location.is_dir() else archive_advice
            raise InputError(f"'{location}' cannot be read{told}") from error

    def _check_size(self, location: Path, name: str, size: int) -> None:
        most = MOST_META_BYTES if name == self.meta else MOST_BYTES
        if size > most:
            raise InputError(
                f"'{location}: {name}' is {size:,} bytes, expected {most:,} at most: it is not a file of {self.title}"
            )

    def _check_class_names(self, where: str, content: bytes) -> None:
        names = _unpickle(where, content).get(self.names_key)
        given = [str(_text(name)) for name in names] if isinstance(names, (list, tuple, np.ndarray)) else []
        if given != list(self.class_names):
            told, expected = ", ".join(given) or f"as {type(names).__name__}", ", ".join(self.class_names)
            raise InputError(f"'{where}' names the classes {told}, not {expected}: another data set?")

    def _batch_images(self, split: SplitName) -> int:
        return (self.train_images if split == "train" else self.test_images) // len(self.batches[split])

    def _read_batch(self, where: str, name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        split: SplitName = "train" if name in self.batches["train"] else "test"
        n = self._batch_images(split)
        batch, title = _unpickle(where, content), self.batches[split][name]
        batch_label = str(_text(batch.get("batch_label", title)))
        if batch_label != title:
            raise InputError(f"'{where}' calls itself '{batch_label}': it has the name of another file")

        pixels, labels = batch.get("data"), batch.get(self.labels_key)
        expected = (n, math.prod(self.shape))
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != expected:
            given = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise InputError(f"'{where}': 'data' is {given}, expected uint8 {expected}")
        if not isinstance(labels, list) or len(labels) != n:
            given = f"of length {len(labels)}" if isinstance(labels, list) else type(labels).__name__
            raise InputError(f"'{where}': '{self.labels_key}' is {given}, expected a list of {n} class indices")
        last = len(self.class_names) - 1
        for position, label in enumerate(labels):
            if type(label) is not int or not 0 <= label <= last:
                raise InputError(f"'{where}': label {label!r} of image {position} is not a class from 0 to {last}")
        return pixels.reshape(n, *self.shape), np.array(labels, dtype=np.int64)


class _Limited(io.RawIOBase):
    """A file that is unpacked while it is read, up to a limit: a few packed megabytes can hold gigabytes."""

    def __init__(self, path: Path, content: IO[bytes]) -> None:
        self.path, self.content, self.left = path, content, MOST_UNPACKED

    def read(self, size: int = -1) -> bytes:
        chunk = self.content.read(size)
        self.left -= len(chunk)
        if self.left < 0:
            raise InputError(f"'{self.path}' unpacks to more than {MOST_UNPACKED:,} bytes: it is not a CIFAR archive")
        return chunk


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open an archive of any compression or none; reading more than a CIFAR archive can hold raises InputError."""
    with path.open("rb") as file:
        start = file.read(6)
    packer = next((name for magic, name in PACKERS.items() if start.startswith(magic)), "io")
    with import_module(packer).open(path, "rb") as content:
        yield cast(IO[bytes], _Limited(path, content))


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """Replace `codecs.encode`, with which Python 3 writes bytes into old pickles; allow no other use."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"a batch file cannot contain the encoding '{encoding}'")
    return text.encode("latin1")


class _BatchUnpickler(pickle.Unpickler):
    """Knows arrays and plain containers only: a pickle can name any function for its reader to call."""

    _ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks to call {module}.{name}, which was not done") from None


def _check_memo(where: str, content: bytes) -> None:
    """Reject a pickle that numbers an object so high that its reader would allocate billions of entries."""
    try:
        numbers = [int(number or 0) for code, number, _ in pickletools.genops(content) if code.name in MEMO_CODES]
    except Exception as error:  # a damaged pickle can raise almost anything
        raise InputError(f"'{where}' is not a readable batch file: {error}") from error
    if max(numbers, default=0) > MOST_REMEMBERED:
        raise InputError(f"'{where}' is not a readable batch file: it numbers an object {max(numbers):,}")


def _unpickle(where: str, content: bytes) -> dict[str, Any]:
    """Return the dictionary in a batch file, with its keys as text."""
    try:
        # "latin1" reads the keys of the published files, which Python 2 wrote, as text.
        value = _BatchUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise almost anything
        cause = str(error) or type(error).__name__
        raise InputError(f"'{where}' is not a readable batch file: {cause}") from error
    if not isinstance(value, dict):
        raise InputError(f"'{where}' holds a {type(value).__name__}, not the dictionary of a batch file")
    return {_text(key): entry for key, entry in value.items()}


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value
