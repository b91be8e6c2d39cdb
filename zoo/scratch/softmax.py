"""Softmax and one-hot labels: from two classes to many.

With K classes, the last layer has K neurons, and an image gets K logits z_1 ... z_K. Softmax turns them into K
probabilities:

    a_k = exp(z_k) / (exp(z_1) + ... + exp(z_K))

exp makes each of them positive, and the division makes their sum 1. In numbers:

    z        2       1       0.1
    exp(z)   7.389   2.718   1.105        sum 11.213
    a        0.659   0.242   0.099        sum 1

With two classes, softmax is the sigmoid of the difference: a_1 = 1 / (1 + exp(z_2 - z_1)).

A label is the number of a class, from 0 to K - 1. Softmax gives K probabilities instead, so the label is brought into
the same form, one-hot: the probabilities of a prediction that is certain and correct. With K = 4,

    label 2  ->  0 0 1 0

After this chapter you can turn logits into probabilities, and labels into rows. Next: how wrong is a prediction?

Letters: N images, K classes; z logits (N, K), a probabilities (N, K).
"""

import numpy as np
from numpy.typing import DTypeLike


def softmax(z: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes.

    Subtracting a number m from all logits of an image changes nothing: exp(z_k - m) = exp(z_k) / exp(m), and exp(m)
    cancels. With the largest logit as m, no exponent is positive and nothing overflows.

    Args:
        z: logits, shape (N, K).

    Returns:
        Shape (N, K), each row of sum 1.
    """
    powers = np.exp(z - z.max(axis=1, keepdims=True))  # (N, K), each between 0 and 1
    return powers / powers.sum(axis=1, keepdims=True)


def log_softmax(z: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities, without taking the log of a probability that was rounded to 0.

        log a_k = z_k - log (exp(z_1) + ... + exp(z_K))

    The largest logit may be subtracted from all of them first, as in `softmax`.

    Args:
        z: logits, shape (N, K).

    Returns:
        Shape (N, K), each at most 0.
    """
    shifted = z - z.max(axis=1, keepdims=True)  # (N, K)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax_jacobian(a: np.ndarray) -> np.ndarray:
    """Return the slope of every probability in the direction of every logit.

    With S = exp(z_1) + ... + exp(z_K), the quotient rule gives, for the logit of the same class and of another class j,

        da_k/dz_k = (exp(z_k) S - exp(z_k) exp(z_k)) / S^2 = a_k - a_k a_k
        da_k/dz_j = (        0  - exp(z_k) exp(z_j)) / S^2 =     - a_k a_j

    In one line, da_k/dz_j = a_k [k = j] - a_k a_j, where [k = j] is 1 or 0: a symmetric matrix for each image. Training
    never needs it: together with the loss, it becomes a - y (see `losses.CategoricalCrossEntropy`).

    Args:
        a: what `softmax` returned, shape (N, K).

    Returns:
        da_k/dz_j at [n, k, j], shape (N, K, K).
    """
    a_k = a[:, :, None]  # (N, K, 1)
    a_j = a[:, None, :]  # (N, 1, K)
    return a_k * np.eye(a.shape[1], dtype=a.dtype) - a_k * a_j  # eye: 1 at [k, k], else 0; (N, K, K)


def one_hot(labels: np.ndarray, num_classes: int, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return a row for each label: 1 at the label's class, and 0 elsewhere.

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
    y = np.zeros((len(labels), num_classes), dtype)  # (N, K)
    y[np.arange(len(labels)), labels] = 1  # in row 0 at labels[0], in row 1 at labels[1], ...
    return y


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Check that labels are class numbers. NumPy would silently take -1 for the last class.

    Args:
        labels: integers from 0 to K - 1, shape (N,).
        num_classes: K.

    Raises:
        ValueError: if the labels are not a non-empty 1-D array of integers, or one of them is out of range.
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
