"""Images in rows, each with facts about it and the maps that explain its prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np

from zoo.plots.mosaic import LETTER, LINE, SIDE, SPACE, Label, blank, boxed, colors, heading, shorten, write

LETTERS = 32  # the most letters in a line about an image
BAR = 8  # pixels: the height of a scale
# Both scales get brighter from one end to the other, so that they work in print and for the color-blind.
AMOUNT, SIGNED = "inferno", "cividis"
WITHIN = 0.99  # the share of the values within the scale: outliers would leave the rest dark


class Column(NamedTuple):
    """The heading of a column: its two lines, and the colors of its maps."""

    name: str
    detail: str = ""
    scale: str = ""  # `AMOUNT` or `SIGNED`; "" without maps


class Cell(NamedTuple):
    """A map or another image that explains an image, above its caption."""

    pixels: np.ndarray  # uint8 (`SIDE`, `SIDE`, 3)
    caption: str


class Row(NamedTuple):
    """An image and its explanations."""

    image: np.ndarray  # uint8 (channels, height, width)
    lines: Sequence[str]  # facts about the image, at most nine; the first line is its name
    cells: Sequence[Cell]  # one for each column


MEANING = {AMOUNT: ("0", "", "most"), SIGNED: ("against", "0", "for")}  # of the left end, the middle, the right end


def draw(rows: Sequence[Row], columns: Sequence[Column], title: str, explanation: str) -> np.ndarray:
    """Draw a row for each image, as pixels, uint8 (height, width, 3); there must be a row and a column."""
    text = LETTER * min(LETTERS, max(len(line) for row in rows for line in row.lines))
    left = 3 * SPACE + SIDE + text
    width = left + len(columns) * (SIDE + SPACE)
    labels, top = heading(title, explanation, width)
    first = top + LINE
    if any(column.scale for column in columns):
        first += 2 * LINE + BAR + SPACE
    step = SIDE + LINE + SPACE
    canvas = blank(first + len(rows) * step, width)
    for number, column in enumerate(columns):
        labels += _head(canvas, column, left + number * (SIDE + SPACE), top)
    for number, row in enumerate(rows):
        y = first + number * step
        canvas[y : y + SIDE, SPACE : SPACE + SIDE] = boxed(colors(row.image))
        for line, words in enumerate(row.lines):
            labels.append(Label(shorten(words, text), 2 * SPACE + SIDE, y + line * LINE, bold=line == 0))
        for place, cell in enumerate(row.cells):
            x = left + place * (SIDE + SPACE)
            canvas[y : y + SIDE, x : x + SIDE] = cell.pixels
            labels.append(Label(shorten(cell.caption, SIDE), x + SIDE // 2, y + SIDE, centered=True))
    return write(canvas, labels)


def _head(canvas: np.ndarray, column: Column, x: int, y: int) -> list[Label]:
    """Draw the scale of a column, and return its labels."""
    middle = x + SIDE // 2
    labels = [
        Label(shorten(column.name, SIDE), middle, y, centered=True, bold=True),
        Label(shorten(column.detail, SIDE), middle, y + LINE, centered=True),
    ]
    if column.scale:
        top = y + 2 * LINE + SPACE // 2
        canvas[top : top + BAR, x : x + SIDE] = _colors(column.scale, np.linspace(0, 1, SIDE))
        low, zero, high = MEANING[column.scale]
        labels.append(Label(low, x, top + BAR))
        labels.append(Label(zero, middle, top + BAR, centered=True))
        labels.append(Label(high, x + SIDE - LETTER * len(high), top + BAR))
    return labels


# Maps.


def amount(values: np.ndarray) -> Cell:
    """Draw a map of non-negative values, (height, width)."""
    end = _end(values)
    return Cell(boxed(_colors(AMOUNT, values / end)), f"0 to {end:.2g}" if values.any() else "0 everywhere")


def signed(values: np.ndarray) -> Cell:
    """Draw a map of positive values (for a class) and negative values (against it), (height, width)."""
    end = _end(values)
    pixels = boxed(_colors(SIGNED, (values / end + 1) / 2))
    return Cell(pixels, f"±{end:.2g}" if values.any() else "0 everywhere")


def _end(values: np.ndarray) -> float:
    """Return the end of the scale; 1 if all values are 0."""
    return float(np.quantile(np.abs(values), WITHIN)) or float(np.abs(values).max()) or 1.0


def _colors(scale: str, values: np.ndarray) -> np.ndarray:
    """Return colors, uint8 (..., 3); values outside 0 to 1 have the colors of the ends."""
    return matplotlib.colormaps[scale](values, bytes=True)[..., :3]
