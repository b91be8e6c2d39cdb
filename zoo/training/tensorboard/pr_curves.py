"""Precision-recall curves of the test set."""

from typing import Any

import lightning as L
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchmetrics.aggregation import CatMetric

from datamodules.loading import Batch
from zoo.core.classifier import Classifier
from zoo.training import run_logger
from zoo.training.tensorboard import observing


class PRCurves(L.Callback):
    """Logs "pr/CLASS" after a test: a class against all others, for 127 thresholds of its probability.

    A class that does not occur has no curve. The callback keeps the logits of the test, so that images pass through the
    model once; several processes combine theirs. Further views of a batch, of test-time augmentation, do not count.
    """

    def __init__(self) -> None:
        self._hook: RemovableHandle | None = None
        self._logits: Tensor | None = None

    def on_test_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if run_logger.run_loggers(trainer):
            self._probabilities, self._labels = (CatMetric("disable").to(pl_module.device) for _ in range(2))
            self._hook = pl_module.register_forward_hook(self._keep)

    def _keep(self, model: nn.Module, inputs: Any, logits: Tensor) -> None:
        self._logits = logits if self._logits is None else self._logits

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: Classifier, outputs: Any, batch: Batch, *_: int) -> None:
        if self._hook is not None and self._logits is not None:
            self._probabilities.update(pl_module.predict_probabilities(self._logits.float()))
            self._labels.update(batch.labels)
            self._logits = None

    def on_test_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if self._hook is None:
            return
        self._hook.remove()
        probabilities = self._probabilities.compute().cpu().numpy()  # of all processes, which therefore all ask
        labels = self._labels.compute().long().cpu().numpy()
        if not trainer.is_global_zero:
            return
        (logger,) = run_logger.run_loggers(trainer)
        for label, name in enumerate(observing.data(trainer).class_names):
            if (labels == label).any():
                scores, epoch = probabilities[:, label], run_logger.epochs_done(trainer)
                logger.experiment.add_pr_curve(f"pr/{name}", labels == label, scores, epoch)
