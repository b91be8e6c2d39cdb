"""Class-activation maps drawn over their images."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from zoo.plots import grid
from zoo.plots.lettering import SPACE
from zoo.plots.mosaic import enlarge
from zoo.plots.predictions import FACTOR, captioned, longest_caption

STRENGTH = 0.8  # opacity of the colour at the maximum of a map
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
    """Draw each image beside its map, above the caption of `zoo.plots.predictions.captioned`.

    Args:
        images: uint8 (n, 3, 32, 32), at least one.
        maps: the maps of the predicted classes, float (n, height, width), at least 0.
        labels: the true classes, (n,).
        probabilities: (n, k).
        class_names: k names.
        title: the heading; name the model, the data and the layer.
        explanation: the lines below the title.

    Returns:
        uint8 (height, width, 3).
    """
    cells = [
        captioned(_beside(image.transpose(1, 2, 0), strength), label, p, class_names)
        for image, strength, label, p in zip(images, maps, labels, probabilities, strict=True)
    ]
    return grid.draw(cells, title, explanation, columns=4, letters=longest_caption(class_names))


def overlay(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (h, w, 3), in grey under the colours of a map from 0 to 1, of any size."""
    height, width, _ = image.shape
    rows, columns = (np.arange(to) * size // to for to, size in zip((height, width), strength.shape, strict=True))
    strength = strength[np.ix_(rows, columns)]  # the nearest value, without blur: a map is as coarse as its layer
    colours = matplotlib.colormaps["inferno"](strength)[..., :3] * 255
    weight = STRENGTH * strength[..., None]
    return ((1 - weight) * (image @ GREY)[..., None] + weight * colours).astype(np.uint8)


def _beside(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Return an enlarged image (h, w, 3), with its map over a copy to the right."""
    larger = enlarge(image, FACTOR)
    between = np.full((larger.shape[0], SPACE // 2, 3), 255, dtype=np.uint8)
    return np.concatenate([larger, between, overlay(larger, strength / (strength.max() or 1))], axis=1)
