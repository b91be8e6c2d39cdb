"""Calibration: whether a network that says 80 % is right in 80 of 100 cases.

Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599. The confidence of an
answer is the probability of the likeliest class. The expected calibration error sorts the answers into bins of equal
width by their confidence, and compares in each bin B of the n answers what was said with what came true:

    ECE = sum over bins B of  |B| / n * |accuracy(B) - mean confidence(B)|

Temperature scaling divides all logits by one number T, which changes no answer, only how sure it is: T > 1 makes a
network less sure. T makes the mean negative log-likelihood (NLL) of images small that were not trained on.
"""

from typing import NamedTuple

import numpy as np

from zoo.evaluation.answers import Answers, log_softmax, softmax

BINS = 15  # as in the paper
TEMPERATURES = (0.01, 100.0)  # the range that is searched
STEPS = 60  # of the search, each of which halves the range


class Bins(NamedTuple):
    """Answers by their confidence, in bins of equal width from 0 to 1; a bin holds its upper edge.

    Attributes:
        counts: answers in each bin, int64 (bins,).
        confidence: their mean confidence, float64 (bins,); NaN where a bin is empty.
        accuracy: the share of them that is right, likewise.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def error(self) -> float:
        """Return the expected calibration error."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


class Quality(NamedTuple):
    """How good probabilities are; of each the smaller the better.

    Attributes:
        ece: expected calibration error.
        nll: mean negative logarithm of the true class's probability.
        brier: mean over the images of the squared distance between the probabilities and those of somebody who knows
            the truth: 0 to 2 (Brier 1950).
    """

    ece: float
    nll: float
    brier: float


def bins(confidences: np.ndarray, right: np.ndarray, number: int = BINS) -> Bins:
    """Sort answers into bins.

    Args:
        confidences: float (n,), above 0 and at most 1.
        right: bool (n,).
        number: of bins.
    """
    edges = np.arange(1, number) / number
    which = np.searchsorted(edges, confidences, side="left")
    counts = np.bincount(which, minlength=number)
    with np.errstate(invalid="ignore"):  # 0 / 0 of an empty bin
        confidence = np.bincount(which, confidences, number) / counts
        accuracy = np.bincount(which, right, number) / counts
    return Bins(counts, confidence, accuracy)


def quality(answers: Answers) -> Quality:
    """Measure the probabilities of some answers."""
    picked = np.arange(len(answers.labels)), answers.labels
    wanted = np.zeros_like(answers.probabilities)
    wanted[picked] = 1
    return Quality(
        ece=bins(answers.confidences, answers.right).error(),
        nll=float(-log_softmax(answers.scores)[picked].mean()),
        brier=float(((answers.probabilities - wanted) ** 2).sum(1).mean()),
    )


def fit_temperature(answers: Answers) -> float:
    """Return the temperature that makes the NLL of these answers smallest, within `TEMPERATURES`.

    The NLL is a convex function of b = 1/T, whose derivative is the mean over the images of

        sum over classes k of p_k (z_k - z_truth)      with p = softmax(b z)

    It grows with b, and bisection finds where it is 0. Where all answers are right it stays below, down to the smallest
    numbers there are, so that 0 counts as below.
    """
    z, labels = answers.scores, answers.labels
    ahead = z - z[np.arange(len(labels)), labels][:, None]  # of the truth

    def slope(b: float) -> float:
        return float((softmax(b * ahead) * ahead).sum(1).mean())

    low, high = (1 / T for T in reversed(TEMPERATURES))
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) <= 0 else (low, middle)
    return 1 / high


def is_at_end(temperature: float) -> bool:
    """Whether a temperature is at an end of the range that is searched: it says nothing then."""
    low, high = TEMPERATURES
    return not 1.001 * low < temperature < high / 1.001


def scaled(answers: Answers, temperature: float) -> Answers:
    """Return the answers with their logits divided by a temperature."""
    return Answers(answers.scores / temperature, answers.labels)
