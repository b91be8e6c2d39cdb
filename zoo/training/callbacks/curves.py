"""Curves of the model's metrics in the run's TensorBoard."""

from collections.abc import Mapping

import lightning as L

from zoo.core.classifier import Classifier
from zoo.training.run_logger import is_within_epoch, run_loggers


class Curves(L.Callback):
    """Writes the model's metrics to the run's `RunLogger`: once an epoch, and after the test.

    The last validation of an epoch counts for the epoch, even if training steps followed it. Each validation within an
    epoch is also written by optimizer step, as "batch/val/...".

    This callback comes before those that save checkpoints: a resumed run logs again what follows its checkpoint.
    """

    def setup(self, trainer: L.Trainer, pl_module: Classifier, stage: str) -> None:
        for logger in run_loggers(trainer):
            logger.epoch_names = pl_module.logged_names  # the set grows as the model logs

    def on_validation_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if is_within_epoch(trainer):
            self._log(trainer, pl_module.named_results("val"))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        is_validated = pl_module.results.get("val", {}).get("epoch") == trainer.current_epoch
        val = pl_module.named_results("val") if is_validated else {}
        self._log(trainer, {"lr": pl_module.last_lr()} | pl_module.train_metrics() | val)

    def on_test_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._log(trainer, pl_module.named_results("test"))

    def _log(self, trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        for logger in run_loggers(trainer):
            logger.log_epoch(metrics, trainer)
