"""A report on the disk: a folder that holds the whole old report or the whole new one, never a part of it."""

import contextlib
import errno
import glob
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from datamodules.errors import InputError
from zoo.core import files
from zoo.evaluation import html, markdown
from zoo.evaluation.document import Report, as_json
from zoo.runs import results

HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
FILES = {HTML, MARKDOWN, JSON, markdown.FOLDER}
LONGEST_NAME = 240  # bytes, of the 255 that file systems take: what is written is called a little longer at first


def check_free(folder: Path, overwrite: bool) -> None:
    """Check, before the work is done, that a report can be written to a folder.

    Raises:
        InputError: where it is no folder, or none can be made beside its place; where it holds anything but a report;
            or where it holds one that is not to be written over.
    """
    real = Path(os.path.realpath(folder))
    try:
        above = next(path for path in (real, *real.parents) if path.exists())
        if not above.is_dir():
            raise InputError(f"--out {folder}: '{above}' is no folder: give the name of one")
        # The report comes into being beside the place that it takes in the end.
        above = real.parent if above == real else above
        if not os.access(above, os.W_OK):
            raise InputError(f"--out {folder} cannot be written: '{above}' is not yours to write to")
        others = _others(real) if real.exists() else []
    except OSError as error:
        raise InputError(f"--out {folder} cannot be looked at: {error.strerror or error}") from error
    if Path.cwd().is_relative_to(real):
        raise InputError(f"--out {folder} is the folder you are in, or above it: give the name of one in it")
    if os.path.ismount(real):
        raise InputError(f"--out {folder} is the top of a volume: give the name of a folder in it")
    if len(os.fsencode(real.name)) > LONGEST_NAME:
        raise InputError(f"--out {folder}: a name of {len(os.fsencode(real.name))} bytes is too long")
    if others:
        raise InputError(f"--out {folder} holds more than a report ({others[0]}): give another folder")
    if real.exists() and any(real.iterdir()) and not overwrite:
        raise InputError(f"{folder} has a report already: add --overwrite, or name another place by --out DIR")


def _others(folder: Path) -> list[str]:
    """Return what there is in a folder, by name, beside a report that this module has written."""
    there = {path.name for path in folder.iterdir()}
    try:
        is_report = there >= FILES and "title" in json.loads((folder / JSON).read_text(encoding="utf-8"))
        text = (folder / MARKDOWN).read_text(encoding="utf-8") if is_report else ""
    except (ValueError, TypeError):  # somebody else's report.json
        is_report = False
    if not is_report:
        return sorted(there)
    shown = set(re.findall(rf"\]\({markdown.FOLDER}/([^)]+)\)", text))
    pictures = {path.name for path in (folder / markdown.FOLDER).iterdir()}
    return sorted(there - FILES) + [f"{markdown.FOLDER}/{name}" for name in sorted(pictures - shown)]


def write(report: Report, folder: Path, overwrite: bool = True) -> None:
    """Write a report to a folder, which is made, or replaced, once all of it is written.

    Args:
        report: the report.
        folder: that `check_free` let pass.
        overwrite: whether a report that is there is replaced.

    Raises:
        InputError: where it cannot be written, or another process wrote one there in the meantime; what was there is
            still there.
    """
    folder = Path(os.path.realpath(folder))
    beside, old = (folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{end}") for end in ("part", "old"))
    for left in _left_behind(folder):
        shutil.rmtree(left, ignore_errors=True)
    has_moved = False
    try:
        beside.mkdir(parents=True)
        _fill(beside, report)
        if overwrite and folder.exists():
            folder.rename(old)
            has_moved = True
        beside.rename(folder)
    except BaseException as error:
        if has_moved and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY) and folder.exists():
            raise InputError(
                f"--out {folder}: another process wrote a report there in the meantime: give another folder"
            ) from error
        if isinstance(error, OSError):
            raise InputError(f"--out {folder} cannot be written: {error.strerror or error}") from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _left_behind(folder: Path) -> Iterator[Path]:
    """Yield what a process that was killed has left of a report to this folder, once it can be nobody's any more."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.????????.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > files.LEFT_BEHIND:
                yield left


def _fill(folder: Path, report: Report) -> None:
    (folder / HTML).write_text(html.write(report), encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown.write(report), encoding="utf-8")
    results.write_json(folder / JSON, as_json(report))
    (folder / markdown.FOLDER).mkdir()
    for name, content in markdown.pictures(report):
        (folder / markdown.FOLDER / name).write_bytes(content)
