"""Losses: one number for how wrong the answers are, and its gradient.

Cross-entropy asks what probability the network gave to the right class, and takes -log of it: 0 for a right answer of
full certainty, log K for an even guess among K classes, without bound for certainty in a wrong class.

The last layer does not bend (`Identity`): its outputs are its z, the logits. Each loss starts from them, and contains
the sigmoid or softmax that makes them probabilities a. So the dL/dz that a loss returns is the dL/da that the last
layer's `backward` takes. There are two reasons. The gradient becomes as simple as can be, (a - y) / N. And no log of a
rounded 0 is ever taken: the losses here are right for logits of any size.

After this file you can say why a gradient is a - y. Next: what keeps a network from learning by heart?

A label can also be in between. The mean of a cat and a dog is 1/2 cat and 1/2 dog (mixup), and a label that leaves some
doubt keeps a network from growing too certain (label smoothing). Nothing below asks y to be 0 or 1, only to be
probabilities: the same formulas take both kinds of labels.

Letters: N images, K classes; y is the label: 0 or 1, a one-hot row, or probabilities. The value is the mean over the
batch, so each image's share of the gradient is divided by N.
"""

from abc import ABC, abstractmethod

import numpy as np

from zoo.scratch.activations import Sigmoid
from zoo.scratch.one_hot import check_labels, one_hot


class Loss(ABC):
    """A function of logits and labels."""

    @abstractmethod
    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient with respect to the logits.

        Args:
            logits: float, shape (N, K); shape (N, 1) for the binary losses.
            labels: integers from 0 to K - 1, shape (N,); 0 and 1 for the binary losses. Or floats of the shape of the
                logits: the probability of each class, in rows that sum to 1; that of class 1 for the binary losses.

        Returns:
            The mean loss of the batch, and dL/dz of the shape and dtype of `logits`.

        Raises:
            ValueError: for other shapes, and for labels that are neither integers in range nor probabilities.
        """


class BinaryCrossEntropy(Loss):
    """Yes or no, from one logit: L = -log a where y = 1, and -log (1 - a) where y = 0, with a = sigmoid(z).

    In one formula, L = -y log a - (1 - y) log (1 - a). As -log (1 - a) = log (1 + exp(z)), called softplus(z), and
    -log a = softplus(z) - z,

        L = softplus(z) - y z        softplus(z) = max(z, 0) + log (1 + exp(-|z|))

    The second form of softplus never takes exp of a positive number: for z > 0, 1 + exp(z) = exp(z) (exp(-z) + 1).
    """

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """The gradient is (a - y) / N: what was said minus what is true.

        The derivative of softplus, by the chain rule, is exp(z) / (1 + exp(z)) = a, and that of y z is y.
        """
        y = _binary_labels(logits, labels)  # (N, 1)
        softplus = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))  # (N, 1); log1p(u) is log(1 + u)
        a = Sigmoid().forward(logits)  # (N, 1)
        return float(np.mean(softplus - y * logits)), (a - y) / len(logits)


class NotebookBinaryCrossEntropy(Loss):
    """Binary cross-entropy with the gradient of another loss: a mistake, kept to reproduce the notebooks' results.

    The value is that of `BinaryCrossEntropy`, but the gradient is multiplied by the sigmoid's slope a (1 - a) twice.
    Once is right: dL/da = (a - y) / (a (1 - a)), times the slope, is dL/dz = a - y. The second time happens where a - y
    is handed to a layer that takes it for dL/da:

        (a - y) a (1 - a) / N

    This is the gradient of the squared error (a - y)^2 / 2, so that is what training really makes small. It hardly
    learns from its worst mistakes: for y = 0 and a near 1, the factor 1 - a is next to nothing.
    """

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """The gradient is (a - y) a (1 - a) / N, which does not belong to the value."""
        value, gradient = BinaryCrossEntropy().value_and_gradient(logits, labels)
        sigmoid = Sigmoid()
        return value, gradient * sigmoid.derivative(sigmoid.forward(logits))


class CategoricalCrossEntropy(Loss):
    """One of K classes, from K logits: L = -log a_k for the right class k, with a = softmax(z).

    With a one-hot label, which keeps one term of the sum, L = -(y_1 log a_1 + ... + y_K log a_K). With probabilities
    for a label, the same sum is the mean of -log a_k over the classes, each as often as y says. The logarithm is taken
    before anything is rounded to 0: log a_k = z_k - log (exp(z_1) + ... + exp(z_K)), where the largest logit may be
    taken off all of them first, as `Softmax` explains.
    """

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """The gradient is (a - y) / N, again what was said minus what is true.

        The short way: L = log (exp(z_1) + ... + exp(z_K)) - (y_1 z_1 + ... + y_K z_K), as the y of an image sum to 1.
        The derivative of the first term with respect to z_j is exp(z_j) / (exp(z_1) + ... + exp(z_K)) = a_j; that of
        the second is y_j.

        The long way, through the probabilities: dL/da_j = -y_j / a_j, and J^T times that is (`Softmax.jacobian`)

            sum over i of (-y_i / a_i) da_i/dz_j = (-y_j / a_j) a_j + sum over i of (y_i / a_i) a_i a_j
                                                 = -y_j + a_j (y_1 + ... + y_K) = a_j - y_j

        again as the y of an image sum to 1.
        """
        if _are_probabilities(logits, labels):
            y = labels.astype(logits.dtype)  # (N, K)
        elif logits.ndim != 2 or labels.shape != logits.shape[:1]:
            raise ValueError(f"logits have shape {logits.shape} and labels {labels.shape}, expected (N, K) and (N,)")
        else:
            y = one_hot(labels, logits.shape[1], logits.dtype)  # (N, K)
        shifted = logits - logits.max(axis=1, keepdims=True)  # (N, K), at most 0
        log_a = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))  # (N, K)
        return -float(np.sum(y * log_a)) / len(logits), (np.exp(log_a) - y) / len(logits)


def _are_probabilities(logits: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether labels are floats of the shape of the logits; refuse floats that are no probabilities."""
    if labels.shape != logits.shape or labels.ndim != 2 or not np.issubdtype(labels.dtype, np.floating):
        return False
    # The only column of a binary label is the probability of class 1; the rest is that of class 0.
    sums_to_1 = labels.shape[1] == 1 or np.allclose(labels.sum(axis=1), 1)
    if not (sums_to_1 and np.all((labels >= 0) & (labels <= 1))):
        raise ValueError(f"labels of shape {labels.shape} are no probabilities: give rows of 0 to 1 that sum to 1")
    return True


def _binary_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return labels of 0 and 1, or probabilities, as an array of the shape and dtype of the logits, (N, 1)."""
    if logits.shape[1:] == (1,) and _are_probabilities(logits, labels):
        return labels.astype(logits.dtype)
    if logits.ndim != 2 or logits.shape[1] != 1 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits have shape {logits.shape} and labels {labels.shape}, expected (N, 1) and (N,)")
    check_labels(labels, 2)
    # (N,) as a column, (N, 1): (N, 1) minus (N,) would be broadcast to (N, N), without an error.
    return labels.astype(logits.dtype)[:, None]
