"""Pooling: fewer numbers, the largest of each square.

A kernel responds strongly where the image resembles it. Whether an ear is one pixel further left does not matter for
"cat", so max pooling keeps the largest output of each 2 x 2 square, and drops its position:

    [ 1  5  2  0 ]
    [ 3  4  1  7 ]      [ 5  7 ]
    [ 0  2  9  8 ]  ->  [ 6  9 ]
    [ 6  1  3  4 ]

The next layer has a quarter of the numbers, and each of its patches covers a part of the image that is
twice as wide and twice as high.

On the way back, a change of the 5 changes the output, and small changes of 1, 3 and 4 do not. So the whole slope goes
to the strongest place, and the others get 0. Among equally strong places, the first one gets it, row by row, as in
PyTorch.

After this chapter you can build the notebooks' first CNN. Next: two layers that make deep networks learn better.

Letters: N images of h x w places with C channels.
"""

import numpy as np

from zoo.scratch.layers import Layer, Shape


class MaxPool2D(Layer):
    """The maximum of each square of `size` x `size` places; squares do not overlap.

    Rows and columns that do not fill a square, at the bottom and on the right, are left out.

    Args:
        size: rows and columns of a square.
    """

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the maxima, shape (N, h // size, w // size, C), of x, shape (N, h, w, C)."""
        self.x = x
        first, *others = self._places(x)
        self.maxima = first
        for place in others:
            self.maxima = np.maximum(self.maxima, place)
        return self.maxima

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Give the slope of each maximum to its place, and 0 to all others."""
        slopes = np.zeros_like(self.x)
        taken = np.zeros(gradient.shape, bool)  # squares whose maximum has been found
        for place, slope in zip(self._places(self.x), self._places(slopes), strict=True):
            wins = (place == self.maxima) & ~taken
            slope[...] = gradient * wins  # `slope` is a view: this writes into `slopes`
            taken |= wins
        return slopes

    def _places(self, x: np.ndarray) -> list[np.ndarray]:
        """Return, for each place of a square, the numbers at this place in all squares: views of x."""
        h, w = (length // self.size * self.size for length in x.shape[1:3])
        return [x[:, u : h : self.size, v : w : self.size] for u in range(self.size) for v in range(self.size)]

    def output_shape(self, input_shape: Shape) -> Shape:
        h, w, c = input_shape
        return h // self.size, w // self.size, c
