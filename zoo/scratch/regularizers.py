"""Regularizers: a price on large weights.

A network that is free to use any weights can learn its training images by heart. A regularizer adds a price for their
size to the loss, so that a weight grows only where that pays for many images. Biases go free: they do not look at the
image.

One weight is written w; the price of a layer is the sum over its weights.

After this file you can put a price on weights. Next: how do several layers pass gradients on?

Letters: D inputs, H units of a layer.
"""

from abc import ABC, abstractmethod

import numpy as np


class Regularizer(ABC):
    """A price on the weights of a layer.

    Args:
        strength: how high it is, at least 0.

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
        """Return the price of `weights`, shape (D, H): what is added to the loss."""

    @abstractmethod
    def add_gradient(self, weights: np.ndarray, gradient: np.ndarray) -> None:
        """Add the derivative of the price to `gradient`, in place; both of shape (D, H)."""


class L2(Regularizer):
    """strength / 2 * w^2: large weights cost most, and are all pulled towards 0 in proportion to their size.

    Args:
        strength: at least 0; 1e-4 to 1e-3 are usual.
    """

    def value(self, weights: np.ndarray) -> float:
        return self.strength / 2 * float(np.sum(weights * weights))

    def add_gradient(self, weights: np.ndarray, gradient: np.ndarray) -> None:
        """The derivative of strength / 2 * w^2 is strength * w: the 1/2 is there for this."""
        gradient += self.strength * weights


class L1(Regularizer):
    """strength * |w|: every weight is pulled with the same force, and the useless ones end next to 0.

    Tibshirani 1996, "Regression Shrinkage and Selection via the Lasso".

    Args:
        strength: at least 0; 1e-5 to 1e-4 are usual.
    """

    def value(self, weights: np.ndarray) -> float:
        return self.strength * float(np.sum(np.abs(weights)))

    def add_gradient(self, weights: np.ndarray, gradient: np.ndarray) -> None:
        """The slope of |w| is 1 to the right of 0 and -1 to the left. At 0 it has none, and 0 is taken."""
        gradient += self.strength * np.sign(weights)
