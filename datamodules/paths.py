"""Paths as users give them."""

import os
from pathlib import Path

from datamodules.errors import InputError


def user_path(given: str | os.PathLike[str]) -> Path:
    """Return the path that a user gave, with `~` and `~user` at its start expanded to the home directory.

    A shell expands `~` only at the start of a word: not in YAML, in `--option=~/x`, in an environment variable or in
    Python. A null character, which no file system allows, raises InputError.
    """
    text = os.fspath(given)
    if "\0" in text:
        raise InputError(f"the path {text!r} holds a null character: leave it out")
    return Path(os.path.expanduser(text))


def default_data_dir() -> Path:
    """Return the folder of the data: the environment variable `CIFAR10_DIR`, else `data`."""
    return user_path(os.environ.get("CIFAR10_DIR") or "data")
