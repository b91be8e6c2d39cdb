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


def variable(data_set: str) -> str:
    """Return the environment variable that names the folder of a data set: `CIFAR10_DIR` for cifar10."""
    return f"{data_set.upper()}_DIR"


def default_data_dir(data_set: str = "cifar10") -> Path:
    """Return the folder of a data set: the one that its environment variable names, else `data`."""
    return user_path(os.environ.get(variable(data_set)) or "data")
