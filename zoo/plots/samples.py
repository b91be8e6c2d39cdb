"""Images of a data set, a column for each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from zoo.plots.mosaic import LINE, Label, draw, enlarge, shorten

FACTOR = 3  # pixels a side for each pixel of an image
SPACE = 8  # pixels between images


def columns(images: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Draw images, uint8 (classes, n, 3, 32, 32), below the names of their classes."""
    classes, rows, _, height, width = images.shape
    step_x, step_y = FACTOR * width + SPACE, FACTOR * height + SPACE
    head = 2 * LINE + 2 * SPACE
    canvas = np.full((head + rows * step_y, SPACE + classes * step_x, 3), 255, dtype=np.uint8)
    labels = [Label(shorten(title, canvas.shape[1] - 2 * SPACE), SPACE, SPACE, bold=True)]
    for column, (name, of_class) in enumerate(zip(class_names, images, strict=True)):
        x = SPACE + column * step_x
        labels.append(Label(name, x + FACTOR * width // 2, SPACE + LINE + SPACE // 2, centred=True))
        for row, image in enumerate(of_class):
            y = head + row * step_y
            larger = enlarge(image.transpose(1, 2, 0), FACTOR)
            canvas[y : y + FACTOR * height, x : x + FACTOR * width] = larger
    return draw(canvas, labels)
