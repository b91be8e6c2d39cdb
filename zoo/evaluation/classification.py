"""The predictions of a model on images with known classes."""

from functools import cached_property

import numpy as np
import torch

from zoo.core.classifier import Classifier
from zoo.trained import inference


class Predictions:
    """The logits, float64 (n, k), of a model for n images of known classes, int64 (n,), and what follows from them."""

    def __init__(self, logits: np.ndarray, labels: np.ndarray) -> None:
        self.logits, self.labels = logits, labels

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The probability of each class, float64 (n, k)."""
        return softmax(self.logits)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most likely classes, int64 (n,)."""
        return self.logits.argmax(1)

    @cached_property
    def confidences(self) -> np.ndarray:
        """The probabilities of the predicted classes, float64 (n,)."""
        return self.probabilities.max(1)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each prediction is correct, bool (n,)."""
        return self.predicted == self.labels

    @property
    def confusion(self) -> np.ndarray:
        """Counts by true and by predicted class, int64 (k, k)."""
        return confusion_matrix(self.labels, self.predicted, self.logits.shape[1])


def class_logits(model: Classifier, images: torch.Tensor | np.ndarray) -> np.ndarray:
    """Return a logit for each class, float64 (n, k), of uint8 images (n, c, h, w), with test-time augmentation.

    A model of two classes has one logit z, and sigmoid(z) is the probability of class 1. The logits 0 and z have the
    same probability under softmax.
    """
    logits = inference.logits(model, images, model.tta).double().numpy()
    return logits if model.num_outputs > 1 else np.hstack([np.zeros_like(logits), logits])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities, (n, k)."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities, (n, k)."""
    return np.exp(log_softmax(logits))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts by true and by predicted class, int64 (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean recall of the classes that occur, which is the accuracy if all are equally frequent."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))
