"""Exceptions that end a command, and their texts. `cli.py` prints the first two as one line, and `Ended` not at all."""

import difflib
from collections.abc import Iterable, Sequence

# Characters of a message and of a word in it: a message can quote an argument of any length.
LONGEST, LONGEST_WORD = 1000, 300


class InputError(ValueError):
    """Bad input: the message says in one line what was wrong, its value and how to fix it."""


class RunError(Exception):
    """A run that ended early: the message says in one line what happened and what is left.

    The process exits with 1, or with 128 plus the number of the signal that ended the run.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Ended(SystemExit):
    """The end of a command: after its help or its config, or by an error that no `except Exception` may catch.

    The message is an error that is still to be printed. Any other SystemExit comes from foreign code, such as a model
    that calls `sys.exit`.
    """

    def __init__(self, exit_code: int = 0, message: str = "") -> None:
        super().__init__(exit_code)
        self.exit_code, self.message = exit_code, message


def foreign_exit(end: SystemExit) -> str:
    """Describe a SystemExit of foreign code: where it was raised, and with which exit code."""
    import traceback  # rarely needed

    frames = [frame for frame in traceback.extract_tb(end.__traceback__) if "_sitebuiltins" not in frame.filename]
    where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "an unknown place"
    code = "" if end.code is None else repr(end.code) if isinstance(end.code, str) else end.code
    return f"the command was ended by sys.exit({code}) in {where}"


def one_line(text: object) -> str:
    """Return `text` with runs of white space as one space, and control characters as escapes."""
    return printable(" ".join(str(text).split()))


def error_line(error: object) -> str:
    """Return an error as one line. Long words and long lines lose their middle, so that the reason stays."""
    words = [_without_middle(word, LONGEST_WORD) for word in one_line(error).split(" ")]
    return _without_middle(" ".join(words), LONGEST)


def _without_middle(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def printable(text: object) -> str:
    """Return `text` with characters that cannot be printed, such as control characters, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, with its line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are: `"a, b, c and 4 more"`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'X'?"` for the choice nearest to `name`; `""` if none is near."""
    near = nearest(name, choices)
    return f" Did you mean '{near}'?" if near else ""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice nearest to `name`, ignoring case; None if none is near."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.6)
    return by_lower_case[near[0]] if near else None
