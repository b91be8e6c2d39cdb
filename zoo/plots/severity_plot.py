"""Accuracy over the severity of corruptions, and examples of corrupted images."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoo.plots.mosaic import LINE, Label, draw, enlarge
from zoo.plots.run_curves import COLOURS

MARKERS = "osD^vPX"
COLUMNS = 2  # of diagrams
FACTOR = 2  # pixels a side for each pixel of an image
SPACE = 8  # pixels between images
NAMES = 116  # pixels for the names of the corruptions


def draw_accuracies(groups: Mapping[str, Mapping[str, Sequence[float]]], clean: float, metric: str) -> Figure:
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
        for (name, shares), colour, marker in zip(accuracies.items(), COLOURS, MARKERS, strict=False):
            values = 100 * np.array([clean, *shares])
            axes.plot(range(len(values)), values, color=colour, marker=marker, markersize=4, label=name)
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


def draw_examples(image: np.ndarray, corrupted: Mapping[str, np.ndarray]) -> Figure:
    """Draw an image without corruption and at each severity, a row for each corruption.

    Args:
        image: uint8 (3, height, width).
        corrupted: the corrupted images by corruption, uint8 (severities, 3, height, width).
    """
    _, height, width = image.shape
    rows = {name: [image, *versions] for name, versions in corrupted.items()}
    columns = max(map(len, rows.values()))
    step_x, step_y, head = FACTOR * width + SPACE, FACTOR * height + SPACE, LINE + SPACE
    canvas = np.full((head + len(rows) * step_y, NAMES + columns * step_x, 3), 255, dtype=np.uint8)
    middle = FACTOR * width // 2
    labels = [
        Label(str(column) if column else "as it is", NAMES + column * step_x + middle, 0, centred=True)
        for column in range(columns)
    ]
    for row, (name, images) in enumerate(rows.items()):
        y = head + row * step_y
        labels.append(Label(name, 0, y + (FACTOR * height - LINE) // 2))
        for column, one in enumerate(images):
            x = NAMES + column * step_x
            canvas[y : y + FACTOR * height, x : x + FACTOR * width] = enlarge(one.transpose(1, 2, 0), FACTOR)
    return draw(canvas, labels)
