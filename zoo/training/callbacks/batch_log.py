"""Metrics of single optimizer steps, for curves."""

from typing import Any, cast

import lightning as L

from zoo.core.classifier import Classifier


class BatchLog(L.Callback):
    """Logs "batch/loss" and "batch/lr" every `log_every_n_steps` optimizer steps.

    It calls the loggers itself: `self.log` takes about a millisecond per step, as long as a step of a small network.
    """

    every_n_steps: int | None = None  # see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`

    def __init__(self) -> None:
        self._logged = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._logged = trainer.global_step
        self.every_n_steps = cast(Any, trainer).log_every_n_steps if trainer.loggers else None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Classifier, outputs: Any, *_: Any) -> None:
        step = trainer.global_step
        # With accumulated gradients, not every batch makes a step.
        if step != self._logged and self.every_n_steps and step % self.every_n_steps == 0:
            self._logged = step
            # A model with manual optimization need not return a loss.
            loss = {"batch/loss": outputs["loss"].item()} if outputs and "loss" in outputs else {}
            for logger in trainer.loggers:
                logger.log_metrics(loss | {"batch/lr": pl_module.last_lr()}, step)
