"""Dropout: drop random inputs, so that no neuron relies on another.

In training, each number is set to 0 with probability `rate`, anew for every batch. The next layer cannot rely on any
single input, so it learns to base each prediction on several of them. The numbers that stay are divided by 1 - rate, so
that their sum is the same on average. Prediction drops nothing.

After this chapter you have every layer of the notebooks' ImprovedCNN. Next: who computes slopes in PyTorch?
"""

import numpy as np

from zoo.scratch.layers import Layer


class Dropout(Layer):
    """Sets random inputs to 0 in training.

    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".

    Args:
        rate: probability of setting an input to 0, at least 0 and less than 1.
        rng: source of the random numbers.

    Raises:
        ValueError: if `rate` is out of range.
    """

    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate={rate} is out of range: give a number of at least 0 and less than 1")
        self.rate, self.rng = rate, rng

    def forward(self, x: np.ndarray) -> np.ndarray:
        if not self.training:
            self.kept = np.ones((), x.dtype)
            return x
        stays = self.rng.random(x.shape, np.float32) >= self.rate
        self.kept = stays.astype(x.dtype) / (1 - self.rate)  # 0, or 1 / (1 - rate)
        return x * self.kept

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Return dL/dx: each input was multiplied by a number, and so is its slope."""
        return gradient * self.kept
