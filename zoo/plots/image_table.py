"""Images in rows and columns with names."""

from collections.abc import Sequence

import numpy as np

from zoo.plots.mosaic import LETTER, LINE, SPACE, Label, blank, boxed, colors, heading, shorten, write

SIDE = 96  # pixels of an image


def draw(
    images: np.ndarray, columns: Sequence[str], rows: Sequence[str] = (), title: str = "", side: int = SIDE
) -> np.ndarray:
    """Draw images, uint8 (rows, columns, channels, height, width), below the names of the columns, in squares.

    The result is uint8 (h, w, 3).
    """
    count = len(images)
    left = SPACE + (LETTER * max(map(len, rows)) + SPACE if rows else 0)
    labels, top = heading(title, "", left + len(columns) * (side + SPACE))
    first = top + LINE
    canvas = blank(first + count * (side + SPACE), left + len(columns) * (side + SPACE))
    for row, name in enumerate(rows):
        labels.append(Label(name, SPACE, first + row * (side + SPACE) + (side - LINE) // 2))
    for column, name in enumerate(columns):
        x = left + column * (side + SPACE)
        labels.append(Label(shorten(name, side + SPACE), x + side // 2, top - SPACE // 2, centered=True))
        for row, image in enumerate(images[:, column]):
            y = first + row * (side + SPACE)
            canvas[y : y + side, x : x + side] = boxed(colors(image), side)
    return write(canvas, labels)
