"""The weights of a first layer as colour images."""

from collections.abc import Sequence

import numpy as np

from zoo.plots import grid
from zoo.plots.mosaic import enlarge

UNITS = 64  # the most that are drawn
SIDE, ALONE = 96, 384  # pixels a side, about, of a unit, and of an only unit
WITHIN = 0.995  # the share of the weights within the scale: outliers would leave the rest grey


def draw(weights: np.ndarray, title: str, names: Sequence[str] = ()) -> np.ndarray:
    """Draw weights, float (units, 3, height, width), on one scale for all units, above their norms.

    `names` are those of the units, if they have any.
    """
    units, shown = len(weights), weights[:UNITS].astype(np.float64)  # squares of float32 can overflow
    largest = float(np.quantile(np.abs(shown), WITHIN)) or 1.0
    colours = np.clip(127.5 * (1 + shown / largest), 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    factor = max(1, (SIDE if units > 1 else ALONE) // max(shown.shape[2:]))
    cells = [
        grid.Cell(enlarge(pixels, factor), (*names[unit : unit + 1], f"norm {np.linalg.norm(shown[unit]):#.3g}"))
        for unit, pixels in enumerate(colours)
    ]
    scale = f"Grey is 0. Full red, green or blue is {largest:.2g} or more, none of it -{largest:.2g} or less."
    which = f" The first {len(shown)} of {units} units." if units > len(shown) else ""
    return grid.draw(cells, title, scale + which)
