"""How fast a model trains."""

import time

import lightning as L

from zoo.classifier import Classifier
from zoo.run_logger import RunLogger


class Speed(L.Callback):
    """Logs "perf/seconds_per_epoch", and "perf/images_per_second" of training without the validations.

    An epoch that a resumed run began in the middle has none.
    """

    def __init__(self) -> None:
        self._epoch_started: float | None = None
        self._validation_started = self._validated = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Know nothing of the epoch at hand."""
        self._epoch_started = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Start the clock."""
        self._epoch_started, self._validated = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Stop the clock of training."""
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Go on with it."""
        self._validated += time.perf_counter() - self._validation_started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log."""
        if self._epoch_started is None or not isinstance(trainer.logger, RunLogger):
            return
        images = pl_module.images_trained()  # which waits for a GPU: the clock is read after it
        seconds = time.perf_counter() - self._epoch_started
        speed = images / (seconds - self._validated)
        trainer.logger.log_figures({"perf/seconds_per_epoch": seconds, "perf/images_per_second": speed}, trainer)
