"""The most confident mistakes."""

import numpy as np

from zoo.evaluation.classification import Predictions


def worst(predictions: Predictions, number: int) -> np.ndarray:
    """Return the positions, int64, of at most `number` wrong predictions, the most confident first."""
    wrong = np.flatnonzero(~predictions.correct)
    return wrong[np.argsort(-predictions.confidences[wrong], kind="stable")[:number]]
