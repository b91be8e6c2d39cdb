"""Labels: a class as a number, and the same class as a row of zeros with a single one.

A label is the number of a class, from 0 to K - 1. A network answers with K numbers instead, a probability for each
class. One-hot encoding brings the label into that form: the answer that a network would give if it were certain and
right. With K = 4,

    label 2  ->  0 0 1 0

so that the two can be subtracted: `losses.py` learns from (answer - one-hot label).

After this file you can turn labels into rows. Next: how far is an answer from its label?

Letters: N images, K classes.
"""

import numpy as np
from numpy.typing import DTypeLike


def one_hot(labels: np.ndarray, num_classes: int, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return a row for each label: 1 at the label's class, 0 elsewhere.

    Args:
        labels: integers from 0 to K - 1, shape (N,).
        num_classes: K.
        dtype: of the result.

    Returns:
        Shape (N, K).

    Raises:
        ValueError: see `check_labels`.
    """
    check_labels(labels, num_classes)
    encoded = np.zeros((len(labels), num_classes), dtype)  # (N, K)
    encoded[np.arange(len(labels)), labels] = 1  # in row 0 at labels[0], in row 1 at labels[1], ...
    return encoded


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Refuse what is no row of class numbers.

    NumPy counts from the end where an index is negative: a label of -1 would silently become the last class.

    Args:
        labels: integers from 0 to K - 1, shape (N,).
        num_classes: K.

    Raises:
        ValueError: if the labels are no integers, do not lie in one row, are none at all or out of range.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, expected integers of shape (N,)")
    if len(labels) == 0:
        raise ValueError("there are no labels: a batch needs at least one image")
    for label in (labels.min(), labels.max()):
        if not 0 <= label < num_classes:
            raise ValueError(
                f"label {label} is out of range: {num_classes} classes are numbered 0 to {num_classes - 1}"
            )
