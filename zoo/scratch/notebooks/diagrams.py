"""Diagrams for the notebooks, drawn with Matplotlib."""

from collections.abc import Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from zoo.scratch.autograd import Value

GAP = 3.2  # between two layers; the neurons of a layer are 1 apart


def draw_network(layers: Sequence[Sequence[str]], weights: Sequence[np.ndarray]) -> None:
    """Draw a dense network as circles with lines between them.

    Args:
        layers: for each layer, from the inputs to the outputs, what to write into each circle.
        weights: for each gap between two layers, the weights to write at the lines, shape (D, H).
    """
    tallest = max(len(layer) for layer in layers)
    places = [
        [(GAP * column, (len(layer) - 1) / 2 - row) for row in range(len(layer))] for column, layer in enumerate(layers)
    ]
    plt.figure(figsize=(3.4 * len(layers) - 2, 1.35 * tallest))
    for (left, right), W in zip(pairwise(places), weights, strict=True):
        for i, j in np.ndindex(W.shape):
            start, end = np.array(left[i]), np.array(right[j])
            plt.plot(*zip(start, end, strict=True), color="silver", zorder=0)
            box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
            x, y = start + 0.23 * (end - start)
            plt.text(x, y, f"{W[i, j]:g}", ha="center", va="center", color="tab:blue", bbox=box)
    for layer, layer_places in zip(layers, places, strict=True):
        for text, (x, y) in zip(layer, layer_places, strict=True):
            plt.scatter(x, y, s=3000, color="whitesmoke", edgecolor="black")
            plt.text(x, y, text, ha="center", va="center", fontsize=9)
    plt.xlim(-0.6, GAP * (len(layers) - 1) + 0.6)
    plt.ylim(-tallest / 2, tallest / 2)
    plt.axis("off")
    plt.show()


def draw_tape(values: dict[str, Value]) -> None:
    """Draw how values were made from each other, as boxes with arrows between them.

    Args:
        values: by name, each after those that it was made from; values without a name are left out.
    """
    names = {id(value): name for name, value in values.items()}
    columns: dict[str, int] = {}
    for name, value in values.items():
        columns[name] = 1 + max((columns[source] for source in _named_sources(value, names)), default=-1)
    columns |= {name: _first_use(name, values, names, columns) - 1 for name in values if not values[name].sources}
    rows: dict[str, int] = {}
    for name, column in columns.items():
        rows[name] = sum(columns[other] == column for other in rows)
    places = {name: (2.0 * columns[name], -1.3 * rows[name]) for name in values}
    plt.figure(figsize=(1.9 * (max(columns.values()) + 1), 1.3 * (max(rows.values()) + 1)))
    for name, value in values.items():
        for source in _named_sources(value, names):
            arrow = {"arrowstyle": "->", "color": "gray", "shrinkA": 30, "shrinkB": 36}
            plt.annotate("", xy=places[name], xytext=places[source], arrowprops=arrow)
        box = {"boxstyle": "round,pad=0.5", "facecolor": "whitesmoke"}
        text = f"{name}\n{value.number:.4g}\nslope {value.slope:.4g}"
        plt.text(*places[name], text, ha="center", va="center", fontsize=9, bbox=box)
    plt.xlim(-0.8, 2 * max(columns.values()) + 0.8)
    plt.ylim(-1.3 * max(rows.values()) - 0.65, 0.65)
    plt.axis("off")
    plt.show()


def _named_sources(value: Value, names: dict[int, str]) -> list[str]:
    """Return the names of the values that a value was made from, also through values without a name."""
    found: list[str] = []
    for source, _ in value.sources:
        found += [names[id(source)]] if id(source) in names else _named_sources(source, names)
    return found


def _first_use(name: str, values: dict[str, Value], names: dict[int, str], columns: dict[str, int]) -> int:
    """Return the column of the first value that was made from one of this name."""
    uses = [columns[other] for other, value in values.items() if name in _named_sources(value, names)]
    return min(uses, default=columns[name] + 1)
