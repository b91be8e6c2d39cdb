"""Progress on the terminal: a bar, and a line per epoch."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from zoo.training.callbacks.history import History


class ProgressBar(TQDMProgressBar):
    """Lightning's bar and the last batch's loss, drawn at most twice a second and only on a terminal."""

    SECONDS = 0.5
    every_n_steps: int | None = None  # see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._drawn = 0.0
        if not sys.stdout.isatty():
            self.disable()

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        """Return nothing: `EpochLine` prints the metrics."""
        return {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        now = time.perf_counter()
        if self.is_enabled and now - self._drawn >= self.SECONDS:
            self._drawn = now
            self.train_progress_bar.n = trainer.fit_loop.batch_idx + 1
            if isinstance(outputs, dict) and "loss" in outputs:
                self.train_progress_bar.set_postfix(loss=f"{outputs['loss'].item():.3f}", refresh=False)
            self.train_progress_bar.refresh()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do nothing: `EpochLine` prints the line."""


class EpochLine(L.Callback):
    """Prints a line after each epoch: losses, accuracies, learning rate, seconds, time left.

    The callback comes after `history`, which has the epoch's metrics, in the trainer's list.
    """

    SHOWN = ("train/loss", "train/acc", "val/loss", "val/acc", "val/dead_units")

    def __init__(self, history: History) -> None:
        self.history = history
        self._started = 0.0
        self._first_epoch = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()
        self._first_epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        row = self.history.rows[-1]
        if not trainer.is_global_zero:
            return
        done = trainer.current_epoch + 1
        epochs = trainer.max_epochs or -1  # -1: without end
        parts = [f"epoch {done}/{epochs}" if epochs > 0 else f"epoch {done}"]
        parts += [f"{name} {row[name]:.4f}" for name in self.SHOWN if name in row]
        parts += [f"lr {row['lr']:.2g}", f"{row['seconds']:.1f} s"]
        if done < epochs:
            per_epoch = (time.perf_counter() - self._started) / (done - self._first_epoch)
            parts.append(f"{_duration(per_epoch * (epochs - done))} left")
        bar = trainer.progress_bar_callback
        if isinstance(bar, ProgressBar) and bar.is_enabled:
            bar.print("  ".join(parts))  # above the bar, not across it
        else:
            print("  ".join(parts), flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
