"""Pictures, each beside what the network saw of it, and what it took it for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from zoo.plots.mosaic import LINE, Label, draw, enlarge, shorten
from zoo.trained.image_files import SIZE, THUMBNAIL

SIDE = THUMBNAIL  # pixels of a picture's box, and of what the network saw
SPACE = 8  # pixels between the two, and half of those between one picture and the next
COLUMNS = (2, 4)  # fewest and most
WIDTH, HEIGHT = 2 * SIDE + 3 * SPACE, SIDE + 2 * LINE + 3 * SPACE  # of a picture's cell
HEAD = 2 * LINE + 2 * SPACE
BACKGROUND = 235  # of the boxes: a picture that is white at its edge has an edge


class Shown(NamedTuple):
    """A picture of the sheet.

    Attributes:
        name: stands below it.
        verdict: what it was taken for; stands below the name.
        thumbnail: see `zoo.trained.image_files.ImageFile`.
        pixels: likewise.
    """

    name: str
    verdict: str
    thumbnail: np.ndarray
    pixels: np.ndarray


def sheet(shown: Sequence[Shown], title: str) -> Figure:
    """Draw pictures in rows, left to right.

    Args:
        shown: at least one; some hundreds make a picture that programs can still open.
        title: stands above; name the model.
    """
    columns = min(max(len(shown), COLUMNS[0]), COLUMNS[1])
    rows = -(-len(shown) // columns)
    canvas = np.full((HEAD + rows * HEIGHT, columns * WIDTH, 3), 255, dtype=np.uint8)
    room = columns * WIDTH - 2 * SPACE
    explanation = shorten("Left: the picture. Right: the 32 x 32 pixels that the network saw.", room)
    labels = [Label(shorten(title, room), SPACE, SPACE, bold=True), Label(explanation, SPACE, SPACE + LINE)]
    for number, picture in enumerate(shown):
        row, column = divmod(number, columns)
        x, y = column * WIDTH + SPACE, HEAD + row * HEIGHT
        canvas[y : y + SIDE, x : x + SIDE] = _boxed(picture.thumbnail)
        right = x + SIDE + SPACE
        canvas[y : y + SIDE, right : right + SIDE] = enlarge(picture.pixels.transpose(1, 2, 0), SIDE // SIZE)
        below, room = y + SIDE + SPACE // 2, 2 * SIDE + SPACE
        labels.append(Label(shorten(picture.name, room), x, below))
        labels.append(Label(shorten(picture.verdict, room), x, below + LINE, bold=True))
    return draw(canvas, labels)


def _boxed(thumbnail: np.ndarray) -> np.ndarray:
    """Return a thumbnail in the middle of its box; a small one with larger pixels, as far as they fit."""
    larger = enlarge(thumbnail, SIDE // max(thumbnail.shape[:2]))
    height, width, _ = larger.shape
    box = np.full((SIDE, SIDE, 3), BACKGROUND, dtype=np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    box[top : top + height, left : left + width] = larger
    return box
