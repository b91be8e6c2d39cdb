"""Figures made of images and labels, in which each pixel of an image is a block of whole pixels."""

import io
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

DPI = 128  # a power of two, so that inches times dots are whole pixels
LETTER, LINE = 7, 16  # pixels: the width of a letter, and the height of a line
ASCENT = 12  # pixels from the top of a line to the baseline
POINTS = 6.5  # the size of the font at which a letter is `LETTER` pixels wide
FONT = "DejaVu Sans Mono"  # comes with matplotlib


class Label(NamedTuple):
    """A line of text.

    Attributes:
        text: the text.
        x: pixels from the left to the left edge, or to the middle of a centred label.
        y: pixels from the top to the upper edge of the line.
        centred: whether x is the middle.
        bold: whether the letters are bold.
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
    """Return `text`, or its beginning and its end if a label of it would be wider than `width` pixels."""
    letters = width // LETTER
    if len(text) <= letters:
        return text
    end = letters // 2
    return f"{text[: letters - 1 - end]}…{text[-end:]}"


def draw(canvas: np.ndarray, labels: Sequence[Label]) -> Figure:
    """Draw labels on a canvas, uint8 (height, width, 3), as a figure of the same size in pixels."""
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
            parse_math=False,  # the name of a file can contain $
        )
    return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the name of a file can have any letters
        figure.savefig(content, format="png", dpi="figure")
    return content.getvalue()
