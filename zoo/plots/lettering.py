"""Labels written by Pillow, for images that are drawn during training: forty labels take 3 ms, by matplotlib 100 ms.

The labels are those of `zoo.plots.mosaic`, in the same size.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from textwrap import wrap

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont  # comes with matplotlib

from zoo.plots.mosaic import ASCENT, LETTER, LINE, Label

PIXELS = 12  # the size of the font at which a letter is `LETTER` pixels wide
SPACE = 8  # pixels around a heading, and between pictures


def write(canvas: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """Return a canvas, uint8 (height, width, 3), with labels on it."""
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for text, x, y, centred, bold in labels:
        pen.text((x, y + ASCENT), text, fill="black", font=_font(bold), anchor="ms" if centred else "ls")
    return np.asarray(image)


def heading(title: str, explanation: str, width: int) -> tuple[list[Label], int]:
    """Return the labels of a heading in lines of at most `width` pixels, and the height of the heading in pixels."""
    letters = (width - 2 * SPACE) // LETTER
    lines = [(line, True) for line in wrap(title, letters)] + [(line, False) for line in wrap(explanation, letters)]
    labels = [Label(line, SPACE, SPACE + row * LINE, bold=bold) for row, (line, bold) in enumerate(lines)]
    return labels, len(lines) * LINE + 2 * SPACE


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSansMono-Bold.ttf" if bold else "DejaVuSansMono.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), PIXELS, layout_engine=ImageFont.Layout.BASIC)  # whole pixels a letter
