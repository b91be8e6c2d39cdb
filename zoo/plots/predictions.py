"""Images with their true and predicted classes."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from zoo.plots import grid
from zoo.plots.mosaic import SPACE, blank, colors, fitted, short_names

STRENGTH = 0.8  # opacity of the color at the maximum of a map
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as the eye weighs them (ITU-R BT.601)


def draw(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    title: str,
    explanation: str = "",
    maps: np.ndarray | None = None,
) -> np.ndarray:
    """Draw images above their classes and the highest probability; a wrong prediction is named and has a frame.

    Args:
        images: uint8 (n, channels, height, width), at least one.
        labels: the true classes, (n,).
        probabilities: (n, k).
        class_names: k names.
        title: the heading.
        explanation: the lines below the title.
        maps: class-activation maps, float (n, height, width), at least 0, to draw beside the images.
    """
    cells, names = [], short_names(class_names)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        pixels = fitted(colors(image))
        if maps is not None:
            pixels = _beside(pixels, maps[number])
        predicted = int(probabilities[number].argmax())
        is_wrong = predicted != label
        caption = f"> {names[predicted]} " if is_wrong else ""
        caption += f"{100 * probabilities[number, predicted]:.0f} %"
        cells.append(grid.Cell(pixels, (names[label], caption), stands_out=is_wrong))
    longest = max(len(f"> {name} 100 %") for name in names)
    return grid.draw(cells, title, explanation, columns=8 if maps is None else 4, letters=longest)


def draw_labelled(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str, explanation: str = ""
) -> np.ndarray:
    """Draw images above their classes; arguments and result as of `draw`."""
    pairs, names = zip(images, labels, strict=True), short_names(class_names)
    cells = [grid.Cell(fitted(colors(image)), (names[label],)) for image, label in pairs]
    return grid.draw(cells, title, explanation)


def overlay(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (h, w, 3), in gray under the colors of a map from 0 to 1, of any size."""
    height, width, _ = image.shape
    rows, columns = (np.arange(to) * size // to for to, size in zip((height, width), strength.shape, strict=True))
    strength = strength[np.ix_(rows, columns)]  # the nearest value, without blur: a map is as coarse as its layer
    colors = matplotlib.colormaps["inferno"](strength)[..., :3] * 255
    weight = STRENGTH * strength[..., None]
    return ((1 - weight) * (image @ GREY)[..., None] + weight * colors).astype(np.uint8)


def _beside(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    covered = overlay(image, strength / (strength.max() or 1))
    return np.concatenate([image, blank(len(image), SPACE // 2), covered], axis=1)
