"""Losses: one number for how wrong the predictions are, and its slopes.

Cross-entropy takes the probability that the network gave to the right class, and the loss is -log of it: 0 for
certainty in the right class, log K if all K classes are equally probable, and it grows without bound as the network
becomes certain of a wrong class. L is the mean of the losses L_n of the N images, so the slope of each L_n is divided
by N.

Each loss takes logits, and contains the sigmoid or softmax that turns them into probabilities a. There are two reasons.
The slope becomes as simple as can be, (a - y) / N. And nothing takes the log of a probability that was rounded to 0, so
the losses are right for all logits whose differences fit the dtype.

A label can also be a probability. Half a cat and half a dog is (1/2, 1/2) (mixup), and a label that leaves some doubt
keeps a network from growing too certain (label smoothing). The formulas only need y to be probabilities.

After this chapter you can say why the slope is a - y. Next: how large are the first weights?

Letters: N images, K classes; z logits, a probabilities, y labels as rows; L_n is the loss of image n, and L the
mean over the batch. The binary losses have one logit, (N, 1).
"""

from abc import ABC, abstractmethod

import numpy as np

from zoo.scratch import neuron
from zoo.scratch.softmax import check_labels, log_softmax, one_hot


class Loss(ABC):
    """A function of logits and labels."""

    @abstractmethod
    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss, and its slope in the direction of each logit.

        Args:
            logits: float, shape (N, K); shape (N, 1) for the binary losses.
            labels: integers from 0 to K - 1, shape (N,); 0 and 1 for the binary losses. Or floats of the shape of the
                logits: the probability of each class, in rows of sum 1; that of class 1 for the binary losses.

        Returns:
            The mean loss of the batch, and dL/dz of the shape and dtype of `logits`.

        Raises:
            ValueError: for other shapes, and for labels that are neither integers in range nor probabilities.
        """


class BinaryCrossEntropy(Loss):
    """Two classes, from one logit: the loss of chapter `neuron`, L_n = -y log a - (1 - y) log (1 - a)."""

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """The slope is (a - y) / N, see `neuron.loss_slope`."""
        y = _binary_labels(logits, labels)  # (N, 1)
        return float(np.mean(neuron.loss(logits, y))), neuron.loss_slope(logits, y) / len(logits)


class CategoricalCrossEntropy(Loss):
    """K classes, from K logits: L_n = -log a_k for the right class k, with a = softmax(z).

    With a one-hot label, which keeps one term of the sum, L_n = -(y_1 log a_1 + ... + y_K log a_K). With probabilities
    for a label, the same sum is the mean of -log a_k over the classes, weighted by y.
    """

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """The slope is (a - y) / N, again the prediction minus the truth.

        The short way: log a_k = z_k - log S with S = exp(z_1) + ... + exp(z_K). The y of an image sum to 1, so

            L_n = log S - (y_1 z_1 + ... + y_K z_K)

        The slope of log S in the direction of z_j is exp(z_j) / S = a_j. The slope of the second term is y_j.
        So dL_n/dz_j = a_j - y_j. L is the mean of N of them, so the slopes are divided by N.

        The long way goes through the probabilities. dL_n/da_k = -y_k / a_k, and z_j acts on L_n through every a_k, so
        the slopes of all paths add up (`softmax_jacobian` has da_k/dz_j = a_k [k = j] - a_k a_j):

            dL_n/dz_j = sum over k of  (-y_k / a_k) (a_k [k = j] - a_k a_j)
                      = -y_j + a_j (y_1 + ... + y_K)
                      = a_j - y_j
        """
        y = _class_labels(logits, labels)  # (N, K)
        log_a = log_softmax(logits)  # (N, K)
        # A class of probability 0 adds nothing, even if log a overflowed to -infinity.
        total = -float(np.sum(np.multiply(y, log_a, where=y > 0, out=np.zeros_like(log_a))))
        return total / len(logits), (np.exp(log_a) - y) / len(logits)


class NotebookBinaryCrossEntropy(Loss):
    """Binary cross-entropy with the gradient of another loss: a mistake, kept to reproduce the notebooks' results.

    The value is that of `BinaryCrossEntropy`, but its gradient is multiplied by the sigmoid's slope a (1 - a) twice.
    Once is right: dL/da = (a - y) / (a (1 - a)), and times the slope that is dL/dz = a - y. The second factor appears
    when a - y goes to a sigmoid's `backward` as if it were dL/da:

        (a - y) a (1 - a) / N

    This is the gradient of half the squared error, (a - y)^2 / 2, so this is what training really minimizes. Training
    hardly learns from its worst mistakes: if y = 0 and a is close to 1, the factor 1 - a is close to 0.
    """

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """The gradient is (a - y) a (1 - a) / N, which does not belong to the value."""
        value, gradient = BinaryCrossEntropy().value_and_gradient(logits, labels)
        a = neuron.sigmoid(logits)
        return value, gradient * a * (1 - a)


def _class_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return labels as rows of probabilities, of the shape and dtype of the logits."""
    if _are_probabilities(logits, labels):
        return labels.astype(logits.dtype)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits have shape {logits.shape} and labels {labels.shape}, expected (N, K) and (N,)")
    return one_hot(labels, logits.shape[1], logits.dtype)


def _binary_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return labels of 0 and 1, or probabilities, as an array of the shape and dtype of the logits, (N, 1)."""
    if logits.shape[1:] == (1,) and _are_probabilities(logits, labels):
        return labels.astype(logits.dtype)
    if logits.ndim != 2 or logits.shape[1] != 1 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits have shape {logits.shape} and labels {labels.shape}, expected (N, 1) and (N,)")
    check_labels(labels, 2)
    # As a column, (N, 1): NumPy would silently make (N, N) of (N, 1) minus (N,).
    return labels.astype(logits.dtype)[:, None]


def _are_probabilities(logits: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether labels are floats of the shape of the logits; raise ValueError if they are not probabilities."""
    if labels.shape != logits.shape or labels.ndim != 2 or not np.issubdtype(labels.dtype, np.floating):
        return False
    # The only column of a binary label is the probability of class 1; the rest is that of class 0.
    sums_to_1 = labels.shape[1] == 1 or np.allclose(labels.sum(axis=1), 1)
    if not (sums_to_1 and np.all((labels >= 0) & (labels <= 1))):
        raise ValueError(f"labels of shape {labels.shape} are not probabilities: give rows of 0 to 1 that sum to 1")
    return True
