"""The output of a dense layer's units, beside the input images."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from zoo.plots.lettering import SPACE, heading, write
from zoo.plots.mosaic import LETTER, LINE, Label, enlarge

UNITS = 160  # the most that are drawn
SIDE = 64  # pixels of an image
WIDTH, NARROW, BROAD = 800, 5, 100  # pixels: about, of all units; at least and at most, of one unit
LEAST = 400  # pixels: the smallest width, for the heading


def draw(
    images: np.ndarray,
    values: np.ndarray,
    names: Sequence[str],
    title: str,
    explanation: str = "",
    units: Sequence[str] = (),
) -> np.ndarray:
    """Draw a row for each image: the image above its name, and a bar for each unit, on one scale.

    Args:
        images: uint8 (n, 3, 32, 32).
        values: float (n, units).
        names: the names of the images.
        title: the heading; name the model and the layer.
        explanation: the lines below the title.
        units: the names of the units, by default their numbers; only those that fit are written.

    Returns:
        uint8 (height, width, 3).
    """
    shown = values[:, :UNITS]
    units = units or [str(number) for number in range(shown.shape[1])]
    low, high = float(shown.min()), float(shown.max())
    colours = matplotlib.colormaps["viridis"]((shown - low) / ((high - low) or 1), bytes=True)[..., :3]
    broad = min(max(WIDTH // shown.shape[1], NARROW), BROAD)
    left = max(SIDE, LETTER * max(map(len, names))) + 2 * SPACE
    width = max(LEAST, left + shown.shape[1] * broad + SPACE)
    scale = f"From {low:.3g} (dark) to {high:.3g} (bright)."
    labels, head = heading(title, f"{explanation} {scale}", width)
    step = SIDE + LINE + SPACE
    canvas = np.full((head + LINE + len(images) * step, width, 3), 255, dtype=np.uint8)
    every = -(-LETTER * (1 + max(map(len, units))) // broad)  # units from one name to the next
    for unit in range(0, shown.shape[1], every):
        labels.append(Label(units[unit], left + unit * broad + broad // 2, head, centred=True))
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        y = head + LINE + row * step
        canvas[y : y + SIDE, SPACE : SPACE + SIDE] = enlarge(image.transpose(1, 2, 0), SIDE // 32)
        canvas[y : y + SIDE, left : left + shown.shape[1] * broad] = colours[row].repeat(broad, axis=0)
        labels.append(Label(name, SPACE, y + SIDE))
    return write(canvas, labels)
