"""Convolution: a layer that looks at images as images.

A dense layer has a weight for every pixel. It has to learn an edge in the left corner and the same edge in the right
corner separately, and if all pixels of all images were shuffled in the same way, it would learn just as well. A
convolution looks at small patches, here of 3 x 3 pixels, and applies the same weights at every place:

    z_nijh = sum over u, v, c of  x_n,i+u,j+v,c w_uvch  +  b_h

Image n at row i and column j has one output for each of H kernels. u and v run over the rows and columns of the patch
around (i, j), from -1 to 1; c runs over the channels: red, green and blue of an image, or the H outputs of a
convolution before. An image gets a border of zeros, so that there is a patch around every pixel and the output is as
large as the input. The outputs of one kernel at all places form a map, so there are H maps. (In mathematics, a
convolution turns the kernel around first. As the kernel is learned, nobody does that here.)

## It is a dense layer on patches

Cut out the patch around each place and lay its 3 * 3 * C numbers in a row. With N images of size h x w, that is a
matrix of N h w rows, and the formula above is `patches @ W + b` from chapter `layers`, with W of 3 * 3 * C rows. So the
slopes are known:

    dL/dW       = patches^T @ dL/dz               a sum over all images and all places
    dL/db       = the sum of dL/dz over all images and all places
    dL/dpatches = dL/dz @ W^T

What is new is the way back from patches to the image. A pixel was copied into up to nine patches, and acts on L through
each of them. The slopes of several paths add up, so the slope of a pixel is the sum over its copies: `add_back` is
`patches` in reverse, with a sum where `patches` copies.

## What it saves

A layer of 32 kernels on images of 32 x 32 x 3 has 3 * 3 * 3 * 32 + 32 = 896 parameters, and puts out 32 x 32 x 32
numbers. A dense layer from 3,072 to 32,768 numbers has 100,696,064 parameters.

After this chapter you can differentiate a convolution. Next: fewer numbers, and the strongest of them.

Letters: N images of h x w pixels with C channels, H kernels of size x size; x (N, h, w, C), z (N, h, w, H).
"""

import numpy as np
from numpy.typing import DTypeLike

from zoo.scratch.layers import Initializer, Layer, Shape


def patches(x: np.ndarray, size: int) -> np.ndarray:
    """Cut the patch around each pixel out of images with a border of zeros.

    Args:
        x: images, shape (N, h, w, C).
        size: rows and columns of a patch, odd.

    Returns:
        Shape (N, h, w, size * size * C): at [n, i, j] the patch around pixel (i, j) of image n, row by row.
    """
    n, h, w, c = x.shape
    border = size // 2
    padded = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    cut = np.empty((n, h, w, size, size, c), x.dtype)
    for u in range(size):
        for v in range(size):
            # The pixel at place (u, v) of every patch at once: the image, moved by u rows and v columns.
            cut[:, :, :, u, v] = padded[:, u : u + h, v : v + w]
    return cut.reshape(n, h, w, -1)


def add_back(slopes: np.ndarray, size: int) -> np.ndarray:
    """Add up what belongs to the same pixel in all patches: the way back of `patches`.

    Args:
        slopes: dL/dpatches, shape (N, h, w, size * size * C).
        size: rows and columns of a patch, odd.

    Returns:
        dL/dx, shape (N, h, w, C).
    """
    n, h, w, _ = slopes.shape
    border = size // 2
    cut = slopes.reshape(n, h, w, size, size, -1)
    padded = np.zeros((n, h + 2 * border, w + 2 * border, cut.shape[-1]), slopes.dtype)
    for u in range(size):
        for v in range(size):
            padded[:, u : u + h, v : v + w] += cut[:, :, :, u, v]
    return padded[:, border : border + h, border : border + w]  # slopes of the border's zeros lead nowhere


class Conv2D(Layer):
    """A convolution with a border of zeros, whose outputs are as large as its inputs.

    LeCun et al. 1989, "Backpropagation Applied to Handwritten Zip Code Recognition".

    Args:
        num_channels: C, of the inputs.
        num_kernels: H, the channels of the outputs.
        initializer: draws W, as for a dense layer of size * size * C inputs; b starts at 0.
        rng: source of the random numbers.
        size: rows and columns of a kernel, odd.
        dtype: float32 to train, float64 to check gradients.

    Attributes:
        parameters: "weight" is W, shape (size, size, C, H); "bias" is b, shape (H,).

    Raises:
        ValueError: if `size` is even or below 1.
    """

    def __init__(
        self,
        num_channels: int,
        num_kernels: int,
        initializer: Initializer,
        rng: np.random.Generator,
        size: int = 3,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size={size}: a kernel needs an odd size, so that a pixel is in its middle")
        self.size = size
        weights = initializer(rng, size * size * num_channels, num_kernels)  # (size * size * C, H)
        self.parameters["weight"] = weights.reshape(size, size, num_channels, num_kernels).astype(dtype)
        self.parameters["bias"] = np.zeros(num_kernels, dtype)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return z, shape (N, h, w, H), of images (N, h, w, C)."""
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        self.patches = patches(x, self.size)  # (N, h, w, size * size * C)
        return self.patches @ weight.reshape(-1, len(bias)) + bias

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Set dL/dW and dL/db, and return dL/dx: those of a dense layer on patches, see the top of this chapter."""
        weight = self.parameters["weight"]
        rows = self.patches.reshape(-1, self.patches.shape[-1])  # (N h w, size * size * C)
        slopes = gradient.reshape(-1, weight.shape[-1])  # (N h w, H)
        self.gradients["weight"] = (rows.T @ slopes).reshape(weight.shape)
        self.gradients["bias"] = slopes.sum(axis=0)
        return add_back(gradient @ weight.reshape(-1, weight.shape[-1]).T, self.size)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:2], self.parameters["bias"].size)
