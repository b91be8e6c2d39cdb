"""Images in rows and columns with names."""

from collections.abc import Sequence

import numpy as np

from zoo.plots.mosaic import LETTER, LINE, SPACE, Label, blank, enlarge, heading, write

FACTOR = 3  # pixels a side for each pixel of an image


def draw(
    images: np.ndarray, columns: Sequence[str], rows: Sequence[str] = (), title: str = "", factor: int = FACTOR
) -> np.ndarray:
    """Draw images, uint8 (rows, columns, 3, height, width), below the names of the columns, as pixels (h, w, 3)."""
    count, _, _, height, width = images.shape
    height, width = factor * height, factor * width
    left = SPACE + (LETTER * max(map(len, rows)) + SPACE if rows else 0)
    labels, top = heading(title, "", left + len(columns) * (width + SPACE))
    first = top + LINE
    canvas = blank(first + count * (height + SPACE), left + len(columns) * (width + SPACE))
    for row, name in enumerate(rows):
        labels.append(Label(name, SPACE, first + row * (height + SPACE) + (height - LINE) // 2))
    for column, name in enumerate(columns):
        x = left + column * (width + SPACE)
        labels.append(Label(name, x + width // 2, top - SPACE // 2, centred=True))
        for row, image in enumerate(images[:, column]):
            y = first + row * (height + SPACE)
            canvas[y : y + height, x : x + width] = enlarge(image.transpose(1, 2, 0), factor)
    return write(canvas, labels)
