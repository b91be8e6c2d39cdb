"""The confusion matrix as a heat map. One of many classes has no numbers in its cells, and numbers for its columns."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from zoo.plots.literal import literal
from zoo.plots.mosaic import LETTER, LINE, SPACE, Label, blank, heading, short_names, write

DARKEST = 0.6  # of the color map, below black numbers
MOST_NUMBERED = 20  # classes, of a matrix with numbers in its cells
CELL, SMALL_CELL = 0.52, 0.13  # inches
SMALL = 6  # points: a name beside a small cell


def draw(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix of counts, k x k, truth by prediction, in percentages of each true class."""
    percent = _percentages(confusion)
    k, names = len(class_names), [literal(name) for name in short_names(class_names)]
    has_numbers = k <= MOST_NUMBERED
    side = max(4.0, 1.6 + (CELL if has_numbers else SMALL_CELL) * k)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    size = None if has_numbers else SMALL
    axes.set_xticks(range(k), names, rotation=45 if has_numbers else 90, ha="right", rotation_mode="anchor", size=size)
    axes.set_yticks(range(k), names, size=size)
    if not has_numbers:
        for label in axes.get_xticklabels():
            label.set_verticalalignment("center")
    axes.set_xlabel("prediction" if has_numbers else "prediction; darker: a larger share of the true class")
    axes.set_ylabel("truth")
    axes.set_title(literal(title), fontsize=10)
    for row, column in np.argwhere(percent.round() > 0) if has_numbers else ():
        color = "white" if percent[row, column] > 65 else "black"
        text = f"{percent[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    axes.spines[:].set_visible(False)
    if has_numbers:
        figure.text(0.99, 0.01, "% of the true class", ha="right", va="bottom", fontsize=8, color="0.4")
    return figure


def pixels(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> np.ndarray:
    """Draw the same as pixels, uint8 (height, width, 3), in a twentieth of the time."""
    percent = _percentages(confusion)
    k, names = len(class_names), short_names(class_names)
    has_numbers = k <= MOST_NUMBERED
    heads = names if has_numbers else [str(label) for label in range(k)]
    names = names if has_numbers else [f"{label} {name}" for label, name in enumerate(names)]
    longest = LETTER * max(map(len, names))
    # Of a cell, and the left of the first cell.
    width, height, left = longest + SPACE if has_numbers else LINE, LINE * (1 + has_numbers), longest + 2 * SPACE
    explanation = "Rows: truth. Columns: prediction."
    explanation += " Numbers: % of the true class." if has_numbers else " Darker: a larger share of the true class."
    labels, head = heading(title, explanation, left + k * width + SPACE)
    top = head + LINE + SPACE
    canvas = blank(top + k * height + SPACE, left + k * width + SPACE)
    colors = matplotlib.colormaps["Blues"](percent / 100 * (DARKEST if has_numbers else 1), bytes=True)[..., :3]
    canvas[top:-SPACE, left:-SPACE] = colors.repeat(height, axis=0).repeat(width, axis=1)
    every = -(-LETTER * (1 + max(map(len, heads))) // width)  # columns from one heading to the next
    for row, name in enumerate(names):
        y = top + row * height + (height - LINE) // 2
        labels.append(Label(name, SPACE, y))
        if row % every == 0:
            labels.append(Label(heads[row], left + row * width + width // 2, head, centered=True))
        for column, value in enumerate(percent[row]) if has_numbers else ():
            if round(value) > 0:
                x = left + column * width + width // 2
                labels.append(Label(f"{value:.0f}", x, y, centered=True, bold=row == column))
    return write(canvas, labels)


def _percentages(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    """Return counts as percentages of the sum of their row, which may be 0."""
    counts = np.asarray(confusion, dtype=float)
    return 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
