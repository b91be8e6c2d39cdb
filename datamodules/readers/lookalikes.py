"""What lies where CIFAR-10's official "python version" was expected: the same images in another form, or elsewhere."""

import contextlib
import itertools
import os
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from datamodules.errors import InputError, did_you_mean
from datamodules.readers import cifar

# Names of files and folders by which other forms are known.
FORMS = {
    r"(data_batch_\d|test_batch)\.bin": "CIFAR-10's binary version",
    r"(data_batch_\d|test_batch)\.mat": "CIFAR-10's Matlab version",
    r"trainLabels\.csv": "CIFAR-10 as Kaggle packs it, picture files with trainLabels.csv",
    r"cifar-100-(python|binary|matlab)|fine_label_names\.txt": "CIFAR-100, which is another data set",
    r".*\.parquet": "Parquet files, as Hugging Face has them",
}
CIFAR_100 = {"train", "test", "meta"}  # files of its python version
PACKED = (".gz", ".tgz", ".tar", ".zip")
# To look into, so that somebody's home directory takes a second; and names of each to look at.
MOST_FOLDERS, MOST_ARCHIVES, MOST_NAMES = 200, 20, 1000
LARGEST_MEMBER = 1_000_000  # bytes; what an archive holds behind a larger file is not looked at


def found(data_dir: Path) -> str:
    """Return in a few words what lies in `data_dir`, where `cifar.find` finds nothing; "" if it does not exist."""
    if not data_dir.exists():
        hint = did_you_mean(data_dir.name, [path.name for path in _entries(data_dir.parent)])
        return f"there is no such folder.{hint}" if hint else ""
    names = [entry.name for entry in _entries(data_dir)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return recognized(data_dir) or (
        f"the folder holds {', '.join(names[:3])}{more}" if names else "the folder is empty"
    )


def recognized(data_dir: Path) -> str:
    """Return where in `data_dir` CIFAR-10 lies, or in which other form, and how that can be used; "" if nowhere.

    Looks into folders two levels deep and into archives there, and reads nothing but names.
    """
    try:
        return _look(data_dir)
    except (OSError, InputError):  # a folder that may not be searched
        return ""


def _look(data_dir: Path) -> str:
    archives = 0
    for folder in itertools.islice(_folders(data_dir), MOST_FOLDERS):
        if folder != data_dir and cifar.find(folder) is not None:
            return f"it lies in '{folder}': name that folder"
        entries = _entries(folder)
        names = [entry.name for entry in entries]
        if form := _form(names):
            return f"'{folder}' holds {form}; what can be read is the python version"
        if set(names) >= CIFAR_100 and all((folder / name).is_file() for name in CIFAR_100):
            return f"'{folder}' holds CIFAR-100, which is another data set"
        if set(names) >= set(cifar.CLASS_NAMES):
            return f"'{folder}' holds picture files in a folder for each class; what can be read is the python version"
        for archive in (entry for entry in entries if entry.suffix.lower() in PACKED and entry.is_file()):
            archives += 1
            if archives <= MOST_ARCHIVES and (text := in_archive(archive)):
                return text
    return ""


def _folders(root: Path) -> Iterator[Path]:
    """Yield a folder and those in it, two levels deep, the upper ones first."""
    level = [root]
    for _ in range(3):
        yield from level
        below = (entry for folder in level for entry in _entries(folder) if entry.is_dir() and not entry.is_symlink())
        level = list(itertools.islice(below, MOST_FOLDERS))


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, in alphabetical order; nothing if it cannot be looked into."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in itertools.islice(entries, MOST_NAMES))
    return []


def _form(names: Iterable[str]) -> str:
    """Return which other form of CIFAR-10 these names of files belong to; "" for none."""
    names = list(names)
    return next((form for known, form in FORMS.items() if any(re.fullmatch(known, name) for name in names)), "")


def in_archive(path: Path) -> str:
    """Return what there is to say of an archive; "" if it is none, or of something else."""
    try:
        names = {part for name in _members(path) for part in Path(name).parts}
    except Exception:  # a damaged file can raise almost anything
        return ""
    if names & set(cifar.FILES):
        is_zip = path.suffix.lower() == ".zip"
        return f"'{path}' holds it: {'unpack that file' if is_zip else 'name that file, or its folder once unpacked'}"
    form = _form(names)
    return f"'{path}' holds {form}; what can be read is the python version" if form else ""


def _members(path: Path) -> Iterator[str]:
    """Yield the first names in an archive."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            yield from archive.namelist()[:MOST_NAMES]
        return
    with cifar.unpacked(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for member in itertools.islice(archive, 4):
            yield member.name
            if member.size > LARGEST_MEMBER:
                return
