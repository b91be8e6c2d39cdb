"""Calibration: whether predictions made with a confidence of 80 % are correct in 80 of 100 cases.

Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599. The confidence of a
prediction is the probability of the predicted class. The expected calibration error (ECE) sorts n predictions by their
confidence into bins of equal width and compares accuracy and mean confidence in each bin B:

    ECE = sum over bins B of  |B| / n * |accuracy(B) - mean confidence(B)|

Temperature scaling divides all logits by one number T. That changes no prediction, only its confidence: T > 1 lowers
it. T minimizes the mean negative log-likelihood (NLL) on images that the network was not trained on.
"""

from typing import NamedTuple

import numpy as np

from zoo.evaluation.classification import Predictions, log_softmax, softmax

BINS = 15  # as in the paper
TEMPERATURES = (0.01, 100.0)  # the range that is searched
STEPS = 60  # of the search; each halves the range


class Bins(NamedTuple):
    """Predictions by their confidence, in bins of equal width from 0 to 1; a bin includes its upper edge."""

    counts: np.ndarray  # of predictions, int64 (bins,)
    confidence: np.ndarray  # mean, float64 (bins,); NaN in an empty bin
    accuracy: np.ndarray  # float64 (bins,); NaN in an empty bin

    def error(self) -> float:
        """Return the expected calibration error."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


class Quality(NamedTuple):
    """How good probabilities are; smaller is better.

    The Brier score (Brier 1950) is the mean squared distance between the probabilities and the one-hot truth, 0 to 2.
    """

    ece: float
    nll: float
    brier: float


def bins(confidences: np.ndarray, correct: np.ndarray, number: int = BINS) -> Bins:
    """Sort predictions into `number` bins, given confidences in (0, 1], float (n,), and correctness, bool (n,)."""
    edges = np.arange(1, number) / number
    which = np.searchsorted(edges, confidences, side="left")
    counts = np.bincount(which, minlength=number)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        confidence = np.bincount(which, confidences, number) / counts
        accuracy = np.bincount(which, correct, number) / counts
    return Bins(counts, confidence, accuracy)


def quality(predictions: Predictions) -> Quality:
    """Measure the probabilities of predictions."""
    picked = np.arange(len(predictions.labels)), predictions.labels
    truth = np.zeros_like(predictions.probabilities)
    truth[picked] = 1
    return Quality(
        ece=bins(predictions.confidences, predictions.correct).error(),
        nll=float(-log_softmax(predictions.logits)[picked].mean()),
        brier=float(((predictions.probabilities - truth) ** 2).sum(1).mean()),
    )


def fit_temperature(predictions: Predictions) -> float:
    """Return the temperature in `TEMPERATURES` that minimizes the NLL of these predictions.

    The NLL is a convex function of b = 1/T. Its derivative is the mean over the images of

        sum over classes k of p_k (z_k - z_truth)      with p = softmax(b z)

    The derivative grows with b, and bisection finds its zero. If all predictions are correct, the derivative is
    negative and underflows to 0 for large b, so 0 counts as negative.
    """
    z, labels = predictions.logits, predictions.labels
    ahead = z - z[np.arange(len(labels)), labels][:, None]  # of the true class

    def slope(b: float) -> float:
        return float((softmax(b * ahead) * ahead).sum(1).mean())

    low, high = (1 / T for T in reversed(TEMPERATURES))
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) <= 0 else (low, middle)
    return 1 / high


def is_at_end(temperature: float) -> bool:
    """Return whether a temperature is at an end of the searched range, where it means nothing."""
    low, high = TEMPERATURES
    return not 1.001 * low < temperature < high / 1.001


def scaled(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions with their logits divided by a temperature."""
    return Predictions(predictions.logits / temperature, predictions.labels)
