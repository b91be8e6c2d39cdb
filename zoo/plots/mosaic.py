"""Images and labels on a canvas of pixels; each pixel of a small image becomes a block of whole pixels.

Pillow writes the labels: forty take 3 ms, and 100 ms with matplotlib, which matters during training.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont  # comes with matplotlib

SIDE = 128  # pixels: the most of an image, and about those of a small one
SPACE = 8  # pixels around a heading, and between images
LETTER, LINE = 7, 16  # pixels: the width of a letter, and the height of a line
ASCENT = 12  # pixels from the top of a line to the baseline
FONT_SIZE = 12  # makes a letter `LETTER` pixels wide
LONGEST_NAME = 24  # letters of a class or an image


class Label(NamedTuple):
    """A line of text."""

    text: str
    x: int  # pixels from the left to the left edge, or to the middle of a centered label
    y: int  # pixels from the top to the upper edge of the line
    centered: bool = False
    bold: bool = False


def blank(height: int, width: int) -> np.ndarray:
    """Return a white canvas, uint8 (height, width, 3)."""
    return np.full((height, width, 3), 255, dtype=np.uint8)


def colors(image: np.ndarray) -> np.ndarray:
    """Return an image of one channel or three, (channels, h, w), as red, green and blue, (h, w, 3)."""
    return np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3))


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Return an image (h, w, 3) with each pixel as a block of `factor` times `factor`."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def fitted(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return an image, uint8 (h, w, 3), enlarged by a whole factor to at most `side` pixels, or shrunk to `side`."""
    height, width, _ = image.shape
    longest = max(height, width)
    if longest <= side:
        return enlarge(image, side // longest)
    size = [max(1, round(length * side / longest)) for length in (width, height)]
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def boxed(image: np.ndarray, side: int = SIDE, background: int = 255) -> np.ndarray:
    """Return an image, `fitted`, in the middle of a square of `side` pixels in a shade of gray."""
    inner = fitted(image, side)
    height, width, _ = inner.shape
    box = np.full((side, side, 3), background, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    box[top : top + height, left : left + width] = inner
    return box


def shorten(text: str, width: int) -> str:
    """Return `text`, or its beginning and its end if a label of it would be wider than `width` pixels."""
    letters = width // LETTER
    if len(text) <= letters:
        return text
    end = letters // 2
    return f"{text[: letters - 1 - end]}…{text[-end:]}"


def short_names(names: Sequence[str]) -> list[str]:
    """Return names that leave room for several in a row; a folder's name, and so a class's, may be a sentence."""
    return [shorten(name, LONGEST_NAME * LETTER) for name in names]


def heading(title: str, explanation: str, width: int) -> tuple[list[Label], int]:
    """Return the labels of a heading in lines of at most `width` pixels, and the height of the heading in pixels."""
    letters = (width - 2 * SPACE) // LETTER
    lines = [(line, True) for line in wrap(title, letters)] + [(line, False) for line in wrap(explanation, letters)]
    labels = [Label(line, SPACE, SPACE + row * LINE, bold=bold) for row, (line, bold) in enumerate(lines)]
    return labels, len(lines) * LINE + 2 * SPACE


def write(canvas: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """Return a canvas, uint8 (height, width, 3), with labels on it."""
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for text, x, y, centered, bold in labels:
        pen.text((x, y + ASCENT), text, fill="black", font=_font(bold), anchor="ms" if centered else "ls")
    return np.asarray(image)


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSansMono-Bold.ttf" if bold else "DejaVuSansMono.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)  # whole pixels a letter
