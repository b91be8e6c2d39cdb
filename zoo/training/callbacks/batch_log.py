"""The figures of single steps, for curves."""

from typing import Any, cast

import lightning as L

from zoo.core.classifier import Classifier


class BatchLog(L.Callback):
    """Logs "batch/loss" and "batch/lr" every `log_every_n_steps` optimizer steps.

    Straight to the loggers: `self.log` costs about a millisecond a step, logged or not, as much as a small network.

    Attributes:
        every_n_steps: see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`.
    """

    every_n_steps: int | None = None

    def __init__(self) -> None:
        self._logged = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Find out how often."""
        self._logged = trainer.global_step
        self.every_n_steps = cast(Any, trainer).log_every_n_steps if trainer.loggers else None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Classifier, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, where it is time to."""
        step = trainer.global_step
        # A batch whose gradients are only accumulated makes no step.
        if step != self._logged and self.every_n_steps and step % self.every_n_steps == 0:
            self._logged = step
            # A model that optimizes by itself need not return a loss.
            loss = {"batch/loss": outputs["loss"].item()} if outputs and "loss" in outputs else {}
            for logger in trainer.loggers:
                logger.log_metrics(loss | {"batch/lr": pl_module.last_lr()}, step)
