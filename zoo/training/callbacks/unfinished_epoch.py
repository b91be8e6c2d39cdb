"""The metrics of an unfinished epoch in a checkpoint."""

from typing import Any, cast

import lightning as L
from torch import Tensor

from zoo.core.classifier import Classifier


class UnfinishedEpoch(L.Callback):
    """Saves the training metrics of the epoch so far and the last validation's, and restores them in a resumed run."""

    def __init__(self) -> None:
        self._restored: dict[str, Tensor] = {}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        """Add the metrics, those of training as sums over all processes."""
        checkpoint["results"] = {stage: pl_module.results[stage] for stage in ("val",) if stage in pl_module.results}
        checkpoint["train_metrics"] = {
            name: trainer.strategy.reduce(cast(Tensor, value).clone(), reduce_op="sum")
            for name, value in pl_module.stage_metrics("train").metric_state.items()
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        """Take the metrics; the model's own are in use until training starts."""
        if trainer.state.fn == "fit":
            self._restored = checkpoint.get("train_metrics", {})
            pl_module.results |= checkpoint.get("results", {})

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if trainer.is_global_zero:
            for name, value in self._restored.items():
                cast(Tensor, pl_module.stage_metrics("train").metric_state[name]).copy_(value)
        self._restored = {}
