"""Read a folder of image files that are sorted into a folder for each class."""

import os
import re
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from tqdm import tqdm

from datamodules.data_set import LONGEST_NAME, DataSet, Split, SplitName, check_names, check_training_images, cut_test
from datamodules.errors import InputError, did_you_mean, first_of, one_line
from datamodules.paths import user_path
from datamodules.readers import image_files

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
MOST_THREADS = 16


class Members(NamedTuple):
    """The files of a split, and their labels, int64 (n,)."""

    paths: list[Path]
    labels: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageFolderDataSet(DataSet):
    """The image files that `describe` found in a folder."""

    members: Mapping[SplitName, Members]

    def find(self, data_dir: str | Path) -> Path | None:
        root = user_path(data_dir)
        return root if root.is_dir() else None

    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        """Read the images of a split; raise InputError, which names some of them, if files cannot be read."""
        paths, labels = self.members[split]
        images = np.empty((len(paths), *self.shape), np.uint8)

        def read(position: int) -> str:
            try:
                images[position] = image_files.read(paths[position], self.image_size, self.channels).pixels
                return ""
            except InputError as error:
                return f"{paths[position]} ({one_line(error)})"

        # In threads: Pillow decodes without the interpreter's lock. `closing` cancels the rest if the command ends.
        with (
            ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool,
            closing(cast(Generator[str], pool.map(read, range(len(paths))))) as results,
        ):
            bar = {"total": len(paths), "unit": " images", "leave": False, "delay": 2, "disable": None}
            problems = [problem for problem in tqdm(results, split, **bar) if problem]
        if problems:
            count = f"{len(problems):,} of {len(paths):,} files"
            named = first_of(problems)
            raise InputError(f"{count} in the {split} images cannot be read: {named}: replace them, or remove them")
        return Split(images, labels, official=True)


def describe(data_dir: str | Path, image_size: int, channels: int) -> ImageFolderDataSet:
    """Return the description of a folder of images; raise InputError if it has no usable layout. Opens no image.

    Args:
        data_dir: a folder for each class, or such folders in `train` and, optionally, in `val` and `test`. Folders in
            that of a class belong to it. Hidden files and folders do not count.
        image_size: height and width that images get.
        channels: 3 for red, green and blue; 1 for gray.
    """
    root = user_path(data_dir)
    if not root.is_dir():
        hint = did_you_mean(root.name, [path.name for path in root.parent.glob("*") if path.is_dir()])
        raise InputError(
            f"--data.data_dir={data_dir} is not a folder.{hint} Give the folder that has one for each class"
        )
    try:
        folders = _folders(root)
        roots: dict[SplitName, Path] = {name: root / name for name in SPLITS if root / name in folders}
        if roots and (others := [folder for folder in folders if folder not in roots.values()]):
            hint = did_you_mean(others[0].name, SPLITS)
            where = f"beside {', '.join(path.name for path in roots.values())} in '{root}'"
            raise InputError(f"there is a folder '{others[0].name}' {where}.{hint} Rename it, or move it away")
        if roots and "train" not in roots:
            raise InputError(f"'{root}' has {' and '.join(roots)}, and no folder train: add one, or rename them")
        top = roots.get("train", root)
        if not (classes := _folders(top)):
            count = sum(1 for path in top.iterdir() if path.is_file() and not path.name.startswith("."))
            held = f"{count:,} files" if count else "nothing"
            raise InputError(f"'{top}' holds {held}, and no folders: sort the images into a folder for each class")
        names = check_names(f"'{top}'", [folder.name for folder in classes])
        splits: dict[SplitName, Path] = {"train": root}
        members = {split: _members(folder, names) for split, folder in (splits | roots).items()}
    except OSError as error:
        raise InputError(f"--data.data_dir={data_dir} cannot be searched: {error}") from error
    if "test" not in members:
        paths, labels = members["train"]
        train, test = (Members([paths[k] for k in chosen], labels[chosen]) for chosen in cut_test(labels))
        members |= {"train": train, "test": test}
    check_training_images(f"'{root}'", names, members["train"].labels)
    name, title = names_of(root)
    return ImageFolderDataSet(
        name=name,
        title=title,
        class_names=names,
        train_images=len(members["train"].paths),
        test_images=len(members["test"].paths),
        splits=tuple(split for split in SPLITS if split in members),
        channels=channels,
        image_size=image_size,
        members=members,
    )


def names_of(path: Path) -> tuple[str, str]:
    """Return the name of a user's own data, which can be a part of a folder's name, and their title."""
    stem = path.resolve().name.removesuffix(".npz")
    name = re.sub(r"[^\w.-]+", "-", stem).strip(".-")[: LONGEST_NAME // 2]
    return name or "images", one_line(stem)[:LONGEST_NAME] or "images"


def _members(root: Path, class_names: tuple[str, ...]) -> Members:
    """Return the files of a split, in the order of classes and names."""
    paths: list[Path] = []
    counts = [0] * len(class_names)
    for folder in _folders(root):
        if folder.name not in class_names:
            hint = did_you_mean(folder.name, class_names)
            raise InputError(f"'{folder}' is of a class that has no training images.{hint}")
        found = sorted(_files(folder))
        if not found:
            raise InputError(f"the class folder '{folder}' has no images: remove it, or fill it")
        counts[class_names.index(folder.name)] = len(found)
        paths += found
    if not paths:
        raise InputError(f"'{root}' has no images: remove it, or give it a folder for each class")
    return Members(paths, np.repeat(np.arange(len(class_names)), counts))


def _folders(root: Path) -> list[Path]:
    """Return the folders in a folder by name, without hidden ones."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if links := [path for name in folders if (path := Path(root, name)).is_symlink()]:  # perhaps to a folder above
            problem = "is a link to a folder, in which no images are searched: put the folder in its place"
            raise InputError(f"'{links[0]}' {problem}")
        yield from (Path(root, name) for name in names if not name.startswith("."))
