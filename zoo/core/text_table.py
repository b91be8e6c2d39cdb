"""Columns and paragraphs of text for the terminal."""

import textwrap
from collections.abc import Collection, Sequence

WIDTH = 100  # of a line


def align(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return each row as a line, with two spaces between columns; the columns `right` are aligned on the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    sides = [">" if position in right else "<" for position in range(len(widths))]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)) for row in rows
    ]


def wrap(text: str, first: str = "", others: str | None = None) -> str:
    """Return text in lines of at most `WIDTH`, except for longer words: links and paths stay whole.

    Args:
        text: a paragraph.
        first: the beginning of the first line.
        others: the beginning of all other lines; by default as many spaces.
    """
    others = " " * len(first) if others is None else others
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
