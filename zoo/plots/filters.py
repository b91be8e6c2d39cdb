"""The weights of a first layer as images, in color if those of the data are."""

from collections.abc import Sequence

import numpy as np

from zoo.plots import grid
from zoo.plots.mosaic import colors, fitted, short_names

UNITS = 64  # the most that are drawn
SIDE, ALONE = 96, 384  # pixels a side, about, of a unit, and of an only unit
WITHIN = 0.995  # the share of the weights within the scale: outliers would leave the rest gray


def draw(weights: np.ndarray, title: str, names: Sequence[str] = ()) -> np.ndarray:
    """Draw weights, float (units, channels, height, width), on one scale for all units, above their norms.

    `names` are those of the units, if they have any.
    """
    units, shown = len(weights), weights[:UNITS].astype(np.float64)  # squares of float32 can overflow
    largest = float(np.quantile(np.abs(shown), WITHIN)) or 1.0
    shades = np.clip(127.5 * (1 + shown / largest), 0, 255).round().astype(np.uint8)
    side, names = SIDE if units > 1 else ALONE, short_names(names)
    cells = [
        grid.Cell(fitted(colors(pixels), side), (*names[unit : unit + 1], f"norm {np.linalg.norm(shown[unit]):#.3g}"))
        for unit, pixels in enumerate(shades)
    ]
    most, least = ("Full red, green or blue", "none of it") if weights.shape[1] == 3 else ("White", "black")
    scale = f"Grey is 0. {most} is {largest:.2g} or more, {least} -{largest:.2g} or less."
    which = f" The first {len(shown)} of {units} units." if units > len(shown) else ""
    return grid.draw(cells, title, scale + which)
