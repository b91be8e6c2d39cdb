"""Wrong answers: the pairs of classes that are confused most, and the images that a network was surest about."""

from typing import NamedTuple

import numpy as np

from zoo.evaluation.answers import Answers


class Pair(NamedTuple):
    """Images of one class that were taken for another.

    Attributes:
        truth: the class that they are of.
        answer: the class that they were taken for.
        images: how many were.
        of: how many images of that class there are.
    """

    truth: int
    answer: int
    images: int
    of: int


def most_confused(confusion: np.ndarray, number: int) -> list[Pair]:
    """Return at most `number` pairs of different classes, those with the largest share of their class first.

    Args:
        confusion: counts, (k, k), truth by prediction.
        number: of pairs.
    """
    totals = confusion.sum(1)
    pairs = [
        Pair(int(truth), int(answer), int(confusion[truth, answer]), int(totals[truth]))
        for truth, answer in np.argwhere(confusion > 0)
        if truth != answer
    ]
    return sorted(pairs, key=lambda pair: -pair.images / pair.of)[:number]


def worst(answers: Answers, number: int) -> np.ndarray:
    """Return the positions, int64, of at most `number` wrong answers, the most confident first."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.argsort(-answers.confidences[wrong], kind="stable")[:number]]
