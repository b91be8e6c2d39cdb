"""The checkpoints of a run, `best.ckpt` and `last.ckpt`."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class RunCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` for one file, saved at the end of an epoch; the run's folder may be moved.

    A run has one for the epoch with the largest `monitor`, and one, without it, for the last epoch: a single one with
    `save_last` would save the last epoch only if it is the best.
    """

    every_n_steps: int | None = None  # see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`
    PATHS = ("best_model_path", "kth_best_model_path", "last_model_path", "dirpath")

    def __init__(self, name: str, monitor: str | None = None) -> None:
        options: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
        super().__init__(filename=name, monitor=monitor, mode="max", save_top_k=1, **options)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, unless the metric is missing because there was no validation yet."""
        if self.monitor is None or self.monitor in trainer.callback_metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        names = {name: Path(state[name] or "").name for name in self.PATHS}
        return {**state, **names, "best_k_models": {Path(k).name: v for k, v in state["best_k_models"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, unless the run has no such file; raise TypeError if a score is no tensor."""
        for score in (state_dict["best_model_score"], *state_dict["best_k_models"].values()):
            if score is not None and not (isinstance(score, Tensor) and score.ndim == 0):
                raise TypeError(f"the score of {state_dict['best_model_path']} is {score}")
        directory = Path(self.dirpath or "")
        if not (directory / state_dict["best_model_path"]).is_file():
            return
        places = {name: str(directory / Path(state_dict[name]).name) for name in self.PATHS if state_dict[name]}
        best = {str(directory / Path(k).name): v for k, v in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **places, "dirpath": self.dirpath, "best_k_models": best})
