"""Accuracy over the severity of corruptions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoo.plots.run_curves import COLORS

MARKERS = "osD^vPX"
COLUMNS = 2  # of diagrams


def draw(groups: Mapping[str, Mapping[str, Sequence[float]]], clean: float, metric: str) -> Figure:
    """Draw the accuracies on corrupted images, a diagram for each group of corruptions.

    Args:
        groups: the accuracies at severity 1, 2 and so on, by group and corruption; at most seven in a group.
        clean: the accuracy without corruption, severity 0.
        metric: the name of the accuracies.
    """
    rows = -(-len(groups) // COLUMNS)
    figure = Figure(figsize=(8, 2.9 * rows + 0.1), layout="constrained")
    diagrams = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (group, accuracies) in zip(diagrams, groups.items(), strict=False):
        for (name, shares), color, marker in zip(accuracies.items(), COLORS, MARKERS, strict=False):
            values = 100 * np.array([clean, *shares])
            axes.plot(range(len(values)), values, color=color, marker=marker, markersize=4, label=name)
        axes.set_title(group, fontsize=10)
        axes.set_ylim(0, 100)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="best")
        axes.tick_params(labelbottom=True)
    for axes in diagrams[len(groups) :]:
        axes.set_visible(False)
    figure.supxlabel("severity (0: the image as it is)", fontsize=10)
    figure.supylabel(f"{metric}, %", fontsize=10)
    return figure
