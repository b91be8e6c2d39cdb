"""What the project's own commands say, and where they write to."""

import sys
from pathlib import Path

from datamodules.errors import InputError, one_line
from zoo import files


def note(text: str) -> None:
    """Say something beside the result, in one line on stderr."""
    print(f"note: {one_line(text)}", file=sys.stderr)


def write(option: str, path: Path, content: bytes) -> None:
    """Write a file that an option names, whole or not at all.

    Raises:
        InputError: where it cannot be written; names the option.
    """
    try:
        files.write(path, content)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be written: {error.strerror or error}") from error


def check_file(option: str, path: Path) -> None:
    """Refuse, before the work is done, what can be no file.

    Raises:
        InputError: where `path` is a folder, or lies in what is none.
    """
    try:
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder: give a file")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise InputError(f"{option} {path} cannot be written: '{above}' is no folder")
        if path.exists() and not path.is_file():
            raise InputError(f"{option} {path} cannot be written: it is no regular file")
    except OSError as error:
        raise InputError(f"{option} {path} cannot be written: {error.strerror or error}") from error
