"""How fast a model trains."""

import lightning as L

from zoo.core.classifier import Classifier
from zoo.training import run_logger
from zoo.training.callbacks.history import History


class Speed(L.Callback):
    """Logs "perf/seconds_per_epoch", and "perf/images_per_second" of training without the validations.

    An epoch that a resumed run finishes has neither. The callback comes after `history` in the trainer's list.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._is_whole = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._is_whole = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._is_whole = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if self._is_whole and trainer.loggers:
            epoch, images = self.history.rows[-1], pl_module.images_trained()
            speed = images / epoch["train_seconds"]
            metrics = {"perf/seconds_per_epoch": epoch["seconds"], "perf/images_per_second": speed}
            run_logger.log_metrics(trainer, pl_module, metrics)
