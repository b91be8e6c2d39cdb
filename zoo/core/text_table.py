"""Columns of text for the terminal."""

from collections.abc import Collection, Sequence


def align(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return each row as a line, with two spaces between columns; the columns `right` are aligned on the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    sides = [">" if position in right else "<" for position in range(len(widths))]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)) for row in rows
    ]
