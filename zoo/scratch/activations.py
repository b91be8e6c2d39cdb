"""Activations: the function between two layers.

Two dense layers in a row can do no more than one. Multiplying by w_1 and then by w_2 is multiplying by w_1 w_2, and the
same is true of matrices: (x W_1) W_2 = x (W_1 W_2). So a nonlinear function is put between them, element by element.
This activation is what lets a network draw curved borders between the classes.

For the backward pass, a layer needs the slope of its activation at each z. All activations here have a slope that can
be written with the output a alone, so z need not be kept. By the chain rule, dL/dz = dL/da * f'(z).

After this chapter you can write an activation and its slope. Next: layers in a row.

Letters: z the inputs of an activation, a = f(z) its outputs; both of any shape.
"""

from abc import abstractmethod

import numpy as np

from zoo.scratch.layers import Layer
from zoo.scratch.neuron import sigmoid


class Activation(Layer):
    """A function a = f(z) of each element. A new activation is a subclass with `function` and `slope`."""

    @abstractmethod
    def function(self, z: np.ndarray) -> np.ndarray:
        """Return a = f(z), of the shape and dtype of z."""

    @abstractmethod
    def slope(self, a: np.ndarray) -> np.ndarray:
        """Return f'(z), of the shape of a, where a = f(z)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.a = self.function(x)
        return self.a

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Return dL/dz = dL/da * f'(z): each z acts on L through its own a alone."""
        return gradient * self.slope(self.a)


class ReLU(Activation):
    """a = max(0, z), the rectified linear unit: negative values become 0.

    Nair and Hinton 2010, "Rectified Linear Units Improve Restricted Boltzmann Machines".
    """

    def function(self, z: np.ndarray) -> np.ndarray:
        return np.maximum(z, 0)

    def slope(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = 1 if z > 0, and 0 if z < 0.

        a is positive exactly where z is. At z = 0 the function has a corner and no slope; 0 is the usual choice.
        """
        return (a > 0).astype(a.dtype)  # True and False as 1 and 0


class Sigmoid(Activation):
    """a = 1 / (1 + exp(-z)): between 0 and 1. `neuron.sigmoid` shows how to compute it without overflow."""

    def function(self, z: np.ndarray) -> np.ndarray:
        return sigmoid(z)

    def slope(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = a (1 - a).

        With bottom = 1 + exp(-z), a = 1 / bottom. The slope of 1 / bottom is -1 / bottom^2, and that of bottom is
        -exp(-z), so

            da/dz = exp(-z) / bottom^2 = (1 / bottom) * (exp(-z) / bottom) = a (1 - a)

        because exp(-z) / bottom = (bottom - 1) / bottom = 1 - a. The slope is at most 1/4, and close to 0 where a is
        close to 0 or 1.
        """
        return a * (1 - a)


class Tanh(Activation):
    """a = (exp(z) - exp(-z)) / (exp(z) + exp(-z)): a sigmoid that runs from -1 to 1, tanh(z) = 2 sigmoid(2 z) - 1.

    Its outputs lie on both sides of 0, which helps the next layer to learn (LeCun et al. 1998, "Efficient BackProp").
    """

    def function(self, z: np.ndarray) -> np.ndarray:
        return np.tanh(z)

    def slope(self, a: np.ndarray) -> np.ndarray:
        """f'(z) = 1 - a^2.

        With top = exp(z) - exp(-z) and bottom = exp(z) + exp(-z), each is the slope of the other. By the quotient rule,

            d(top / bottom)/dz = (bottom * bottom - top * top) / bottom^2 = 1 - (top / bottom)^2
        """
        return 1 - a * a
