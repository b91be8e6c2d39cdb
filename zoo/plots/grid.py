"""Images of one size in rows, each with a caption."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zoo.plots.mosaic import LETTER, LINE, SPACE, Label, blank, heading, write

FRAME = 3  # pixels
FRAME_COLOR = (213, 94, 0)  # vermilion of Okabe and Ito


class Cell(NamedTuple):
    """An image of the grid."""

    pixels: np.ndarray  # uint8 (height, width, 3)
    captions: Sequence[str]  # the lines below the image, at least one
    stands_out: bool = False  # whether the image has a frame, and the last line is bold


def draw(cells: Sequence[Cell], title: str, explanation: str, columns: int = 8, letters: int = 0) -> np.ndarray:
    """Draw images in rows from left to right, as pixels, uint8 (height, width, 3).

    Args:
        cells: at least one; images of one size.
        title: the heading.
        explanation: the lines below the title.
        columns: the most columns; each is at least as wide as the longest caption.
        letters: the length of the longest possible caption, so that the grids of all epochs have one size.
    """
    height, width, _ = cells[0].pixels.shape
    lines = max(len(cell.captions) for cell in cells)
    letters = max(letters, *(len(line) for cell in cells for line in cell.captions))
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    step_x, step_y = max(width, letters * LETTER) + SPACE, height + FRAME + lines * LINE + SPACE
    labels, head = heading(title, explanation, columns * step_x + SPACE)
    canvas = blank(head + rows * step_y, columns * step_x + SPACE)
    for number, (pixels, captions, stands_out) in enumerate(cells):
        row, column = divmod(number, columns)
        x, y = SPACE + column * step_x, head + row * step_y
        if stands_out:
            canvas[y - FRAME : y + height + FRAME, x - FRAME : x + width + FRAME] = FRAME_COLOR
        canvas[y : y + height, x : x + width] = pixels
        for line, text in enumerate(captions):
            bold = stands_out and line == len(captions) - 1
            labels.append(Label(text, x, y + height + FRAME + line * LINE, bold=bold))
    return write(canvas, labels)
