"""Write pages as PNG files to a new folder, and to TensorBoard."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from datamodules.errors import InputError
from zoo.core import files
from zoo.plots import png
from zoo.runs.run_directory import EXPLAIN, TENSORBOARD


def write(pages: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write pages, pixels by name, uint8 (height, width, 3), to a new or empty folder, all of them or none."""
    files.write_folder(folder, ((f"{name}.png", png.encode(page)) for name, page in pages.items()))


def write_numbered(pages: Mapping[str, np.ndarray], parent: Path) -> Path:
    """Write pages to the next numbered folder in `parent`, and return the folder."""
    while True:
        folder = next_numbered(parent)
        with suppress(FileExistsError):  # another process was faster
            write(pages, folder)
            return folder


def next_numbered(parent: Path) -> Path:
    """Return the folder in `parent` whose number follows the highest number there, from 1."""
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / str(max(taken, default=0) + 1)


def check_free(folder: Path) -> None:
    """Raise InputError unless a folder is empty, or new and can be made, before the work is done."""
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
