"""Read CIFAR-10's official "python version" with NumPy alone.

The version is seven pickle files (https://www.cs.toronto.edu/~kriz/cifar.html; Krizhevsky, "Learning Multiple Layers
of Features from Tiny Images", 2009): five training batches and one test batch of 10,000 images each, and the names of
the classes. They are read as they lie in a folder, or out of the archive they come in.

A pickle can name any function for its reader to call. `_BatchUnpickler` looks up nothing but the few names that a
NumPy array is made of, so that a file from a stranger runs no code here.
"""

import contextlib
import hashlib
import io
import os
import pickle
import pickletools
import tarfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import numpy as np

from datamodules.errors import InputError
from datamodules.paths import user_path

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
BATCH_SIZE = 10_000
IMAGE_BYTES = 3 * 32 * 32

# More than the official files have (31 million bytes each, and 158), for copies that were written in another way; and
# more than all of them together.
MOST_BYTES, MOST_META_BYTES, MOST_UNPACKED = 200_000_000, 1_000_000, 400_000_000
MOST_REMEMBERED = 1_000_000  # objects of a pickle, of which these files have some ten thousand
# Modules of Python, one of which can be missing, by the bytes that their files start with.
PACKERS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "lzma"}

BATCH_LABELS = {f"data_batch_{k}": f"training batch {k} of 5" for k in range(1, 6)} | {
    "test_batch": "testing batch 1 of 1"
}
SPLITS = {"train": tuple(f"data_batch_{k}" for k in range(1, 6)), "test": ("test_batch",)}
MEMO_CODES = ("PUT", "BINPUT", "LONG_BINPUT")
FILES = (*BATCH_LABELS, "batches.meta")
OFFICIAL_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}


class Split(NamedTuple):
    """One split of CIFAR-10.

    Attributes:
        images: uint8 pixels, shape (n, 3, 32, 32): channel (red, green, blue), row, column.
        labels: int64 class numbers 0..9 in the order of `CLASS_NAMES`, shape (n,).
        official: whether every file that was read has the official MD5 sum.
    """

    images: np.ndarray
    labels: np.ndarray
    official: bool


class Verdict(NamedTuple):
    """What `check` found out about one file.

    Attributes:
        name: the file's, one of `FILES`.
        size: bytes; None where the file is missing or cannot be read.
        md5: its MD5 sum; None likewise.
        problem: why the file cannot be used, whatever its MD5 sum; "" where it can.
    """

    name: str
    size: int | None = None
    md5: str | None = None
    problem: str = ""

    @property
    def official(self) -> bool:
        """Whether it is CIFAR-10's official file."""
        return self.md5 == OFFICIAL_MD5[self.name]


def default_dir() -> Path:
    """Return where CIFAR-10 is looked for where nothing else is said: the environment's `CIFAR10_DIR`, else `data`."""
    return user_path(os.environ.get("CIFAR10_DIR") or "data")


def find(data_dir: str | Path) -> Path | None:
    """Return where CIFAR-10 lies: a folder of batch files or an archive, or None where there is neither.

    `data_dir` may be the folder above `cifar-10-batches-py`, that folder itself or a file in it, or the `.tar.gz`
    archive or the folder that holds it.
    """
    root = user_path(data_dir)
    try:
        if root.is_file():
            return root.parent if root.name in FILES else root
        for folder in (root / FOLDER, root):
            if any((folder / name).exists() for name in FILES):
                return folder
        return root / ARCHIVE if (root / ARCHIVE).is_file() else None
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise InputError(f"--data.data_dir={root} cannot be looked into: {error}") from error


def missing(data_dir: str | Path) -> str:
    """Return how to say that `find` finds nothing in `data_dir`, and what lies there instead."""
    from datamodules.readers import lookalikes  # here: it imports this module

    found = lookalikes.found(user_path(data_dir))
    return f"no CIFAR-10 in '{data_dir}'" + (f" ({found})" if found else "")


def read(data_dir: str | Path, split: Literal["train", "test"], *, verify_checksums: bool = True) -> Split:
    """Read one split: 50,000 images for "train", 10,000 for "test".

    Args:
        data_dir: see `find`.
        split: which images to read; the files of the other split are not opened.
        verify_checksums: refuse files whose MD5 sums are not the official ones. Shapes, dtypes, counts, labels and
            the order of the batches are checked in any case.

    Raises:
        InputError: if a file is missing, truncated, altered (see `verify_checksums`), in another's place, or holds
            anything but what a batch file holds.
    """
    location = find(data_dir)
    if location is None:
        raise InputError(f"{missing(data_dir)}: expected {FOLDER}/ or {ARCHIVE} there")
    contents = _file_contents(location, (*SPLITS[split], "batches.meta"))

    digests = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in contents.items()}
    altered = [name for name, digest in digests.items() if digest != OFFICIAL_MD5[name]]
    if altered and verify_checksums:
        raise InputError(
            f"'{location}': {', '.join(altered)} {'is' if len(altered) == 1 else 'are'} not CIFAR-10's official "
            f"file{'s' * (len(altered) > 1)} (MD5 of {altered[0]}: {digests[altered[0]]}, official: "
            f"{OFFICIAL_MD5[altered[0]]}): perhaps a truncated download, or a re-encoded copy; "
            "to use a copy knowingly, add --data.verify_checksums=false"
        )

    for name in altered:
        _check_memo(f"{location}: {name}", contents[name])
    _check_class_names(f"{location}: batches.meta", _unpickle(f"{location}: batches.meta", contents["batches.meta"]))
    names = SPLITS[split]
    images = np.empty((len(names), BATCH_SIZE, 3, 32, 32), np.uint8)
    labels = []
    for name, images_of_file in zip(names, images, strict=True):
        # Each file's bytes are let go of as soon as its images are copied: two sets are never in memory.
        images_of_file[:], labels_of_file = _read_batch(f"{location}: {name}", name, contents.pop(name))
        labels.append(labels_of_file)
    return Split(images.reshape(-1, 3, 32, 32), np.concatenate(labels), official=not altered)


def check(location: Path) -> list[Verdict]:
    """Look at each of `FILES` on its own, where `read` stops at the first that cannot be used.

    Args:
        location: a folder of batch files or an archive, as `find` returns it.
    """
    verdicts: dict[str, Verdict] = {}
    # An archive is read in one pass; of a folder's files, one that cannot be read is nothing to the others.
    for names in [(name,) for name in FILES] if location.is_dir() else [FILES]:
        problem = "missing"
        try:
            for name, content in _read_files(location, names):
                verdicts[name] = _verdict(name, content)
        except InputError as error:
            problem = f"unreadable: {error}"
        for name in names:
            verdicts.setdefault(name, Verdict(name, problem=problem))
    return [verdicts[name] for name in FILES]


def _verdict(name: str, content: bytes) -> Verdict:
    verdict = Verdict(name, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())
    if verdict.official:
        return verdict
    try:
        _check_memo(name, content)
        if name in BATCH_LABELS:
            _read_batch(name, name, content)
        else:
            _check_class_names(name, _unpickle(name, content))
    except InputError as error:
        return verdict._replace(problem=str(error))
    return verdict


def _file_contents(location: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the bytes of each named file of a folder or an archive."""
    contents = dict(_read_files(location, names))
    missing = [name for name in names if name not in contents]
    if missing:
        raise InputError(f"'{location}' lacks {', '.join(missing)}: delete it and fetch CIFAR-10 again")
    return contents


def _read_files(location: Path, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of those of the named files that a folder or an archive has."""
    if location.is_dir():
        try:
            for name in names:
                if (location / name).is_file():
                    _check_size(f"{location}: {name}", name, (location / name).stat().st_size)
                    yield name, (location / name).read_bytes()
        except OSError as error:
            raise InputError(f"'{location}' cannot be read: {error}") from error
    else:
        try:
            # As a stream: one pass over the compressed bytes, whatever the order of the members.
            with unpacked(location) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = Path(member.name).name
                    if name in names and member.isreg() and (file := archive.extractfile(member)) is not None:
                        _check_size(f"{location}: {name}", name, member.size)
                        yield name, file.read()
        except InputError:
            raise
        except Exception as error:  # a damaged archive can raise almost anything
            raise InputError(
                f"'{location}' cannot be read as an archive ({error}): perhaps a truncated download; "
                "delete it and fetch it again"
            ) from error


def _check_size(where: str, name: str, size: int) -> None:
    """Refuse, before it is read, a file that is too large to be what its name says."""
    most = MOST_BYTES if name in BATCH_LABELS else MOST_META_BYTES
    if size > most:
        raise InputError(f"'{where}' is {size:,} bytes, expected {most:,} at most: it is no batch file of CIFAR-10")


class _Limited(io.RawIOBase):
    """A file that is unpacked as it is read, up to a size: a few packed megabytes can stand for gigabytes."""

    def __init__(self, path: Path, content: IO[bytes]) -> None:
        self.path, self.content, self.left = path, content, MOST_UNPACKED

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, like any file."""
        found = self.content.read(size)
        self.left -= len(found)
        if self.left < 0:
            raise InputError(
                f"'{self.path}' unpacks to more than {MOST_UNPACKED:,} bytes: it is no archive of CIFAR-10"
            )
        return found


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open an archive, packed in whichever way Python knows, or not at all.

    Reading raises an InputError once it unpacks to more than CIFAR-10's archive can.
    """
    with path.open("rb") as file:
        start = file.read(6)
    packer = next((name for magic, name in PACKERS.items() if start.startswith(magic)), "io")
    with import_module(packer).open(path, "rb") as content:
        yield cast(IO[bytes], _Limited(path, content))


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """Stand in for `codecs.encode`, with which Python 3 writes bytes into old pickles, and for no other use of it."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding '{encoding}' has no place in a batch file")
    return text.encode("latin1")


class _BatchUnpickler(pickle.Unpickler):
    """An unpickler that knows arrays and plain containers only."""

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
    """Refuse a pickle that numbers an object so high that its reader makes room for billions."""
    try:
        numbers = [int(number or 0) for code, number, _ in pickletools.genops(content) if code.name in MEMO_CODES]
    except Exception as error:  # a damaged pickle can raise almost anything
        raise InputError(f"'{where}' is no readable batch file: {error}") from error
    if max(numbers, default=0) > MOST_REMEMBERED:
        raise InputError(f"'{where}' is no readable batch file: it numbers an object {max(numbers):,}")


def _unpickle(where: str, content: bytes) -> dict[str, Any]:
    """Return the dictionary that a batch file holds, with its keys (and class names) as text."""
    try:
        # "latin1" reads the official files, which Python 2 wrote, with their keys as text.
        value = _BatchUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise almost anything
        cause = str(error) or type(error).__name__
        raise InputError(f"'{where}' is no readable batch file: {cause}") from error
    if not isinstance(value, dict):
        raise InputError(f"'{where}' holds a {type(value).__name__}, not the dictionary of a batch file")
    return {_text(key): entry for key, entry in value.items()}


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _check_class_names(where: str, meta: dict[str, Any]) -> None:
    names = meta.get("label_names")
    found = [str(_text(name)) for name in names] if isinstance(names, (list, tuple, np.ndarray)) else []
    if found != list(CLASS_NAMES):
        what = ", ".join(found) or f"by {type(names).__name__}"
        raise InputError(f"'{where}' names the classes {what}, not {', '.join(CLASS_NAMES)}: another data set?")


def _read_batch(where: str, name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 (10000, 3, 32, 32), and the labels, int64 (10000,), of one batch file."""
    batch = _unpickle(where, content)
    batch_label = str(_text(batch.get("batch_label", BATCH_LABELS[name])))
    if batch_label != BATCH_LABELS[name]:
        raise InputError(f"'{where}' calls itself '{batch_label}': it stands in another file's place")

    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (BATCH_SIZE, IMAGE_BYTES):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise InputError(f"'{where}': 'data' is {found}, expected uint8 ({BATCH_SIZE}, {IMAGE_BYTES})")
    if not isinstance(labels, list) or len(labels) != BATCH_SIZE:
        found = f"of length {len(labels)}" if isinstance(labels, list) else type(labels).__name__
        raise InputError(f"'{where}': 'labels' is {found}, expected a list of {BATCH_SIZE} class numbers")
    for position, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASS_NAMES):
            raise InputError(f"'{where}': label {label!r} of image {position} is not a class number from 0 to 9")
    return pixels.reshape(BATCH_SIZE, 3, 32, 32), np.array(labels, dtype=np.int64)
