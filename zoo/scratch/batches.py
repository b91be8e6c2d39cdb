"""Mini-batches: images and labels in small random groups, as the network takes them.

A gradient from all 50,000 images would be exact, but each step would have to wait for all of them. The average over 64
images drawn at random points roughly the same way and costs 1/780 of that; many rough steps win over one exact one.
Each epoch goes through all images once, in a new order.

The pixels are bytes, 0..255. A network learns best from numbers around 0 of a size around 1, which its initial weights
are made for: take off the mean, divide by the standard deviation.

After this file you can feed a network. Next: in which order is everything called?

Letters: M images in all, N images in a batch, D numbers of an image.
"""

from collections.abc import Iterator

import numpy as np

PIXEL_MEAN = 120.7  # of all pixels of CIFAR-10's training images: 255 times the mean of 0.4914, 0.4822 and 0.4465
PIXEL_STD = 64.2  # likewise, from the channels' own 0.2470, 0.2435, 0.2616 and the spread of their means


def batches(
    images: np.ndarray, labels: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each image once, with its label: one epoch.

    A generator: each turn of a `for` loop over it runs on to the next `yield`.

    Args:
        images: uint8, shape (M, ...).
        labels: integers, shape (M,).
        batch_size: N, at least 1. The last batch is smaller where M is no multiple of it.
        rng: chooses the order; in the order of `images` where there is none.

    Yields:
        Normalized pixels, float32 of shape (N, D), whose memory is used again for the next batch; labels, shape (N,).

    Raises:
        ValueError: if there are not as many labels as images, or `batch_size` is below 1.
    """
    if len(images) != len(labels):
        raise ValueError(f"there are {len(images)} images, but {len(labels)} labels")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is too small: give a number of at least 1")
    pixels = images.reshape(len(images), -1)  # (M, D)
    order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
    inputs = np.empty((batch_size, pixels.shape[1]), np.float32)  # (N, D)
    for start in range(0, len(images), batch_size):
        chosen = order[start : start + batch_size]  # (N,)
        rows = inputs[: len(chosen)]
        rows[:] = pixels[chosen]
        rows -= PIXEL_MEAN
        rows *= 1 / PIXEL_STD  # quicker than a division of each pixel
        yield rows, labels[chosen]
