"""Write pages as PNG files to a new folder, and to TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from datamodules.errors import InputError
from zoo.core import files
from zoo.plots import png
from zoo.runs.run_directory import EXPLAIN, TENSORBOARD


def write(pages: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write pages to a folder, which appears once all of them are written.

    Args:
        pages: pixels by name, uint8 (height, width, 3).
        folder: a new folder, or an empty one.

    Raises:
        OSError: see `zoo.core.files.write_folder`.
    """
    files.write_folder(folder, ((f"{name}.png", png.encode(page)) for name, page in pages.items()))


def write_numbered(pages: Mapping[str, np.ndarray], parent: Path) -> Path:
    """Write pages to the next numbered folder in `parent`, and return the folder.

    Raises:
        OSError: if the folder cannot be written.
    """
    while True:
        folder = next_numbered(parent)
        try:
            write(pages, folder)
            return folder
        except FileExistsError:  # another process was faster
            continue


def next_numbered(parent: Path) -> Path:
    """Return the folder in `parent` whose number follows the highest number there, from 1."""
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / str(max(taken, default=0) + 1)


def check_free(folder: Path) -> None:
    """Check, before the work is done, that pages can be written to a folder.

    Raises:
        InputError: if the folder holds something, or cannot be made.
    """
    files.check_folder("--out", folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--out {folder} is there already, and not empty: give the name of a new folder")


def log(pages: Mapping[str, np.ndarray], run: Path, step: int) -> Path:
    """Add pages to the TensorBoard of a run, as a run of its own, and return the folder of that."""
    folder = run / TENSORBOARD / EXPLAIN
    with SummaryWriter(str(folder)) as writer:
        for name, page in pages.items():
            writer.add_image(f"{EXPLAIN}/{name}", page, step, dataformats="HWC")
    return folder
