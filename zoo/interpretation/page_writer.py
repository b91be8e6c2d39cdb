"""Pages on the disk, in a folder that holds all of them or is not there; and in TensorBoard."""

import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from datamodules.errors import InputError
from zoo.core import files
from zoo.plots import png
from zoo.runs.run_directory import EXPLAIN, TENSORBOARD


def write(pages: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write pages as PNG files to a folder, which is made once all of them are written.

    Args:
        pages: by name, uint8 (height, width, 3).
        folder: one that is not there, or empty.

    Raises:
        OSError: where it cannot be made; nothing is left of it.
    """
    folder = folder.absolute()
    above = next(path for path in folder.parents if path.exists())
    beside = above / f".{EXPLAIN}.{secrets.token_hex(4)}.part"
    try:
        for name, page in pages.items():
            files.write(beside / f"{name}.png", png.encode(page))
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_numbered(pages: Mapping[str, np.ndarray], parent: Path) -> Path:
    """Write pages to the next numbered folder in `parent`, and return it.

    Raises:
        OSError: where it cannot be made; nothing is left of it.
    """
    while True:
        folder = next_numbered(parent)
        try:
            write(pages, folder)
            return folder
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was faster
                raise


def next_numbered(parent: Path) -> Path:
    """Return the folder in `parent` whose name is the number after the highest one there, from 1."""
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / str(max(taken, default=0) + 1)


def check_free(folder: Path) -> None:
    """Check, before the work is done, that pages can be written to a folder.

    Raises:
        InputError: where it holds something already, or where there can be no such folder.
    """
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir():
            raise InputError(f"--out {folder}: '{above}' is no folder: give the name of one")
        if not os.access(above, os.W_OK):
            raise InputError(f"--out {folder} cannot be written: '{above}' is not yours to write to")
        if above == folder and any(folder.iterdir()):
            raise InputError(f"--out {folder} is there already, and not empty: give the name of a new folder")
    except OSError as error:  # a name that is too long
        raise InputError(f"--out {folder} cannot be looked at: {error.strerror or error}") from error


def log(pages: Mapping[str, np.ndarray], run: Path, step: int) -> Path:
    """Show pages in the TensorBoard of a run, as a run of its own, and return its folder."""
    folder = run / TENSORBOARD / EXPLAIN
    with SummaryWriter(str(folder)) as writer:
        for name, page in pages.items():
            writer.add_image(f"{EXPLAIN}/{name}", page, step, dataformats="HWC")
    return folder
