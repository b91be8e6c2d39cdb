"""Images from files, each beside the pixels that the network saw, with the prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from datamodules.readers.image_files import THUMBNAIL
from zoo.plots import grid
from zoo.plots.mosaic import SPACE, blank, enlarge, shorten

WIDTH = 2 * THUMBNAIL + SPACE  # pixels, of an image and what the network saw
EXPLANATION = "Left: the picture. Right: the {size} x {size} pixels that the network saw."
BACKGROUND = 235  # grey, so that an image with white borders has an edge


class Shown(NamedTuple):
    """An image of the sheet; for the arrays see `datamodules.readers.image_files.ImageFile`."""

    name: str
    prediction: str
    thumbnail: np.ndarray
    pixels: np.ndarray


def draw(shown: Sequence[Shown], title: str) -> np.ndarray:
    """Draw images, at least one, as pixels (h, w, 3); programs can open sheets of some hundreds of images."""
    cells = []
    for image in shown:
        saw = np.broadcast_to(image.pixels.transpose(1, 2, 0), (*image.pixels.shape[1:], 3))  # gray as color
        pixels = np.concatenate([_boxed(image.thumbnail), blank(THUMBNAIL, SPACE), _boxed(saw)], axis=1)
        cells.append(grid.Cell(pixels, (shorten(image.name, WIDTH), shorten(image.prediction, WIDTH))))
    return grid.draw(cells, title, EXPLANATION.format(size=shown[0].pixels.shape[-1]), columns=4)


def _boxed(thumbnail: np.ndarray) -> np.ndarray:
    """Return an image (h, w, 3) centred in its box, enlarged by a whole factor if it is small."""
    larger = enlarge(thumbnail, max(1, THUMBNAIL // max(thumbnail.shape[:2])))[:THUMBNAIL, :THUMBNAIL]
    height, width, _ = larger.shape
    box = np.full((THUMBNAIL, THUMBNAIL, 3), BACKGROUND, dtype=np.uint8)
    top, left = (THUMBNAIL - height) // 2, (THUMBNAIL - width) // 2
    box[top : top + height, left : left + width] = larger
    return box
