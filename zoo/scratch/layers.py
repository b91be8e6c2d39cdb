"""Layers: many neurons side by side, forward and backward.

One neuron with D inputs adds up D products, z = x_1 w_1 + ... + x_D w_D + b. H neurons that look at the same inputs
make H such sums, and N images make N rows of them:

    z_nj = x_n1 w_1j + x_n2 w_2j + ... + x_nD w_Dj + b_j        image n, neuron j

## The matrix product

A sum of products over an index that both factors share is a matrix product, `x @ W`. In numbers, with 2 images of 3
inputs each, and 2 neurons:

        x                W               x @ W

    [ 1  2  3 ]      [ 1  0 ]      [ 1*1 + 2*0 + 3*1    1*0 + 2*1 + 3*1 ]     [  4   5 ]
    [ 4  5  6 ]  @   [ 0  1 ]   =  [ 4*1 + 5*0 + 6*1    4*0 + 5*1 + 6*1 ]  =  [ 10  11 ]
                     [ 1  1 ]

A row of x meets a column of W. The rule for shapes: the last axis of the left factor meets the first axis of the right
one, both must be equally long, and they disappear. What stays is (2, 3) @ (3, 2) = (2, 2), in general

    z = x @ W + b        shapes (N, H) = (N, D) @ (D, H) + (H,)

The transpose, `x.T`, exchanges rows and columns: it has shape (D, N). `Dense.backward` sums over the N images and over
the H neurons. The axis that is summed over must be the inner one, and a transpose puts it there.

## What every layer does

`forward` maps a batch, the inputs of N images, to outputs. `backward` gets the slope of the loss in the direction of
each output. With the chain rule, it finds the slope for each parameter, which the optimizer uses, and the slope for
each input, which the previous layer needs. A layer does not need to know about any other layer.

After this chapter you can derive all gradients of a layer. Next: the function between two layers.

Letters: N images, D inputs, H units of a layer; L is the loss, one number. dL/dz is an array of the shape of z: each
element is the slope of L in the direction of that element of z.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import prod

import numpy as np
from numpy.typing import DTypeLike

Shape = tuple[int, ...]
Initializer = Callable[[np.random.Generator, int, int], np.ndarray]  # a function (rng, D, H) that returns W


class Layer(ABC):
    """A part of a network. A new kind of layer is a subclass with `forward` and `backward`, and with
    `output_shape` if it changes the shape.

    Attributes:
        parameters: what the layer learns, by name: "weight", "bias". Empty for most layers. An optimizer holds the same
            arrays: give them new values in place, `layer.parameters["bias"][:] = 0`.
        gradients: dL/dp of the last `backward` for each parameter p, by the same names.
        state: what else belongs to a trained layer, by name, such as the averages of batch normalization; made in
            `__init__`.
        training: whether the layer is in training. Dropout and batch normalization behave differently then.
    """

    training = True

    def __init__(self) -> None:
        self.parameters: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        self.state: dict[str, np.ndarray] = {}

    @abstractmethod
    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs for a batch of inputs, whose first axis counts the N images.

        A layer keeps what `backward` will need. The inputs must not change until then.
        """

    @abstractmethod
    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Set `gradients`, and return dL/dx.

        Args:
            gradient: the slope of L in the direction of each output of the last `forward`.

        Returns:
            The slope of L in the direction of each input, of the shape of the inputs.
        """

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the outputs for one image, given that of its inputs. Most layers keep it."""
        return input_shape


class Dense(Layer):
    """A layer in which every neuron sees every input: z = x W + b. Also called fully connected, or linear.

    Args:
        num_inputs: D, the number of inputs per image.
        num_outputs: H, the number of outputs per image.
        initializer: draws W at random, see chapter `initializers`; b starts at 0.
        rng: source of the random numbers.
        dtype: float32 to train, float64 to check gradients.

    Attributes:
        parameters: "weight" is W, shape (D, H); "bias" is b, shape (H,).
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        initializer: Initializer,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.parameters["weight"] = initializer(rng, num_inputs, num_outputs).astype(dtype)  # (D, H)
        self.parameters["bias"] = np.zeros(num_outputs, dtype)  # (H,)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return z = x W + b.

        Args:
            x: shape (N, D).

        Returns:
            Shape (N, H).
        """
        self.x = x
        return x @ self.parameters["weight"] + self.parameters["bias"]  # (N, D) @ (D, H) + (H,) = (N, H)

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Set dL/dW and dL/db, and return dL/dx.

        One image, one input, one neuron: z = x w + b, and L depends on w, b and x through z alone. The chain rule gives

            dL/dw = dL/dz * dz/dw = dL/dz * x
            dL/db = dL/dz * dz/db = dL/dz * 1
            dL/dx = dL/dz * dz/dx = dL/dz * w

        Many inputs and neurons: w_ij leads from input i to neuron j and nowhere else, so dL/dw_ij = x_i dL/dz_j. But
        input i acts on L through every neuron. Where a number acts along several paths, the slopes of the paths add
        up, as each path adds its own small change to L:

            dL/dx_i = sum over j of  dL/dz_j w_ij

        In numbers, with slopes dL/dz = (2, -1) and the weights above: input 3 has the weights (1, 1), so a change of
        0.001 changes z_1 and z_2 by 0.001 each, and L by 0.002 - 0.001 = 0.001. Its slope is 2 * 1 - 1 * 1 = 1.

        Many images: w_ij acts on L through each of them, so the slopes add up once more:

            dL/dw_ij = sum over n of  x_ni dL/dz_nj             x^T @ dL/dz
            dL/db_j  = sum over n of  dL/dz_nj
            dL/dx_ni = sum over j of  dL/dz_nj w_ij             dL/dz @ W^T

        The first sum runs over n, so n has to be the inner axis: x^T is (D, N), dL/dz is (N, H), and the product has
        the shape of W. The last sum runs over j: dL/dz is (N, H), W^T is (H, D), and the product has the shape of x.

        L is the mean over the batch, but nothing is divided by N here: the loss has done that already.

        Args:
            gradient: dL/dz, shape (N, H).

        Returns:
            dL/dx, shape (N, D).
        """
        self.gradients["weight"] = self.x.T @ gradient  # (D, N) @ (N, H) = (D, H)
        self.gradients["bias"] = gradient.sum(axis=0)  # (H,)
        return gradient @ self.parameters["weight"].T  # (N, H) @ (H, D) = (N, D)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.parameters["bias"].size,)


class Flatten(Layer):
    """Turns each image, of any shape, into a row of numbers, as a dense layer takes them."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        return x.reshape(len(x), -1)  # -1: as many columns as there are numbers

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Return the same numbers in the shape of the images: nothing was computed, so every slope stays."""
        return gradient.reshape(self.shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (prod(input_shape),)
