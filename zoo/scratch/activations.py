"""Activations: the bend in a neuron, also called its nonlinearity.

A neuron first weighs its inputs, z = x w + b, and then bends the result, a = f(z). Without the bend a stack of layers
would be no more than one layer: weighing twice, (x v) w, is weighing once with other weights, x (v w). The bends make
the stack able to draw curved borders between the classes.

To learn, a network needs the slope f'(z) of each bend. All slopes here can be written with the output a alone, so
that nobody has to keep z once a is known: `derivative` takes a.

After this file you can write a bend, its slope, and softmax. Next: which weights come before the bend?

The element-wise activations come first, from the simplest on. Softmax is last: it looks at all classes at once, so
its derivative is a matrix.

Letters: N images, H units of a layer, K classes. Arrays may be float32 or float64; results are of the same type.
"""

from abc import ABC, abstractmethod

import numpy as np


class Activation(ABC):
    """A function a = f(z) that is applied to each element on its own."""

    @abstractmethod
    def forward(self, z: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return a = f(z).

        Args:
            z: any shape.
            out: where to write a, as in NumPy's own functions; it may be `z` itself. A new array by default.
        """

    @abstractmethod
    def derivative(self, a: np.ndarray) -> np.ndarray:
        """Return f'(z), of the shape of `a`.

        Args:
            a: what `forward` returned for z.
        """


class Identity(Activation):
    """a = z: no bend. For the last layer, whose z are the logits that a loss takes."""

    def forward(self, z: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.positive(z, out=out)  # +z, as a copy or into `out`

    def derivative(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = 1: a straight line of slope 1."""
        return np.ones_like(a)


class ReLU(Activation):
    """a = max(0, z), the rectified linear unit: negative values are cut off.

    Nair and Hinton 2010, "Rectified Linear Units Improve Restricted Boltzmann Machines".
    """

    def forward(self, z: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.maximum(z, 0, out=out)

    def derivative(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = 1 where z > 0, and 0 where z < 0.

        a is positive exactly where z is. At z = 0 the curve has a corner and no slope; 0 is the usual choice.
        """
        return (a > 0).astype(a.dtype)  # True and False as 1 and 0


class Sigmoid(Activation):
    """a = 1 / (1 + exp(-z)): squeezes any number into 0..1, so that it can be read as a probability.

    Written like this, exp(-z) is too large for float32 from z = -89 downwards (overflow). Both sides of the fraction
    times exp(z) give the equal exp(z) / (exp(z) + 1), which fails for large positive z instead. So each half of the
    axis takes the formula whose exponent is never positive:

        z >= 0:        1 / (1 + exp(-z))
        z <  0:   exp(z) / (1 + exp( z))

    In one line for both: exp(min(z, 0)) / (1 + exp(-|z|)).
    """

    def forward(self, z: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.divide(np.exp(np.minimum(z, 0)), 1 + np.exp(-np.abs(z)), out=out)

    def derivative(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = a (1 - a).

        By the chain rule for 1 / u with u = 1 + exp(-z):

            da/dz = -1 / u^2 * du/dz = exp(-z) / u^2 = (1 / u) * (exp(-z) / u) = a (1 - a)

        as exp(-z) / u = (u - 1) / u = 1 - a. The slope is at most 1/4, and next to 0 where a is near 0 or 1.
        """
        return a * (1 - a)


class Tanh(Activation):
    """a = tanh(z) = (exp(z) - exp(-z)) / (exp(z) + exp(-z)): a sigmoid that runs from -1 to 1.

    It is 2 sigmoid(2 z) - 1. Its outputs lie on both sides of 0, as a next layer learns best from (LeCun et al. 1998,
    "Efficient BackProp").
    """

    def forward(self, z: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.tanh(z, out=out)

    def derivative(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = 1 - a^2.

        By the quotient rule, with s = exp(z) - exp(-z) and c = exp(z) + exp(-z), whose derivatives are each other:

            d(s / c)/dz = (c * c - s * s) / c^2 = 1 - (s / c)^2
        """
        return 1 - a * a


class Softmax:
    """a_k = exp(z_k) / (exp(z_1) + ... + exp(z_K)): turns the K logits of an image into K probabilities of sum 1.

    With two classes it is the sigmoid of the difference: a_1 = 1 / (1 + exp(z_2 - z_1)). It is no `Activation`, because
    each a_k depends on all logits of its image.

    The same number m can be taken off all logits of an image: exp(z_k - m) = exp(z_k) / exp(m), and exp(m) cancels.
    With the largest logit as m, no exponent is positive and nothing overflows.
    """

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Return the probabilities.

        Args:
            z: logits, shape (N, K).

        Returns:
            Shape (N, K), each row of sum 1.
        """
        powers = np.exp(z - z.max(axis=1, keepdims=True))  # (N, K), each 0..1
        return powers / powers.sum(axis=1, keepdims=True)

    def jacobian(self, a: np.ndarray) -> np.ndarray:
        """Return the derivatives of every probability with respect to every logit.

        With S = exp(z_1) + ... + exp(z_K) the quotient rule gives, for the logit of the same class and of another,

            da_k/dz_k = (exp(z_k) S - exp(z_k) exp(z_k)) / S^2 = a_k - a_k a_k
            da_k/dz_j = (        0  - exp(z_k) exp(z_j)) / S^2 =     - a_k a_j

        In one line, da_k/dz_j = a_k [k = j] - a_k a_j, where [k = j] is 1 or 0: a symmetric matrix J for each image. A
        network never needs it, so this method may be skipped at first: with the cross-entropy behind it, the product
        of J and the loss's gradient is just a - y (see `losses.py`).

        Args:
            a: what `forward` returned, shape (N, K).

        Returns:
            da_k/dz_j at [n, k, j], shape (N, K, K).
        """
        a_k = a[:, :, None]  # (N, K, 1)
        a_j = a[:, None, :]  # (N, 1, K)
        return a_k * np.eye(a.shape[1], dtype=a.dtype) - a_k * a_j  # eye: 1 at [k, k], else 0; (N, K, K)
