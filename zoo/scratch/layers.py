"""Layers: many neurons side by side.

One neuron with one input computes a = f(x w + b). With D inputs, it adds up D products. H neurons that look at the
same inputs are H such sums, and N images make N rows of them:

    z_nj = x_n1 w_1j + ... + x_nD w_Dj + b_j        a_nj = f(z_nj)        image n, neuron j

A sum of products over an index that both share, here from 1 to D, is a matrix product (in Python: `@`). It does all
images and all neurons at once:

    z = x @ W + b        shapes (N, H) = (N, D) @ (D, H) + (H,)

In the code, `np.matmul(x, W, out=z)` is x @ W written into an array z that is there already. The arrays of a batch have
the same shapes at every step, and fetching new memory for them each time would take longer than some of the products.

After this file you can derive all gradients of a layer from dL/da. Next: where does the first dL/da come from?

Letters: N images, D inputs, H units; L is the loss, one number. dL/dz is an array of the shape of z: each element says
how fast L grows with that element of z.
"""

import numpy as np
from numpy.typing import DTypeLike

from zoo.scratch.activations import Activation
from zoo.scratch.initializers import Initializer


class Dense:
    """A layer in which every unit sees every input: a = f(x W + b).

    Args:
        num_inputs: D, the numbers that go in for each image.
        num_outputs: H, the numbers that come out.
        activation: f.
        initializer: draws W; b starts at 0.
        rng: source of the random numbers for W.
        dtype: float32 to train, float64 to check derivatives.

    Attributes:
        weights: W, shape (D, H).
        bias: b, shape (H,).
        weights_gradient: dL/dW of the last `backward`, shape (D, H).
        bias_gradient: dL/db of the last `backward`, shape (H,).
        inputs: x of the last `forward`, shape (N, D): the caller's array, to be left alone until `backward` is done.
        outputs: a of the last `forward`, shape (N, H).
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        activation: Activation,
        initializer: Initializer,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.activation = activation
        self.weights = initializer(rng, num_inputs, num_outputs).astype(dtype)  # (D, H)
        self.bias = np.zeros(num_outputs, dtype)  # (H,)
        self.weights_gradient = np.zeros_like(self.weights)
        self.bias_gradient = np.zeros_like(self.bias)
        self.inputs = np.empty((0, num_inputs), dtype)
        self.outputs = np.empty((0, num_outputs), dtype)
        # Memory for z and a, for delta and for dL/dx: see _Rows, below.
        self._output_rows = _Rows(num_outputs, dtype)
        self._delta_rows = _Rows(num_outputs, dtype)
        self._input_gradient_rows = _Rows(num_inputs, dtype)

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """Return a = f(x W + b).

        Args:
            inputs: x, of the layer's dtype, shape (N, D).

        Returns:
            Shape (N, H). The memory is used again: the values are valid until the next `forward`.

        Raises:
            ValueError: if `inputs` has another shape or dtype.
        """
        if inputs.ndim != 2 or inputs.shape[1] != len(self.weights) or inputs.dtype != self.weights.dtype:
            raise ValueError(
                f"inputs are {inputs.dtype} of shape {inputs.shape}, expected {self.weights.dtype} of shape "
                f"(N, {len(self.weights)})"
            )
        self.inputs = inputs
        z = np.matmul(inputs, self.weights, out=self._output_rows.first(len(inputs)))  # (N, D) @ (D, H) = (N, H)
        z += self.bias
        self.outputs = self.activation.forward(z, out=z)  # a takes the place of z
        return self.outputs

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Write dL/dW and dL/db into `weights_gradient` and `bias_gradient`, and return dL/dz.

        One image, one input, one unit: z = x w + b and a = f(z). L depends on w through z alone, and on z through a
        alone, so the chain rule gives

            dL/dz = dL/da * f'(z)        called delta
            dL/dw = dL/dz * dz/dw = delta * x
            dL/db = dL/dz * dz/db = delta * 1

        Many inputs and units: w_ij leads from input i to unit j and meets no other, so dL/dw_ij = x_i delta_j.

        Many images: L depends on w_ij through each of them, and slopes along several paths add up:

            dL/dw_ij = sum over n of x_ni delta_nj        a matrix product: x^T delta
            dL/db_j  = sum over n of delta_nj

        L is a mean, but nothing is divided by N here: dL/da comes from the loss with the 1 / N in it.

        Args:
            gradient: dL/da, shape (N, H).

        Returns:
            dL/dz, shape (N, H), valid until the next `backward`.

        Raises:
            ValueError: if `gradient` has not the shape of the last outputs.
        """
        if gradient.shape != self.outputs.shape:
            raise ValueError(f"the gradient has shape {gradient.shape}, but the last outputs {self.outputs.shape}")
        slope = self.activation.derivative(self.outputs)  # (N, H)
        delta = np.multiply(gradient, slope, out=self._delta_rows.first(len(gradient)))  # (N, H)
        np.matmul(self.inputs.T, delta, out=self.weights_gradient)  # (D, N) @ (N, H) = (D, H)
        np.sum(delta, axis=0, out=self.bias_gradient)  # (H,)
        return delta

    def input_gradient(self, delta: np.ndarray) -> np.ndarray:
        """Return dL/dx, which the layer before takes as its dL/da.

        One input, one unit: dL/dx = dL/dz * dz/dx = delta * w. Many units: x_i acts on L through all of them, and the
        slopes along several paths add up:

            dL/dx_i = sum over j of delta_j w_ij        a matrix product: delta W^T

        Args:
            delta: dL/dz, what `backward` returned, shape (N, H).

        Returns:
            Shape (N, D), valid until the next call.
        """
        gradient = self._input_gradient_rows.first(len(delta))
        return np.matmul(delta, self.weights.T, out=gradient)  # (N, H) @ (H, D) = (N, D)


class _Rows:
    """Memory for one row per image, fetched once: a smaller batch gets the first rows of the largest so far."""

    def __init__(self, width: int, dtype: DTypeLike) -> None:
        self._array = np.empty((0, width), dtype)

    def first(self, n: int) -> np.ndarray:
        if n > len(self._array):
            self._array = np.empty((n, self._array.shape[1]), self._array.dtype)
        return self._array[:n]
