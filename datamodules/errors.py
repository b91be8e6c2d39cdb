"""The one exception for what a user can mend: `cli.py` prints it as one line and exits with code 2."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says in one line what was wrong, its value and how to fix it."""


def one_line(text: object) -> str:
    """Return `text` with every run of white space as one space."""
    return " ".join(str(text).split())


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'X'?"` for the choice nearest to `name`, or `""` where none is near."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return f" Did you mean '{by_lower_case[near[0]]}'?" if near else ""
