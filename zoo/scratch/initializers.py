"""Initializers: the weights before the first step.

If all weights started equal, all units of a layer would compute the same and learn the same for ever. So they start at
random; the question is how large. A unit adds up D products,

    z = x_1 w_1 + ... + x_D w_D

Square it: the products x_i w_i x_j w_j of two different weights are 0 on average, as the weights are independent and of
mean 0. What stays is x_i^2 w_i^2, D times: the average of z^2 is D * mean(x^2) * var(w), where var(w), the variance, is
the average of w^2. Where var(w) is far from 1 / D, the signal shrinks or grows from layer to layer; on the way back,
the gradient does so where it is far from 1 / H.

Each function draws the weights of one layer of D inputs and H units. Biases start at 0: random weights already tell
the units apart.

After this file you can choose the size of the first weights. Next: how does a layer use them, and learn?

Letters: D inputs, H units of a layer.
"""

from collections.abc import Callable

import numpy as np

Initializer = Callable[[np.random.Generator, int, int], np.ndarray]  # a function (rng, D, H) that returns W


def small_normal(rng: np.random.Generator, num_inputs: int, num_outputs: int) -> np.ndarray:
    """Draw from a normal distribution of standard deviation 0.01, whatever the layer's size.

    It suits a single layer. In deep networks the signal dies out: var(w) = 0.0001 is 1 / D for D = 10,000 only.

    Args:
        rng: source of the random numbers.
        num_inputs: D.
        num_outputs: H.

    Returns:
        float64, shape (D, H).
    """
    return 0.01 * rng.standard_normal((num_inputs, num_outputs))


def glorot(rng: np.random.Generator, num_inputs: int, num_outputs: int) -> np.ndarray:
    """Draw from a uniform distribution of variance 2 / (D + H), for tanh.

    Near 0 a tanh has the slope 1, so that the signal keeps its size forward where var(w) = 1 / D. On the way back,
    each input's gradient is a sum over the H units (`Dense.input_gradient`, next file), which asks for 1 / H. This is
    the compromise. A uniform distribution on -limit..limit has variance limit^2 / 3, hence limit = sqrt(6 / (D + H)).
    For sigmoid, of slope 1/4 at most, it is much used too, but the signal fades: to a quarter or less at each layer.

    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.

    Args and return value are those of `small_normal`.
    """
    limit = np.sqrt(6 / (num_inputs + num_outputs))
    return rng.uniform(-limit, limit, (num_inputs, num_outputs))


def he(rng: np.random.Generator, num_inputs: int, num_outputs: int) -> np.ndarray:
    """Draw from a normal distribution of variance 2 / D, for ReLU.

    A ReLU cuts off the negative half of z, and with it half of the mean square. The 2 makes up for it.

    He et al. 2015, "Delving Deep into Rectifiers" (https://arxiv.org/abs/1502.01852), equation 10.

    Args and return value are those of `small_normal`.
    """
    return np.sqrt(2 / num_inputs) * rng.standard_normal((num_inputs, num_outputs))
