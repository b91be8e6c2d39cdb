"""The confusion matrix as a heat map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def draw(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix; colours and numbers are percentages of each true class.

    Args:
        confusion: counts, k x k, truth by prediction.
        class_names: k names.
        title: stands above; name the data.
    """
    counts = np.asarray(confusion, dtype=float)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
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
                colour = "white" if percent[row, column] > 55 else "black"
                text = f"{percent[row, column]:.0f}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.spines[:].set_visible(False)
    figure.text(0.99, 0.01, "% of the true class", ha="right", va="bottom", fontsize=8, color="0.4")
    return figure
