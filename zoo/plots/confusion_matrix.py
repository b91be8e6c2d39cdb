"""The confusion matrix as a heat map."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from zoo.plots.mosaic import LETTER, LINE, SPACE, Label, blank, heading, write

DARKEST = 0.6  # of the colour map, below black numbers


def draw(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix of counts, k x k, truth by prediction, in percentages of each true class."""
    percent = _percentages(confusion)
    k = len(class_names)
    side = max(4.0, 1.6 + 0.52 * k)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(k), class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), class_names)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=10)
    for row in range(k):
        for column in range(k):
            if round(percent[row, column]) > 0:
                colour = "white" if percent[row, column] > 65 else "black"
                text = f"{percent[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.spines[:].set_visible(False)
    figure.text(0.99, 0.01, "% of the true class", ha="right", va="bottom", fontsize=8, color="0.4")
    return figure


def pixels(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> np.ndarray:
    """Draw the same as pixels, uint8 (height, width, 3), in a twentieth of the time."""
    percent = _percentages(confusion)
    k, longest = len(class_names), LETTER * max(map(len, class_names))
    width, height, left = longest + SPACE, 2 * LINE, longest + 2 * SPACE  # of a cell, and the left of the first cell
    explanation = "Rows: truth. Columns: prediction. Numbers: % of the true class."
    labels, head = heading(title, explanation, left + k * width + SPACE)
    top = head + LINE + SPACE
    canvas = blank(top + k * height + SPACE, left + k * width + SPACE)
    colours = matplotlib.colormaps["Blues"](percent / 100 * DARKEST, bytes=True)[..., :3]
    canvas[top:-SPACE, left:-SPACE] = colours.repeat(height, axis=0).repeat(width, axis=1)
    for row, name in enumerate(class_names):
        y = top + row * height + (height - LINE) // 2
        labels.append(Label(name, SPACE, y))
        labels.append(Label(name, left + row * width + width // 2, head, centred=True))
        for column, value in enumerate(percent[row]):
            if round(value) > 0:
                x = left + column * width + width // 2
                labels.append(Label(f"{value:.0f}", x, y, centred=True, bold=row == column))
    return write(canvas, labels)


def _percentages(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    """Return counts as percentages of the sum of their row, which may be 0."""
    counts = np.asarray(confusion, dtype=float)
    return 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
