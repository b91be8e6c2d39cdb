"""Recognize what lies in a folder without the data set: the same images in another form, or in another place."""

import contextlib
import itertools
import os
import re
import tarfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from datamodules.data_set import DataSet
from datamodules.data_sets import PUBLISHED
from datamodules.errors import InputError, did_you_mean, first_of
from datamodules.readers.cifar import unpacked

# File names of forms that no data set here has.
OTHER_FORMS = {r".*\.parquet": "Parquet files, as Hugging Face has them"}
# Files of CIFAR-100, whose names alone say nothing.
COMMON_NAMES = {"train", "test", "meta"}
PACKED = (".gz", ".tgz", ".tar", ".zip")
# Limits of the search, so that a home directory takes a second: folders, archives, and names in each of them.
MOST_FOLDERS, MOST_ARCHIVES, MOST_NAMES = 200, 20, 1000
LARGEST_MEMBER = 1_000_000  # bytes; the search of an archive stops behind a larger file


def describe(data_set: DataSet, data_dir: Path) -> str:
    """Describe in a few words what lies in `data_dir`, which lacks the data set; "" if it does not exist."""
    if not data_dir.exists():
        hint = did_you_mean(data_dir.name, [path.name for path in _entries(data_dir.parent)])
        return f"there is no such folder.{hint}" if hint else ""
    names = [entry.name for entry in _entries(data_dir)]
    found = recognized(data_set, data_dir)
    return found or (f"the folder holds {first_of(names)}" if names else "the folder is empty")


def recognized(data_set: DataSet, data_dir: Path) -> str:
    """Describe where below `data_dir` the data set lies, or in which other form, and how to use it; "" if nowhere.

    The search covers folders two levels deep and the archives in them. It reads names only.
    """
    archives = 0
    with contextlib.suppress(OSError, InputError):  # a folder that may not be searched
        for folder in itertools.islice(_folders(data_dir), MOST_FOLDERS):
            if folder != data_dir and data_set.find(folder) is not None:
                return f"it lies in '{folder}': name that folder"
            entries = _entries(folder)
            names = {entry.name for entry in entries}
            files = {name for name in names if name not in COMMON_NAMES or (folder / name).is_file()}
            if held := _form(data_set, names) or _other(data_set, _stems(files)):
                return f"'{folder}' holds {held}"
            if names >= set(data_set.class_names):
                return f"'{folder}' holds image files in a folder for each class: read them by --data ImageFolder"
            for archive in (entry for entry in entries if entry.suffix.lower() in PACKED and entry.is_file()):
                archives += 1
                if archives <= MOST_ARCHIVES and (text := in_archive(data_set, archive)):
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
    """Return the entries of a folder in alphabetical order; none if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in itertools.islice(entries, MOST_NAMES))
    return []


def _form(data_set: DataSet, names: Collection[str]) -> str:
    """Return the description of the other form that has one of these file names; "" if there is none."""
    forms = {**data_set.other_forms, **OTHER_FORMS}
    found = (form for pattern, form in forms.items() if any(re.fullmatch(pattern, name) for name in names))
    return next((f"{form}; what can be read is {data_set.form}" for form in found), "")


def _other(data_set: DataSet, names: Collection[str]) -> str:
    """Return a text about the other published data set that has these file names; "" if there is none."""
    found = {}  # two, for MNIST and Fashion-MNIST, whose files have the same names
    for option, other in PUBLISHED.items():
        has_files = other.files != data_set.files and {*names} >= {*other.files}
        if other.folder != data_set.folder and (other.folder in names or has_files):
            found[option] = other.title
    another = "which is another data set: read it by --data"
    return f"{' or '.join(found.values())}, {another} {' or '.join(found)}" if found else ""


def _stems(names: Iterable[str]) -> set[str]:
    return {name.removesuffix(".gz") for name in names}


def in_archive(data_set: DataSet, path: Path) -> str:
    """Describe how an archive holds the data set; "" if it does not."""
    try:
        names = {part for name in _members(path) for part in Path(name).parts}
    except Exception:  # a damaged file can raise almost anything
        return ""
    if _stems(names) & ({*data_set.files, data_set.folder} - COMMON_NAMES):
        is_packed = path.suffix.lower() == ".zip" or len(data_set.archives) > 1
        return (
            f"'{path}' holds it: {'unpack that file' if is_packed else 'name that file, or its folder once unpacked'}"
        )
    held = _form(data_set, names) or _other(data_set, _stems(names))
    return f"'{path}' holds {held}" if held else ""


def _members(path: Path) -> Iterator[str]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            yield from archive.namelist()[:MOST_NAMES]
        return
    with unpacked(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for member in itertools.islice(archive, 4):
            yield member.name
            if member.size > LARGEST_MEMBER:
                return
