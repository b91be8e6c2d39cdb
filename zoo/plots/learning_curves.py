"""Loss and accuracy over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoo.plots.literal import literal

# Colors of Okabe and Ito, which the color-blind can tell apart, and a line style each for print.
STYLES: dict[str, dict[str, Any]] = {
    "train": {"color": "#0072B2", "linestyle": "--"},
    "val": {"color": "#D55E00", "linestyle": "-"},
}


def draw(history: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw train and val curves of loss and accuracy from the columns of a run's `metrics.csv`."""
    figure = Figure(figsize=(8, 3.2))
    # A constrained layout would draw everything twice.
    figure.subplots_adjust(left=0.08, right=0.99, bottom=0.15, top=0.9, wspace=0.22)
    figure.suptitle(literal(title), fontsize=10)
    for position, (name, label) in enumerate((("loss", "cross-entropy"), ("acc", "accuracy")), start=1):
        axes = figure.add_subplot(1, 2, position)
        for stage, style in STYLES.items():
            if f"{stage}/{name}" in history:
                marker = "o" if len(history["epoch"]) <= 30 else ""
                axes.plot(
                    history["epoch"], history[f"{stage}/{name}"], label=stage, marker=marker, markersize=3, **style
                )
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    return figure
