"""A figure put together from images, each pixel of which is as many whole pixels of the figure, and labels."""

import io
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

DPI = 128  # a power of two: inches times dots are whole pixels again
LETTER, LINE = 7, 16  # pixels of a label: the width of a letter, and the height of a line
ASCENT = 12  # pixels of a line above the foot of its letters
POINTS = 6.5  # of the letters that are as wide
FONT = "DejaVu Sans Mono"  # comes with matplotlib; all letters are of one width


class Label(NamedTuple):
    """A line of text.

    Attributes:
        text: what it says.
        x: its left edge, or its middle where it is centred; pixels from the left.
        y: the upper edge of its line, pixels from the top.
        centred: whether x is its middle.
        bold: whether it stands out.
    """

    text: str
    x: int
    y: int
    centred: bool = False
    bold: bool = False


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Return an image (h, w, 3) with each pixel as a block of `factor` times `factor`."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def shorten(text: str, width: int) -> str:
    """Return `text`, or its beginning and its end where a label of it is wider than `width` pixels."""
    letters = width // LETTER
    if len(text) <= letters:
        return text
    end = letters // 2
    return f"{text[: letters - 1 - end]}…{text[-end:]}"


def draw(canvas: np.ndarray, labels: Sequence[Label]) -> Figure:
    """Draw labels on a canvas.

    Args:
        canvas: uint8 (height, width, 3); the figure has as many pixels.
        labels: what is written on it.
    """
    height, width, _ = canvas.shape
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(canvas)
    for text, x, y, centred, bold in labels:
        figure.text(
            x / width,
            1 - (y + ASCENT) / height,
            text,
            fontsize=POINTS,
            family=FONT,
            weight="bold" if bold else "normal",
            horizontalalignment="center" if centred else "left",
            verticalalignment="baseline",
            parse_math=False,  # a file's name may hold a $
        )
    return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in letters that the font has not
        figure.savefig(content, format="png", dpi="figure")
    return content.getvalue()
