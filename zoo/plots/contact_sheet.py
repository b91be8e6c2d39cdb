"""Images from files, each beside the pixels that the network saw, with the prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zoo.plots import grid
from zoo.plots.mosaic import SIDE, SPACE, blank, boxed, colors, shorten

WIDTH = 2 * SIDE + SPACE  # pixels, of an image and what the network saw
EXPLANATION = "Left: the image. Right: the {size} x {size} pixels that the network saw."
BACKGROUND = 235  # gray, so that an image with white borders has an edge


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
        saw = boxed(colors(image.pixels))
        pixels = np.concatenate([boxed(image.thumbnail, background=BACKGROUND), blank(SIDE, SPACE), saw], axis=1)
        cells.append(grid.Cell(pixels, (shorten(image.name, WIDTH), shorten(image.prediction, WIDTH))))
    return grid.draw(cells, title, EXPLANATION.format(size=shown[0].pixels.shape[2]), columns=4)
