"""What the command lines of the project's own commands have in common."""

import argparse
from collections.abc import Iterable, Sequence
from typing import NoReturn

from datamodules.errors import InputError, did_you_mean


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise `message` as an InputError that begins with the command."""
        raise InputError(f"{self.prog.removeprefix('python cli.py ')}: {message}")


def check_unknown(command: str, unknown: Sequence[str], names: Iterable[str]) -> None:
    """Refuse options that a parser does not know.

    Args:
        command: that has them, for the message.
        unknown: words that were left over.
        names: of the options that there are, without their dashes.

    Raises:
        InputError: where there is one; suggests the nearest.
    """
    if unknown:
        name, known = unknown[0].partition("=")[0], [f"--{key}" for key in names]
        hint = f"{did_you_mean(name, known)} Options are: {', '.join(known)}"
        raise InputError(f"{command}: unknown option '{name}'.{hint}")
