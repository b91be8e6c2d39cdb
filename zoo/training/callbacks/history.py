"""One row of figures an epoch, as a CSV file."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.runs import metrics_csv


def epoch_figures(trainer: L.Trainer, model: Classifier) -> dict[str, float]:
    """Return an epoch's figures at its end: "lr" (of its last step), "train/...", and "val/..." where it validated.

    Callbacks are called before the model logs the epoch's training figures, so those are asked of the model.
    """
    figures = {"lr": model.last_lr()} | model.train_figures()
    val = model.results.get("val", {})
    if val.get("epoch") == trainer.current_epoch:
        figures |= {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        figures |= {f"val/{name}": value for name, value in val.items() if isinstance(value, float)}
    return figures


class History(L.Callback):
    """Writes a row an epoch to `path`: data, epoch (from 1), optimizer steps, seconds, lr, train/*, val/*.

    "seconds" are those of the whole epoch, "train_seconds" those without its validations.

    Checkpoints hold the rows, so that a resumed run goes on where its checkpoint is, with no epoch lost or doubled.

    Attributes:
        path: the CSV file; None writes nothing.
        rows: the epochs so far.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._epoch_started = time.perf_counter()
        self._elapsed = self._validated = self._validation_started = 0.0

    @property
    def seconds(self) -> float:
        """How long the finished epochs took, those before an interruption too."""
        return sum(row["seconds"] for row in self.rows)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint takes: the rows, and the seconds of the epoch so far."""
        elapsed = time.perf_counter() - self._epoch_started
        return {"rows": self.rows, "elapsed": elapsed, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: for rows that this class did not write.
        """
        rows = list(state_dict["rows"])
        for row in rows:
            numbers = [value for name, value in row.items() if name != "data"]
            if "seconds" not in row or not all(isinstance(number, (int, float)) for number in numbers):
                raise ValueError(f"the row {row} is not one of an epoch")
        self.rows = rows
        self._elapsed, self._validated = state_dict["elapsed"], state_dict.get("validated", 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Go on with the clock of an unfinished epoch."""
        self._epoch_started = time.perf_counter() - self._elapsed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Start the epoch's clock."""
        self._epoch_started, self._validated = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Start the validation's clock, once the device has done the steps before it."""
        devices.synchronize(trainer.strategy.root_device)
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Stop it."""
        self._validated += time.perf_counter() - self._validation_started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Add the epoch's row."""
        figures = epoch_figures(trainer, pl_module)  # which wait for a GPU: the clock is read after them
        seconds = time.perf_counter() - self._epoch_started
        leading = {
            "data": getattr(getattr(trainer, "datamodule", None), "source_name", "unknown"),
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": seconds,
            "train_seconds": seconds - self._validated,
        }
        self.rows.append(leading | figures)
        self._write()

    @rank_zero_only
    def _write(self) -> None:
        if self.path is not None:
            metrics_csv.write(self.path, self.rows)
