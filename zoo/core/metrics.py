"""Evaluation metrics, all derived from one confusion matrix per stage: one state to update per batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

POSITIVE = 1  # of the binary task: the rest, such as "not airplane", as in the notebooks
UNIT = 2**20  # weights of labels are summed as integers, in any order and on any device the same


class ClassificationMetrics(Metric):
    """Counts the (label, prediction) pairs of a stage, and sums the losses.

    The sum stays float32 when the model is cast to another type: the losses of an epoch exceed float16's largest
    number, 65,504, and bfloat16's 8 bits lose most of each batch.

    An image with a soft label, mixed from two, counts under the class with the largest weight. The accuracy takes the
    weight of the predicted class in the label, in place of 0 or 1.
    """

    full_state_update = False
    confusion: Tensor  # (k, k), int64: a row per label, a column per prediction
    loss_sum: Tensor  # (), float32: over all samples
    soft_hits: Tensor  # (), int64: what soft labels add to the hits of `confusion`, times `UNIT`; can be negative

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float32), dist_reduce_fx="sum")
        self.add_state("soft_hits", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        """Move the states as `fn` does, but keep their types; `to`, `half` and `double` call this."""

        def moved(state: Tensor) -> Tensor:
            result = fn(state)
            return result if result.dtype == state.dtype else state.to(result.device)

        return super()._apply(moved, exclude_state)

    def update(self, predictions: Tensor, labels: Tensor, loss_sums: Tensor) -> None:
        """Add b batches: predictions and labels, int64 (n,), and the sum of each batch's losses, float32 (b,).

        Labels can also be soft, float (n, k). The sums are added one by one, so that the rounded total does not depend
        on the number of batches per call.
        """
        if labels.ndim == 2:
            weights, labels = labels.gather(1, predictions[:, None]).squeeze(1), labels.argmax(1)
            self.soft_hits += ((weights.float() - (labels == predictions).float()) * UNIT).round().long().sum()
        cells = labels * self.num_classes + predictions
        self.confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))  # bincount would wait for a GPU
        for loss_sum in loss_sums:
            self.loss_sum += loss_sum

    def compute(self) -> dict[str, Any]:
        """Return the mean "loss", and the metrics of `summarize`."""
        summary, images = summarize(self.confusion), max(1, int(self.confusion.sum()))
        summary["acc"] += self.soft_hits.item() / (UNIT * images)
        return {"loss": self.loss_sum.item() / images, **summary}


def summarize(confusion: Tensor) -> dict[str, Any]:
    """Derive metrics from a confusion matrix, integer (k, k), label by prediction.

    For two classes, precision, recall and F1 are those of class 1; for more, they are means over the classes that occur
    as label or prediction ("macro"). A ratio with denominator 0 is 0, as in scikit-learn and torchmetrics.

    Returns:
        "acc", "precision", "recall", "f1": floats. "acc_per_class": recall of each of the k classes, NaN for a class
        that does not occur. "confusion": the counts as lists. For two classes also "balanced_acc", the mean recall of
        the classes that occur, and "majority_acc", the accuracy of always predicting the more frequent class.
    """
    counts = confusion.cpu().double()  # in this order: Apple's GPUs have no float64
    correct, predicted, true = counts.diagonal(), counts.sum(0), counts.sum(1)
    precision, recall, f1 = _ratio(correct, predicted), _ratio(correct, true), _ratio(2 * correct, predicted + true)

    num_classes = len(counts)
    kept = torch.arange(num_classes) == POSITIVE if num_classes == 2 else (predicted + true) > 0
    total = max(1.0, counts.sum().item())
    summary: dict[str, Any] = {
        "acc": correct.sum().item() / total,
        "precision": _mean(precision[kept]),
        "recall": _mean(recall[kept]),
        "f1": _mean(f1[kept]),
    }
    if num_classes == 2:
        summary["balanced_acc"] = _mean(recall[true > 0])
        summary["majority_acc"] = true.max().item() / total
    summary["acc_per_class"] = torch.where(true > 0, recall, torch.nan).tolist()
    summary["confusion"] = confusion.tolist()
    return summary


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator, 0.0)


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else 0.0
