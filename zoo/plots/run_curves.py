"""A metric over the epochs, of several experiments with several seeds each."""

from collections.abc import Sequence
from itertools import product
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoo.plots.literal import literal

# Colors of Okabe and Ito, which the color-blind can tell apart, without the yellow, which is too pale on white. The
# line style changes when all colors are used.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
STYLES: list[dict[str, Any]] = [{"color": color, "linestyle": line} for line, color in product(LINES, COLORS)]


class Curve(NamedTuple):
    """An experiment's curve."""

    label: str
    epochs: Sequence[int]  # from 1
    values: Sequence[Sequence[float]]  # the metric of each seed at each epoch


def draw(curves: Sequence[Curve], metric: str, title: str) -> Figure:
    """Draw the mean over the seeds of each of at most `len(STYLES)` curves, and their range as a band."""
    # Matplotlib leaves labels that begin with an underscore out of the legend.
    labels = [literal(fill(curve.label, 48)) for curve in curves]
    labels = [f"\u200b{label}" if label.startswith("_") else label for label in labels]
    lines = [line for label in labels for line in label.splitlines()]
    # The size in inches leaves room for the legend beside the axes.
    size = (6.5 + 0.065 * max(map(len, lines)), max(4.0, 0.5 + 0.17 * len(lines)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    for curve, label, style in zip(curves, labels, STYLES, strict=False):
        values = np.asarray(curve.values, dtype=float)
        marker = "o" if len(curve.epochs) <= 30 else ""
        axes.plot(curve.epochs, values.mean(axis=0), label=label, marker=marker, markersize=3, **style)
        if len(values) > 1:
            lowest, highest = values.min(axis=0), values.max(axis=0)
            axes.fill_between(curve.epochs, lowest, highest, color=style["color"], alpha=0.15, linewidth=0)
    axes.set_title(literal(title), fontsize=10)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, handlelength=3.5)
    return figure
