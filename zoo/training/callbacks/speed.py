"""How fast a model trains."""

import lightning as L

from zoo.core.classifier import Classifier
from zoo.training.callbacks.history import History


class Speed(L.Callback):
    """Logs "perf/seconds_per_epoch", and "perf/images_per_second" of training without the validations.

    An epoch that a resumed run began in the middle has none.

    Args:
        history: that has the epochs' seconds, and comes before this in the list of callbacks.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._is_whole = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Know nothing of the epoch at hand."""
        self._is_whole = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Know the epoch from its start."""
        self._is_whole = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log."""
        if self._is_whole and trainer.loggers:
            epoch, images = self.history.rows[-1], pl_module.images_trained()
            speed = images / epoch["train_seconds"]
            figures = {"perf/seconds_per_epoch": epoch["seconds"], "perf/images_per_second": speed}
            pl_module.log_figures(figures)
