"""Batch normalization: every layer gets inputs of mean 0 and variance 1.

The inputs of the network are normalized before training. But the inputs of a layer in the middle are made by the layers
before it, and drift while those learn. That is why its authors made batch normalization, and others explain its success
differently (Santurkar et al. 2018, "How Does Batch Normalization Help Optimization?"). It gives each column mean 0 and
variance 1 over the batch, and lets the network learn another mean and size where that helps:

    mean = mean of x over the batch         var = mean of (x - mean)^2 over the batch
    u = (x - mean) / sqrt(var + epsilon)    z = weight * u + bias

A prediction must not depend on the other images in its batch. So training keeps running averages of mean and var, and
prediction uses those.

After this chapter you can differentiate a layer whose outputs depend on the whole batch. Next: a layer that drops
inputs at random.

Letters: x (N, ..., C); a column is all numbers of one channel: n of them, over images and, in maps, over places. u are
the normalized inputs; weight, bias, mean and var have shape (C,).
"""

import numpy as np
from numpy.typing import DTypeLike

from zoo.scratch.layers import Layer


class BatchNorm(Layer):
    """Batch normalization of the last axis, for rows of numbers (N, C) and for maps (N, h, w, C).

    Ioffe and Szegedy 2015, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift" (https://arxiv.org/abs/1502.03167).

    Args:
        num_channels: C.
        momentum: share of the newest batch in the running averages.
        epsilon: avoids 0 / 0.
        dtype: float32 to train, float64 to check gradients.

    Attributes:
        parameters: "weight", 1 at first, and "bias", 0 at first, both of shape (C,).
        state: "running_mean" and "running_var", shape (C,). The latter averages n / (n - 1) times var: distances from
            the batch's own mean are a little too small. PyTorch does the same.
    """

    def __init__(
        self, num_channels: int, momentum: float = 0.1, epsilon: float = 1e-5, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.parameters = {"weight": np.ones(num_channels, dtype), "bias": np.zeros(num_channels, dtype)}
        self.state = {"running_mean": np.zeros(num_channels, dtype), "running_var": np.ones(num_channels, dtype)}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return z, of the shape of x. In training, move the running averages.

        Raises:
            ValueError: in training, if each column has a single number, whose variance is 0.
        """
        axes = tuple(range(x.ndim - 1))  # all but the last
        if self.training:
            count = x.size // x.shape[-1]
            if count < 2:
                raise ValueError("batch normalization needs at least 2 numbers in each channel, so 2 images or more")
            mean, var = x.mean(axes), x.var(axes)
            for name, value in (("running_mean", mean), ("running_var", var * count / (count - 1))):
                self.state[name] = (1 - self.momentum) * self.state[name] + self.momentum * value.astype(x.dtype)
        else:
            mean, var = self.state["running_mean"], self.state["running_var"]
        self.std = np.sqrt(var + self.epsilon)  # (C,)
        self.u = (x - mean) / self.std
        return self.u * self.parameters["weight"] + self.parameters["bias"]

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Set dL/dweight and dL/dbias, and return dL/dx.

        z = weight * u + bias, as in a neuron with one input, summed over all that share a weight:

            dL/dweight = sum of dL/dz * u        dL/dbias = sum of dL/dz        dL/du = dL/dz * weight

        From x to L there are three paths. Let std = sqrt(var + epsilon), so u_k = (x_k - mean) / std.

        - x_i itself: du_i/dx_i = 1 / std, which gives  dL/du_i / std.
        - the mean: dmean/dx_i = 1 / n, and every u_k falls by 1 / std if the mean grows by 1. That gives
          -(mean of dL/du) / std.
        - the variance: dvar/dx_i = 2 (x_i - mean) / n, because the mean of x - mean is 0. std is the root of
          var + epsilon, so dstd/dvar = 1 / (2 std), and du_k/dstd = -(x_k - mean) / std^2 = -u_k / std. The product
          of the three, summed over k, is

              sum over k of  dL/du_k (-u_k / std) * 1 / (2 std) * 2 (x_i - mean) / n  =  -u_i (mean of dL/du * u) / std

        The slopes of the three paths add up:

            dL/dx = (dL/du - mean of dL/du - u * mean of (dL/du * u)) / std

        In use, mean and var are fixed, and only the first path is left.
        """
        axes = tuple(range(gradient.ndim - 1))
        self.gradients["weight"] = (gradient * self.u).sum(axes)
        self.gradients["bias"] = gradient.sum(axes)
        du = gradient * self.parameters["weight"]
        if not self.training:
            return du / self.std
        return (du - du.mean(axes) - self.u * (du * self.u).mean(axes)) / self.std
