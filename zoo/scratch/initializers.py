"""Initializers: the weights before the first step.

If all weights started equal, all neurons of a layer would compute the same and learn the same forever. So they start
at random. Biases may start at 0, because random weights already make the neurons differ. How large should the weights
be?

A neuron adds up D products,

    z = x_1 w_1 + ... + x_D w_D

Its size is measured by its mean square: the mean of z^2 over many draws of the weights. Multiplying z by itself gives
products of two terms. Two different weights are drawn independently and have mean 0, so the mean of x_i w_i x_j w_j is
0. The D squares remain:

    mean of z^2 = D * (mean of x^2) * (mean of w^2)

The variance var(w) of numbers is the mean of their squared distances from their mean, and the standard deviation is its
square root. The numbers -3 and 3 have mean 0, variance 9 and standard deviation 3. As the mean of the weights is 0, the
mean of w^2 is var(w).

Two coins show why the mixed products vanish. Let each coin show -1 or 1. Their sum is -2, 0, 0 or 2 with equal
probability, so its mean square is (4 + 0 + 0 + 4) / 4 = 2, which is 1 + 1: the product of the two coins is 1 as often
as -1.

If D * var(w) is 1, the numbers keep their size from layer to layer. If it is 1/4, their mean square is 4^10, about a
million, times smaller after ten layers. On the way back, each slope is a sum over H neurons, so the same holds for
H * var(w).

A normal distribution draws numbers near its mean most often; a uniform one draws all numbers between two limits equally
often.

Each function below draws the weights of one layer.

After this chapter you can choose the size of the first weights. Next: how far should a step go?

Letters: D inputs, H neurons of a layer.
"""

import numpy as np


def small_normal(rng: np.random.Generator, num_inputs: int, num_outputs: int) -> np.ndarray:
    """Draw from a normal distribution of standard deviation 0.01, whatever the layer's size.

    This suits a single layer. var(w) = 0.0001 is 1 / D only for D = 10,000; in a deep network the numbers fade to 0.

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

    Near 0, tanh has slope 1, so the numbers keep their size forward if var(w) = 1 / D, and backward if var(w) = 1 / H.
    2 / (D + H) is a compromise between the two. A uniform distribution from -limit to limit has variance limit^2 / 3,
    so limit = sqrt(6 / (D + H)).

    A sigmoid has a slope of at most 1/4. The outputs of ten sigmoid layers keep their size, but the differences between
    two images shrink at every layer, and so does the gradient on its way back.

    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.

    Args and return value are those of `small_normal`.
    """
    limit = np.sqrt(6 / (num_inputs + num_outputs))
    return rng.uniform(-limit, limit, (num_inputs, num_outputs))


def he(rng: np.random.Generator, num_inputs: int, num_outputs: int) -> np.ndarray:
    """Draw from a normal distribution of variance 2 / D, for ReLU.

    A ReLU sets the negative half of z to 0, and with it half of the mean square. The factor 2 makes up for it.

    He et al. 2015, "Delving Deep into Rectifiers" (https://arxiv.org/abs/1502.01852), equation 10.

    Args and return value are those of `small_normal`.
    """
    return np.sqrt(2 / num_inputs) * rng.standard_normal((num_inputs, num_outputs))
