"""Print the results and notes of commands, and write their files."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.errors import InputError, one_line, printable, printable_lines
from zoo.core import files

if TYPE_CHECKING:
    from zoo.trained.trained_model import Trained


def say(text: str) -> None:
    """Print the result of a command, with control characters escaped: names in files and runs may be a stranger's."""
    print(printable_lines(text), flush=True)


def say_line(text: str) -> None:
    """Print a line of the result, with its line breaks escaped: the name of a folder can contain some."""
    print(printable(text), flush=True)


def say_json(content: Any) -> None:
    """Print the result of a command as JSON, with control characters in JSON's own escapes."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def from_here(path: Path) -> Path:
    """Return an absolute path relative to the working directory if it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def note(text: str) -> None:
    print(f"note: {one_line(text)}", file=sys.stderr)


def note_unused_gpu(model: "Trained", accelerator: str) -> None:
    """Note that a GPU is idle if the model cannot use it and no `--accelerator` chose so."""
    from zoo.core import devices  # which imports torch

    if (unused := devices.idle(type(model.model), accelerator)) is not None:
        note(unused)


def write(option: str, path: Path, content: bytes, replace: bool = True) -> None:
    """Write a file that an option names, completely or not at all; raise InputError if it cannot be written.

    `replace` is False if there was no such file when the command began, so that another process's file stays.
    """
    try:
        files.write(path, content, replace)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            problem = "was written by another process in the meantime, and is left as it is: give another name"
            raise InputError(f"{option} {path} {problem}") from error
        raise InputError(f"{option} {path} cannot be written: {error.strerror or error}") from error


def check_file(option: str, path: Path) -> None:
    """Raise InputError, before the work is done, if `write` could not write a file. Nothing is written."""
    try:
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder: give a file")
        # `write` follows links.
        above = next(folder for folder in Path(os.path.realpath(path)).parents if folder.exists())
        if not above.is_dir():
            raise InputError(f"{option} {path} cannot be written: '{above}' is not a folder")
        if path.exists() and not path.is_file():
            raise InputError(f"{option} {path} cannot be written: it is not a regular file")
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{option} {path} cannot be written: {why}: give a place where files can be made") from error
