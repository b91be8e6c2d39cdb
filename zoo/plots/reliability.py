"""Reliability diagrams: the accuracy of a network by its confidence."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito, which the color-blind can tell apart.
RIGHT, WRONG, PALE = "#0072B2", "#D55E00", "#B8D4E6"
FEW = 10  # predictions: the accuracy of a smaller bin says little
SIZE = (3.9, 3.5)  # inches of a diagram
# The counts, the mean confidence and the accuracy of each bin, three arrays of one length.
Bins = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(diagrams: Mapping[str, Bins]) -> Figure:
    """Draw diagrams side by side, by their titles: the accuracy of each bin is a bar, its mean confidence a line."""
    figure = Figure(figsize=(SIZE[0] * len(diagrams), SIZE[1]), layout="constrained")
    axes = figure.subplots(1, len(diagrams), sharey=True, squeeze=False)[0]
    for one, (title, bins) in zip(axes, diagrams.items(), strict=True):
        one.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="confidence = accuracy")
        _bars(one, *bins)
        one.set_title(title, fontsize=10)
        one.set_xlim(0, 1)
        one.set_ylim(0, 1)
        one.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])
        one.set_xlabel("confidence")
        _plain(one)
    axes[0].set_ylabel("accuracy")
    axes[0].legend(frameon=False, loc="upper left", fontsize=8)
    return figure


def _bars(axes: Axes, counts: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray) -> None:
    width = 1 / len(counts)
    left = np.arange(len(counts)) * width
    filled, many = counts > 0, counts >= FEW
    few = filled & ~many
    axes.bar(left[many], accuracy[many], width, align="edge", color=RIGHT, edgecolor="white", label="accuracy")
    axes.bar(left[few], accuracy[few], width, align="edge", color=PALE, edgecolor="white")
    ends = left[filled], left[filled] + width
    axes.hlines(confidence[filled], *ends, color=WRONG, linewidth=2.5, label="mean confidence")


def draw_confidences(confidences: np.ndarray, correct: np.ndarray, bins: int) -> Figure:
    """Draw histograms of the confidences, float (n,), of correct and of wrong predictions, as shares of all n.

    `correct` is bool (n,), and `bins` the number of bins of equal width from 0 to 1.
    """
    figure = Figure(figsize=(6.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    edges = np.linspace(0, 1, bins + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    for which, color, hatch, label in ((correct, RIGHT, "", "correct"), (~correct, WRONG, "////", "wrong")):
        shares = 100 * np.histogram(confidences[which], edges)[0] / len(confidences)
        width, side = 0.42 / bins, -0.5 if label == "correct" else 0.5
        bars = axes.bar(centres + side * width, shares, width, color=color, edgecolor="white", hatch=hatch)
        bars.set_label(f"{label} predictions")
    axes.set_xlim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("% of all predictions")
    figure.legend(frameon=False, loc="outside upper left", ncols=2, fontsize=8)
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
