"""`FilesDataSet`: the part that the readers of data sets in a few published files share."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.data_set import DataSet, Split, SplitName, Verdict, md5
from datamodules.errors import InputError
from datamodules.paths import user_path


@dataclass(frozen=True, eq=False, kw_only=True)
class FilesDataSet(DataSet):
    """A data set of published files in one folder. A subclass reads their format."""

    split_files: Mapping[SplitName, tuple[str, ...]]  # names of the files of each split, without `packed`
    packed = ""  # ending of a file's name while it is packed

    @abstractmethod
    def content(self, path: Path) -> bytes:
        """Return the content of a file, unpacked; an error of any kind means that it cannot be read."""

    @abstractmethod
    def arrays(self, name: str, where: str, content: bytes) -> tuple[np.ndarray, ...]:
        """Return the arrays in a file; raise InputError, which calls the file `where`, if they are not as expected."""

    @abstractmethod
    def join(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return images, uint8 (n, channels, h, w), and labels, int64 (n,), from the arrays of a split."""

    def find(self, data_dir: str | Path) -> Path | None:
        """Return the folder of files that `data_dir` is or holds; it may also be one of the files."""
        root = user_path(data_dir)
        try:
            if root.is_file():
                return root.parent if root.name.removesuffix(self.packed) in self.files else None
            folders = (root / self.folder, root)
            return next((folder for folder in folders if any(self._path(folder, name) for name in self.files)), None)
        except OSError as error:  # the name is too long, or the folder may not be searched
            raise InputError(f"--data.data_dir={root} cannot be searched: {error}") from error

    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        """Read one split. Shapes, dtypes, counts and labels are checked in any case."""
        location, names = self.find(data_dir), self.split_files[split]
        if location is None:
            raise InputError(f"{self.missing(data_dir)}: expected {', '.join(self.files)} there")
        if lacking := [name for name in names if self._path(location, name) is None]:
            raise InputError(f"'{location}' lacks {', '.join(lacking)}: download {self.title} again")
        contents = {name: self._readable(location, name) for name in names}
        digests = {name: md5(content) for name, content in contents.items()}
        altered = self.altered(location, digests, verify_checksums)
        arrays = [a for name in names for a in self.arrays(name, f"{location}: {name}", contents.pop(name))]
        return Split(*self.join(arrays), official=not altered)

    def check(self, location: Path) -> list[Verdict]:
        """Check each file of a folder on its own."""
        return [self._verdict(location, name) for name in self.files]

    def _verdict(self, location: Path, name: str) -> Verdict:
        if self._path(location, name) is None:
            return Verdict(name, problem="missing")
        try:
            content = self._readable(location, name)
        except InputError as error:
            return Verdict(name, problem=f"unreadable: {error}")
        digest, problem = md5(content), ""
        if official := digest == self.md5[name]:
            return Verdict(name, len(content), digest, official)
        try:
            self.altered(location, {name: digest}, verify_checksums=False)
            self.arrays(name, name, content)
        except InputError as error:
            problem = str(error)
        return Verdict(name, len(content), digest, official, problem)

    def _path(self, folder: Path, name: str) -> Path | None:
        """Return the path of a file, packed or not; None if it is missing."""
        paths = (folder / name, folder / f"{name}{self.packed}")
        return next((path for path in paths if path.is_file()), None)

    def _readable(self, location: Path, name: str) -> bytes:
        path = self._path(location, name)
        assert path is not None
        try:
            return self.content(path)
        except InputError:
            raise
        except Exception as error:  # a damaged file can raise almost anything
            raise InputError(f"'{path}' cannot be read ({error}): perhaps a truncated download") from error

    def count_of(self, name: str) -> int:
        """Return the number of images that a file is about."""
        return self.train_images if name in self.split_files["train"] else self.test_images


def class_labels(where: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return class indices as int64 (n,); raise InputError, which begins with `where`, for any other number."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        position = int(wrong[0])
        problem = f"label {labels[position]} of image {position} is not a class from 0 to {classes - 1}"
        raise InputError(f"{where}: {problem}")
    return labels.astype(np.int64)
