"""One row of metrics per epoch, as a CSV file."""

import time
from pathlib import Path
from typing import Any

import lightning as L

from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.runs import metrics_csv


def epoch_metrics(trainer: L.Trainer, model: Classifier) -> dict[str, float]:
    """Return an epoch's metrics at its end: "lr" (of its last step), "train/...", and "val/..." if it was validated."""
    metrics = {"lr": model.last_lr()} | model.train_metrics()  # which the model logs after the callbacks
    val = model.results.get("val", {})
    if val.get("epoch") == trainer.current_epoch:
        metrics |= {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        metrics |= {f"val/{name}": value for name, value in val.items() if isinstance(value, float)}
    return metrics


class History(L.Callback):
    """Writes a row per epoch to `path`: data, epoch (from 1), optimizer steps, seconds, lr, train/*, val/*.

    "seconds" covers the whole epoch, "train_seconds" leaves out its validations. Checkpoints hold the rows, so that a
    resumed run loses and repeats none. A `path` of None writes nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._epoch_started = time.perf_counter()
        self._elapsed = self._validated = self._validation_started = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all finished epochs, including those before an interruption."""
        return sum(row["seconds"] for row in self.rows)

    def state_dict(self) -> dict[str, Any]:
        elapsed = time.perf_counter() - self._epoch_started
        return {"rows": self.rows, "elapsed": elapsed, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; raise ValueError for rows that this class did not write."""
        rows = list(state_dict["rows"])
        for row in rows:
            numbers = [value for name, value in row.items() if name != "data"]
            if "seconds" not in row or not all(isinstance(number, (int, float)) for number in numbers):
                raise ValueError(f"the row {row} is not one of an epoch")
        self.rows = rows
        self._elapsed, self._validated = state_dict["elapsed"], state_dict.get("validated", 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._epoch_started = time.perf_counter() - self._elapsed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._epoch_started, self._validated = time.perf_counter(), 0.0

    def on_validation_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        devices.synchronize(trainer.strategy.root_device)  # the steps before it are no part of the validation
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._validated += time.perf_counter() - self._validation_started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        metrics = epoch_metrics(trainer, pl_module)  # before the clock is read: they wait for a GPU
        seconds = time.perf_counter() - self._epoch_started
        leading = {
            "data": getattr(getattr(trainer, "datamodule", None), "source_name", "unknown"),
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": seconds,
            "train_seconds": seconds - self._validated,
        }
        self.rows.append(leading | metrics)
        if self.path is not None and trainer.is_global_zero:
            metrics_csv.write(self.path, self.rows)
