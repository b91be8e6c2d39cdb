"""Pictures of one size in rows, each with a caption."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zoo.plots.lettering import SPACE, heading, write
from zoo.plots.mosaic import LETTER, LINE, Label

FRAME = 3  # pixels
FRAME_COLOUR = (213, 94, 0)  # vermilion of Okabe and Ito


class Cell(NamedTuple):
    """A picture of the grid.

    Attributes:
        picture: uint8 (height, width, 3).
        captions: the lines below the picture, at least one.
        stands_out: whether the picture has a frame, and the last line is bold.
    """

    picture: np.ndarray
    captions: Sequence[str]
    stands_out: bool = False


def draw(cells: Sequence[Cell], title: str, explanation: str, columns: int = 8, letters: int = 0) -> np.ndarray:
    """Draw pictures in rows from left to right.

    Args:
        cells: at least one; pictures of one size.
        title: the heading.
        explanation: the lines below the title.
        columns: the most columns.
        letters: the length of the longest possible caption, so that the grids of all epochs have one size.

    Returns:
        uint8 (height, width, 3). A column is at least as wide as the longest caption.
    """
    height, width, _ = cells[0].picture.shape
    lines = max(len(cell.captions) for cell in cells)
    letters = max(letters, *(len(line) for cell in cells for line in cell.captions))
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    step_x, step_y = max(width, letters * LETTER) + SPACE, height + FRAME + lines * LINE + SPACE
    labels, head = heading(title, explanation, columns * step_x + SPACE)
    canvas = np.full((head + rows * step_y, columns * step_x + SPACE, 3), 255, dtype=np.uint8)
    for number, (picture, captions, stands_out) in enumerate(cells):
        row, column = divmod(number, columns)
        x, y = SPACE + column * step_x, head + row * step_y
        if stands_out:
            canvas[y - FRAME : y + height + FRAME, x - FRAME : x + width + FRAME] = FRAME_COLOUR
        canvas[y : y + height, x : x + width] = picture
        for line, text in enumerate(captions):
            bold = stands_out and line == len(captions) - 1
            labels.append(Label(text, x, y + height + FRAME + line * LINE, bold=bold))
    return write(canvas, labels)
