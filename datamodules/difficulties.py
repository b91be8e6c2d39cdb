"""What makes training harder on purpose: wrong labels, and classes of unequal size."""

import numpy as np
import torch
from torch import Tensor

from datamodules.random_numbers import WRONG_LABELS, integers, random_bits, uniform


def with_wrong_labels(labels: Tensor, indices: Tensor, share: float, num_classes: int, seed: int) -> Tensor:
    """Return labels, int64 (n,), of which each is that of another class with a probability of `share`.

    The other classes are equally probable. An image has the same wrong label whichever images are chosen with it. This
    noise is called symmetric.

    Args:
        labels: int64 (n,), 0 to `num_classes` - 1.
        indices: the positions of the images in their split, int64 (n,).
        share: 0 to 1, to parts in 4,096.
        num_classes: at least 2.
        seed: another seed draws other labels.
    """
    bits = random_bits(seed, 0, indices, WRONG_LABELS)
    others = (labels + 1 + integers(bits, 1, num_classes - 1)) % num_classes
    return torch.where(uniform(bits, 0) < share, others, labels)


def imbalanced(labels: np.ndarray, chosen: np.ndarray, ratio: float) -> np.ndarray:
    """Return some of the chosen images, so that the classes fall from the first to the last by equal factors.

    The first class keeps all of its images; the last one keeps 1 / `ratio` of them, but at least one. This is the
    long tail of Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples"
    (https://arxiv.org/abs/1901.05555).

    Args:
        labels: of all images, int64 (n,).
        chosen: positions of images, int64; the first ones of each class are kept.
        ratio: at least 1, which keeps all.

    Returns:
        Positions of images in the order of `chosen`, int64.
    """
    classes = np.unique(labels[chosen])
    kept = np.zeros(len(chosen), bool)
    for number, label in enumerate(classes):
        members = np.flatnonzero(labels[chosen] == label)
        share = ratio ** (-number / max(1, len(classes) - 1))
        kept[members[: max(1, round(share * len(members)))]] = True
    return chosen[kept]
