"""What a model answers to a set of images: one pass over its logits, from which all else is computed."""

from functools import cached_property

import numpy as np
import torch

from zoo.core.classifier import Classifier
from zoo.trained import inference


class Answers:
    """A model's answers to images whose classes are known.

    Args:
        scores: logits of the classes, float64 (n, k).
        labels: true classes, int64 (n,).

    Attributes:
        probabilities: of the classes, float64 (n, k).
        predictions: the likeliest classes, int64 (n,).
        confidences: the probabilities of these, float64 (n,).
        right: whether they are the true ones, bool (n,).
    """

    def __init__(self, scores: np.ndarray, labels: np.ndarray) -> None:
        self.scores, self.labels = scores, labels

    @cached_property
    def probabilities(self) -> np.ndarray:
        return softmax(self.scores)

    @cached_property
    def predictions(self) -> np.ndarray:
        return self.scores.argmax(1)

    @cached_property
    def confidences(self) -> np.ndarray:
        return self.probabilities.max(1)

    @cached_property
    def right(self) -> np.ndarray:
        return self.predictions == self.labels

    @property
    def confusion(self) -> np.ndarray:
        """Counts, int64 (k, k), truth by prediction."""
        return confusion_matrix(self.labels, self.predictions, self.scores.shape[1])


def scores(model: Classifier, images: torch.Tensor | np.ndarray) -> np.ndarray:
    """Return a logit for each class, float64 (n, k), of uint8 images (n, 3, 32, 32).

    A model of two classes has one logit z, whose sigmoid is the probability of class 1; it becomes the pair 0, z, whose
    softmax has that probability, too.
    """
    found = inference.logits(model, images).double().numpy()
    return found if model.num_outputs > 1 else np.hstack([np.zeros_like(found), found])


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities, (n, k), of logits (n, k)."""
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities, (n, k), of logits (n, k)."""
    return np.exp(log_softmax(scores))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Return counts, int64 (classes, classes), truth by prediction, of classes (n,) and (n,)."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def balanced_accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Return the mean recall of the classes that occur; where they are equally frequent, it is the accuracy."""
    return float(np.mean([(predictions[labels == label] == label).mean() for label in np.unique(labels)]))
