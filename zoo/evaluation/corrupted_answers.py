"""How well a model does on corrupted images."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datamodules.image_data_module import stratified_order
from zoo.core.classifier import Classifier
from zoo.evaluation.answers import balanced_accuracy, scores
from zoo.evaluation.corruptions import SEVERITIES

SEED = 0  # of the subset and of the corruptions: the same for every model

# Return images, uint8 (n, 3, 32, 32), and their classes, int64 (n,), of a corruption, by name, and a severity.
Cell = Callable[[str, int], tuple[np.ndarray, np.ndarray]]


class Robustness(NamedTuple):
    """Accuracies on corrupted images; of two classes balanced ones, see `score`.

    Attributes:
        clean: on the images as they are.
        cells: of each corruption, by name, those of severity 1 to 5.
        images: a cell.
    """

    clean: float
    cells: dict[str, list[float]]
    images: int

    def of_severities(self) -> list[float]:
        """Return the means over the corruptions, of severity 1 to 5."""
        return np.mean(list(self.cells.values()), axis=0).tolist()

    def without(self, names: Iterable[str]) -> "Robustness":
        """Return the same without some corruptions; with all where that would leave none."""
        left = {name: accuracies for name, accuracies in self.cells.items() if name not in names}
        return self._replace(cells=left or self.cells)

    def mean(self) -> float:
        """Return the mean over all corruptions and severities."""
        return float(np.mean(list(self.cells.values())))


def score(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    """Return the accuracy; of two classes, of one and nine parts, the mean recall of both.

    Always giving the same answer does not raise that above one half.
    """
    return balanced_accuracy(labels, predictions) if classes == 2 else float((labels == predictions).mean())


def subset(labels: np.ndarray, images: int) -> np.ndarray:
    """Return the positions, in order, of at most `images` images, the classes in equal parts, the same ones always."""
    return np.sort(stratified_order(labels, np.random.default_rng(SEED))[:images])


def measure(model: Classifier, clean: float, names: Iterable[str], cell: Cell, images: int, title: str) -> Robustness:
    """Classify the images of every corruption and severity; a terminal shows how far it is.

    Args:
        model: any of the zoo.
        clean: the score of the images as they are.
        names: of the corruptions.
        cell: gives the images.
        images: a cell.
        title: of what is being done.
    """
    cells: dict[str, list[float]] = {name: [] for name in names}
    todo = [(name, severity) for name in cells for severity in SEVERITIES]
    for name, severity in tqdm(todo, title, unit=" cells", leave=False, disable=None):
        pixels, labels = cell(name, severity)
        cells[name].append(score(labels, scores(model, pixels).argmax(1), model.num_classes))
    return Robustness(clean, cells, images)
