"""Images from files, each beside the pixels that the network saw, with the prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from zoo.plots.mosaic import LINE, Label, draw, enlarge, shorten
from zoo.trained.image_files import SIZE, THUMBNAIL

SIDE = THUMBNAIL  # pixels a side, for an image and for what the network saw
SPACE = 8  # pixels between the two, and half of the space between cells
COLUMNS = (2, 4)  # fewest and most
WIDTH, HEIGHT = 2 * SIDE + 3 * SPACE, SIDE + 2 * LINE + 3 * SPACE  # of a cell
HEAD = 2 * LINE + 2 * SPACE
BACKGROUND = 235  # grey, so that an image with white borders has an edge


class Shown(NamedTuple):
    """An image of the sheet.

    Attributes:
        name: the line below the image.
        prediction: the line below the name.
        thumbnail: see `zoo.trained.image_files.ImageFile`.
        pixels: see `zoo.trained.image_files.ImageFile`.
    """

    name: str
    prediction: str
    thumbnail: np.ndarray
    pixels: np.ndarray


def sheet(shown: Sequence[Shown], title: str) -> Figure:
    """Draw images, at least one, in rows from left to right; programs can open sheets of some hundreds of images."""
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
        labels.append(Label(shorten(picture.prediction, room), x, below + LINE, bold=True))
    return draw(canvas, labels)


def _boxed(thumbnail: np.ndarray) -> np.ndarray:
    """Return a thumbnail centred in its box, enlarged by a whole factor if it is small."""
    larger = enlarge(thumbnail, SIDE // max(thumbnail.shape[:2]))
    height, width, _ = larger.shape
    box = np.full((SIDE, SIDE, 3), BACKGROUND, dtype=np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    box[top : top + height, left : left + width] = larger
    return box
