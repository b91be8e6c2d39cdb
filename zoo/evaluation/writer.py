"""A report on the disk: a folder that holds the whole old report or the whole new one, never a part of it."""

import os
import secrets
import shutil
from pathlib import Path

from datamodules.errors import InputError
from zoo.evaluation import html, markdown, results
from zoo.evaluation.document import Report, as_json

HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
FILES = {HTML, MARKDOWN, JSON, markdown.FOLDER}


def check_free(folder: Path, overwrite: bool) -> None:
    """Check, before the work is done, that a report can be written to a folder.

    Raises:
        InputError: where it is no folder, or none can be made; where it holds anything but a report; or where it holds
            one that is not to be written over.
    """
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir():
            raise InputError(f"--out {folder}: '{above}' is no folder: give the name of one")
        if not os.access(above, os.W_OK):
            raise InputError(f"--out {folder} cannot be written: '{above}' is not yours to write to")
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:  # a name that is too long
        raise InputError(f"--out {folder} cannot be looked at: {error.strerror or error}") from error
    if others := there - FILES if HTML in there else there:
        raise InputError(f"--out {folder} holds more than a report ({min(others)}): give another folder")
    if there and not overwrite:
        raise InputError(f"{folder} has a report already: add --overwrite, or name another place by --out DIR")


def write(report: Report, folder: Path) -> None:
    """Write a report to a folder, which is made, or replaced, once all of it is written.

    Raises:
        InputError: where it cannot be written; what was there is still there.
    """
    folder = Path(os.path.realpath(folder))
    beside, old = (folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{end}") for end in ("part", "old"))
    try:
        beside.mkdir(parents=True)
        _fill(beside, report)
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    except BaseException as error:
        if old.exists():
            old.rename(folder)
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"--out {folder} cannot be written: {error.strerror or error}") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(folder: Path, report: Report) -> None:
    (folder / HTML).write_text(html.write(report), encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown.write(report), encoding="utf-8")
    results.write_json(folder / JSON, as_json(report))
    (folder / markdown.FOLDER).mkdir()
    for name, content in markdown.pictures(report):
        (folder / markdown.FOLDER / name).write_bytes(content)
