"""Put text from elsewhere into Markdown, where it stays text."""

import re

from datamodules.errors import one_line


def escaped(text: object) -> str:
    """Return text on one line, with Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>#|&~$])", r"\\\1", one_line(text))


def code(text: object) -> str:
    """Return text on one line, as a code span."""
    line = one_line(text)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{_fence(line, 1)}{space}{line}{space}{_fence(line, 1)}"


def code_block(text: str, language: str = "") -> str:
    """Return lines as a block of code."""
    return f"{_fence(text, 3)}{language}\n{text.rstrip()}\n{_fence(text, 3)}"


def _fence(text: str, shortest: int) -> str:
    """Return more backticks than the text has in a row."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(shortest, longest + 1)
