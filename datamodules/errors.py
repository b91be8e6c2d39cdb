"""The two exceptions that `cli.py` prints as one line: what a user can mend at once, and what ended a run."""

import difflib
from collections.abc import Iterable

LONGEST = 1000  # characters of a message: an argument that it repeats may be of any length


class InputError(ValueError):
    """Bad input: the message says in one line what was wrong, its value and how to fix it."""


class RunError(Exception):
    """A run that ended before its time: the message says in one line what happened and what is left of it.

    Args:
        message: the line.
        exit_code: of the process: 1, or 128 and the number of the signal that ended the run.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def one_line(text: object) -> str:
    """Return `text` with every run of white space as one space, and what a terminal would obey written out."""
    return printable(" ".join(str(text).split()))


def error_line(error: object) -> str:
    """Return an error as one line of at most `LONGEST` characters, the middle left out if there are more."""
    text = one_line(error)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def printable(text: object) -> str:
    """Return `text` with characters that cannot be printed, as those that steer a terminal, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'X'?"` for the choice nearest to `name`, or `""` where none is near."""
    near = nearest(name, choices)
    return f" Did you mean '{near}'?" if near else ""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is nearest to `name`, upper and lower case taken for the same; None where none is near."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return by_lower_case[near[0]] if near else None
