"""Batches: images and labels in small random groups.

CIFAR-10 has 50,000 training images. The gradient of all of them would be exact, but each step would need all of them.
The mean over 64 random images points roughly the same way and costs 1/780 of that. Many rough steps achieve more than
one exact step. An epoch
goes through all images once, in a new random order.

Pixels are bytes, 0 to 255. The initial weights are made for inputs around 0 of a size around 1, so a batch has the mean
of all pixels subtracted, and is divided by their standard deviation. With inputs that are all positive, the slopes
of all weights of a neuron would have the same sign for one image (dL/dw_i = x_i dL/dz), so the image would make all of
them grow, or all of them shrink.

After this chapter you can feed a network. Next: in which order is everything called?

Letters: M images in all, N images in a batch.
"""

from collections.abc import Iterator

import numpy as np

# Of all pixels of CIFAR-10's training images: 255 times the mean of the channels' 0.4914, 0.4822 and 0.4465.
PIXEL_MEAN = np.float32(120.7)
# Likewise, from the channels' own 0.2470, 0.2435, 0.2616 and the spread of their means.
PIXEL_STD = np.float32(64.2)


class Batches:
    """Images and labels, in batches. A loop over it is an epoch, and each loop has an order of its own.

    Args:
        images: uint8, shape (M, ...).
        labels: integers, shape (M,).
        batch_size: N, at least 1. The last batch is smaller if M is not a multiple of it.
        rng: draws the order; without it, images come in their own order.

    Yields:
        Normalized pixels, float32 of shape (N, ...), and labels, shape (N,).

    Raises:
        ValueError: if there are no images or not as many labels, or `batch_size` is below 1.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
    ) -> None:
        if len(images) != len(labels) or len(images) == 0:
            raise ValueError(f"there are {len(images)} images and {len(labels)} labels: give a label for each image")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} is too small: give a number of at least 1")
        self.images, self.labels, self.batch_size, self.rng = images, labels, batch_size, rng

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        total = len(self.images)
        order = np.arange(total) if self.rng is None else self.rng.permutation(total)
        for start in range(0, total, self.batch_size):
            chosen = order[start : start + self.batch_size]  # (N,)
            yield (self.images[chosen] - PIXEL_MEAN) / PIXEL_STD, self.labels[chosen]
