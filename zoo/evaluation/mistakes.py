"""Wrong predictions: the most confused pairs of classes, and the most confident mistakes."""

from typing import NamedTuple

import numpy as np

from zoo.evaluation.classification import Predictions


class Pair(NamedTuple):
    """Images of one class that were taken for another."""

    truth: int
    predicted: int
    images: int  # the number of these images
    total: int  # the number of all images of the true class


def most_confused(confusion: np.ndarray, number: int) -> list[Pair]:
    """Return at most `number` pairs of different classes, the pair with the largest share of its class first."""
    totals = confusion.sum(1)
    pairs = [
        Pair(int(truth), int(predicted), int(confusion[truth, predicted]), int(totals[truth]))
        for truth, predicted in np.argwhere(confusion > 0)
        if truth != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair.images / pair.total)[:number]


def worst(predictions: Predictions, number: int) -> np.ndarray:
    """Return the positions, int64, of at most `number` wrong predictions, the most confident first."""
    wrong = np.flatnonzero(~predictions.correct)
    return wrong[np.argsort(-predictions.confidences[wrong], kind="stable")[:number]]
