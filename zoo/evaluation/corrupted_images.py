"""The accuracy of a model on corrupted images."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datamodules.image_data_module import stratified_order
from zoo.core.classifier import Classifier
from zoo.evaluation.classification import balanced_accuracy, class_logits
from zoo.evaluation.corruptions import SEVERITIES

SEED = 0  # of the subset and of the corruptions: the same for every model

# Maps the name of a corruption and a severity to images, uint8 (n, c, h, w), and their classes, int64 (n,).
Cell = Callable[[str, int], tuple[np.ndarray, np.ndarray]]


class Robustness(NamedTuple):
    """Accuracies on corrupted images, balanced ones for two classes (see `score`)."""

    clean: float  # without corruption
    cells: dict[str, list[float]]  # at severity 1 to 5, by the name of the corruption
    images: int  # in a cell: one corruption at one severity

    def severity_means(self) -> list[float]:
        """Return the means over the corruptions at severity 1 to 5."""
        return np.mean(list(self.cells.values()), axis=0).tolist()

    def without(self, names: Iterable[str]) -> "Robustness":
        """Return the same without some corruptions, or with all of them if none would be left."""
        left = {name: accuracies for name, accuracies in self.cells.items() if name not in names}
        return self._replace(cells=left or self.cells)

    def mean(self) -> float:
        """Return the mean over all corruptions and severities."""
        return float(np.mean(list(self.cells.values())))


def score(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Return the accuracy; for two classes, which often differ in size, the mean recall of both."""
    return balanced_accuracy(labels, predicted) if classes == 2 else float((labels == predicted).mean())


def subset(labels: np.ndarray, images: int) -> np.ndarray:
    """Return the positions of at most `images` images in ascending order: stratified, and always the same images."""
    return np.sort(stratified_order(labels, np.random.default_rng(SEED))[:images])


def measure(model: Classifier, clean: float, names: Iterable[str], cell: Cell, images: int, title: str) -> Robustness:
    """Classify the images of every corruption and severity, with a progress bar called `title`."""
    cells: dict[str, list[float]] = {name: [] for name in names}
    todo = [(name, severity) for name in cells for severity in SEVERITIES]
    for name, severity in tqdm(todo, title, unit=" cells", leave=False, disable=None):
        pixels, labels = cell(name, severity)
        cells[name].append(score(labels, class_logits(model, pixels).argmax(1), model.num_classes))
    return Robustness(clean, cells, images)
