"""Write a report to a folder that holds the whole old report or the whole new one at any moment."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from datamodules.errors import InputError
from zoo.core import files
from zoo.evaluation import html, markdown
from zoo.evaluation.document import Report, as_json
from zoo.runs import metrics_json

HTML, MARKDOWN, JSON = "report.html", "report.md", "report.json"
FILES = {HTML, MARKDOWN, JSON, markdown.FOLDER}
LONGEST_NAME = 240  # bytes, of the 255 that file systems allow: the name is a little longer while the report is written


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless a report can be written to a folder, before the work is done."""
    files.check_folder("--out", folder)
    real = Path(os.path.realpath(folder))
    if Path.cwd().is_relative_to(real):
        raise InputError(f"--out {folder} is the folder you are in, or above it: give the name of one in it")
    if os.path.ismount(real):
        raise InputError(f"--out {folder} is the top of a volume: give the name of a folder in it")
    if len(os.fsencode(real.name)) > LONGEST_NAME:
        raise InputError(f"--out {folder}: a name of {len(os.fsencode(real.name))} bytes is too long")
    if real.exists() and (others := _others(real)):
        raise InputError(f"--out {folder} holds more than a report ({others[0]}): give another folder")
    if real.exists() and any(real.iterdir()) and not overwrite:
        raise InputError(f"{folder} has a report already: add --overwrite, or name another place by --out DIR")


def _others(folder: Path) -> list[str]:
    """Return the names of the files in a folder that do not belong to a report."""
    names = {path.name for path in folder.iterdir()}
    try:
        is_report = names >= FILES and "title" in json.loads((folder / JSON).read_text(encoding="utf-8"))
        text = (folder / MARKDOWN).read_text(encoding="utf-8") if is_report else ""
    except (ValueError, TypeError):  # the report.json of another program
        is_report = False
    if not is_report:
        return sorted(names)
    shown = set(re.findall(rf"\]\({markdown.FOLDER}/([^)]+)\)", text))
    images = {path.name for path in (folder / markdown.FOLDER).iterdir()}
    return sorted(names - FILES) + [f"{markdown.FOLDER}/{name}" for name in sorted(images - shown)]


def write(report: Report, folder: Path, overwrite: bool = True) -> None:
    """Write a report to a folder that passed `check_free`: the folder changes once all of the report is written.

    Raises:
        InputError: if that is not possible; an old report stays as it was.
    """
    try:
        files.write_folder(folder, _contents(report), replace=overwrite)
    except FileExistsError as error:
        problem = "another process wrote a report there in the meantime: give another folder"
        raise InputError(f"--out {folder}: {problem}") from error
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error.strerror or error}") from error


def _contents(report: Report) -> Iterator[tuple[str, bytes]]:
    yield HTML, html.write(report).encode()
    yield MARKDOWN, markdown.write(report).encode()
    yield JSON, metrics_json.as_json(as_json(report))
    for name, content in markdown.image_files(report):
        yield f"{markdown.FOLDER}/{name}", content
