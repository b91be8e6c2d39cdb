"""The most confused pairs of classes. Needs neither torch nor NumPy."""

from collections.abc import Sequence
from typing import NamedTuple


class Pair(NamedTuple):
    """Images of one class that were taken for another."""

    truth: int
    predicted: int
    images: int  # the number of these images
    total: int  # the number of all images of the true class


def most_confused(confusion: Sequence[Sequence[int]], number: int) -> list[Pair]:
    """Return at most `number` pairs of different classes, the pair with the largest share of its class first.

    The confusion matrix has counts (k, k), label by prediction.
    """
    pairs = [
        Pair(truth, predicted, images, sum(row))
        for truth, row in enumerate(confusion)
        for predicted, images in enumerate(row)
        if images and truth != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair.images / pair.total)[:number]
