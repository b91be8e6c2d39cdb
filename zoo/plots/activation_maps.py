"""Class-activation maps over the images that they are of."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from zoo.plots import grid
from zoo.plots.lettering import SPACE
from zoo.plots.mosaic import enlarge
from zoo.plots.predictions import FACTOR, longest_verdict, verdict

STRENGTH = 0.8  # of the colour where a map is highest
GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as the eye weighs them (ITU-R BT.601)


def draw(
    images: np.ndarray,
    maps: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    title: str,
    explanation: str = "",
) -> np.ndarray:
    """Draw each image, beside it its map over it, and below them what `zoo.plots.predictions.verdict` says.

    Args:
        images: uint8 (n, 3, 32, 32), at least one.
        maps: float (n, height, width), at least 0; of the likeliest classes.
        labels: true classes, (n,).
        probabilities: of all classes, (n, k).
        class_names: k names.
        title: stands above; name the model, the data and the layer.
        explanation: stands below the title.

    Returns:
        uint8 (height, width, 3).
    """
    cells = [
        verdict(_beside(image.transpose(1, 2, 0), of_image), label, known, class_names)
        for image, of_image, label, known in zip(images, maps, labels, probabilities, strict=True)
    ]
    return grid.draw(cells, title, explanation, columns=4, letters=longest_verdict(class_names))


def overlay(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return an image in grey, uint8 (h, w, 3), under the colours of a map of 0 to 1 and any size."""
    height, width, _ = image.shape
    rows, columns = (np.arange(to) * size // to for to, size in zip((height, width), strength.shape, strict=True))
    strength = strength[np.ix_(rows, columns)]  # the nearest value, without blur: a map is as coarse as its layer
    colours = matplotlib.colormaps["inferno"](strength)[..., :3] * 255
    weight = STRENGTH * strength[..., None]
    return ((1 - weight) * (image @ GREY)[..., None] + weight * colours).astype(np.uint8)


def _beside(image: np.ndarray, of_image: np.ndarray) -> np.ndarray:
    """Return an image (h, w, 3) enlarged, and to its right its map over it."""
    larger = enlarge(image, FACTOR)
    between = np.full((larger.shape[0], SPACE // 2, 3), 255, dtype=np.uint8)
    return np.concatenate([larger, between, overlay(larger, of_image / (of_image.max() or 1))], axis=1)
