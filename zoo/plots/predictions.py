"""Images with their classes, and with what a model takes them for."""

from collections.abc import Sequence

import numpy as np

from zoo.plots import grid
from zoo.plots.mosaic import enlarge

FACTOR = 4  # pixels of the picture a side, of each pixel of an image


def draw(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    title: str,
    explanation: str = "",
) -> np.ndarray:
    """Draw images, each above its class and the probability of the likeliest one; see `verdict`.

    Args:
        images: uint8 (n, 3, 32, 32), at least one.
        labels: true classes, (n,).
        probabilities: of all classes, (n, k).
        class_names: k names.
        title: stands above; name the model and the data.
        explanation: stands below the title.

    Returns:
        uint8 (height, width, 3).
    """
    cells = [
        verdict(enlarge(image.transpose(1, 2, 0), FACTOR), label, of_image, class_names)
        for image, label, of_image in zip(images, labels, probabilities, strict=True)
    ]
    return grid.draw(cells, title, explanation, letters=longest_verdict(class_names))


def draw_labelled(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], title: str, explanation: str = ""
) -> np.ndarray:
    """Draw images, each above its class; arguments and result as of `draw`."""
    cells = [
        grid.Cell(enlarge(image.transpose(1, 2, 0), FACTOR), (class_names[label],))
        for image, label in zip(images, labels, strict=True)
    ]
    return grid.draw(cells, title, explanation)


def verdict(picture: np.ndarray, label: int, probabilities: np.ndarray, class_names: Sequence[str]) -> grid.Cell:
    """Return a picture with its class below, and the likeliest one's probability; a wrong one is named and framed."""
    predicted = int(probabilities.argmax())
    percent = f"{100 * probabilities[predicted]:.0f} %"
    if predicted == label:
        return grid.Cell(picture, (class_names[label], percent))
    return grid.Cell(picture, (class_names[label], f"> {class_names[predicted]} {percent}"), stands_out=True)


def longest_verdict(class_names: Sequence[str]) -> int:
    """Return how many letters the longest line of a verdict may have."""
    return max(len(f"> {name} 100 %") for name in class_names)
