"""Regularizers: a penalty on large weights.

A network that may use any weights can learn its training images by heart. A regularizer adds a penalty for the size of
the weights to the loss, so a weight grows only if that helps with many images. Biases get no penalty: they do not
multiply an input.

The formulas are for one weight w; the penalty of a layer is the sum over its weights.

After this chapter you can add a penalty to a loss. Next: which images make the gradient of a step?
"""

from abc import ABC, abstractmethod

import numpy as np


class Regularizer(ABC):
    """A penalty on weights. A new one is a subclass with `value` and `slope`.

    Args:
        strength: factor of the penalty, at least 0.

    Raises:
        ValueError: if `strength` is negative.
    """

    def __init__(self, strength: float) -> None:
        if strength < 0:
            raise ValueError(
                f"strength={strength} is negative: it would reward large weights; give a number of at least 0"
            )
        self.strength = strength

    @abstractmethod
    def value(self, weights: np.ndarray) -> float:
        """Return the penalty of weights of any shape: what is added to the loss."""

    @abstractmethod
    def slope(self, weights: np.ndarray) -> np.ndarray:
        """Return the slope of the penalty in the direction of each weight: what is added to the gradient."""


class L2(Regularizer):
    """strength / 2 * w^2: large weights cost most, and every weight is pulled towards 0 in proportion to its size.

    Args:
        strength: at least 0; 1e-4 to 1e-3 are usual.
    """

    def value(self, weights: np.ndarray) -> float:
        return self.strength / 2 * float(np.sum(weights * weights))

    def slope(self, weights: np.ndarray) -> np.ndarray:
        """The slope of strength / 2 * w^2 is strength * w, which is why the 1/2 is there."""
        return self.strength * weights


class L1(Regularizer):
    """strength * |w|: every weight is pulled with the same force, and useless weights end close to 0.

    Tibshirani 1996, "Regression Shrinkage and Selection via the Lasso".

    Args:
        strength: at least 0; 1e-5 to 1e-4 are usual.
    """

    def value(self, weights: np.ndarray) -> float:
        return self.strength * float(np.sum(np.abs(weights)))

    def slope(self, weights: np.ndarray) -> np.ndarray:
        """The slope of |w| is 1 to the right of 0, and -1 to the left. At 0 it has none, and 0 is the usual choice."""
        return self.strength * np.sign(weights)
