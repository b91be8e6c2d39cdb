"""Images with their true and predicted classes."""

from collections.abc import Sequence

import numpy as np

from zoo.plots import grid
from zoo.plots.mosaic import enlarge

FACTOR = 4  # pixels a side for each pixel of an image


def draw(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    title: str,
    explanation: str = "",
) -> np.ndarray:
    """Draw images above their captions; arguments and result as of `zoo.plots.activation_maps.draw`."""
    cells = [
        captioned(enlarge(image.transpose(1, 2, 0), FACTOR), label, p, class_names)
        for image, label, p in zip(images, labels, probabilities, strict=True)
    ]
    return grid.draw(cells, title, explanation, letters=longest_caption(class_names))


def draw_labelled(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str, explanation: str = ""
) -> np.ndarray:
    """Draw images above their classes; arguments and result as of `draw`."""
    cells = [
        grid.Cell(enlarge(image.transpose(1, 2, 0), FACTOR), (class_names[label],))
        for image, label in zip(images, labels, strict=True)
    ]
    return grid.draw(cells, title, explanation)


def captioned(picture: np.ndarray, label: int, probabilities: np.ndarray, class_names: Sequence[str]) -> grid.Cell:
    """Return a picture above its class and the highest probability; a wrong prediction is named and has a frame."""
    predicted = int(probabilities.argmax())
    percent = f"{100 * probabilities[predicted]:.0f} %"
    if predicted == label:
        return grid.Cell(picture, (class_names[label], percent))
    return grid.Cell(picture, (class_names[label], f"> {class_names[predicted]} {percent}"), stands_out=True)


def longest_caption(class_names: Sequence[str]) -> int:
    """Return the most letters that a line of a caption can have."""
    return max(len(f"> {name} 100 %") for name in class_names)
