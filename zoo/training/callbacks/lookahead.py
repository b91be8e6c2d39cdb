"""Slow weights that follow the fast ones."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.errors import InputError
from zoo.core.classifier import Classifier


class Lookahead(L.Callback):
    """Every few steps moves slow weights towards the weights, and sets the weights to them; at the end, once more.

    Lookahead (Zhang et al. 2019, https://arxiv.org/abs/1907.08610) as airbench does it (Jordan 2024,
    https://arxiv.org/abs/2404.00498, section 3.5): with the share f of the training done

        slow <- keep f³ slow + (1 - keep f³) weights,      weights <- slow

    so that it does next to nothing at first and averages in the end. The running statistics of batch norm are weights,
    too. What the last steps learn after the last time is dropped.

    Args:
        every_n_steps: how often, at least 1.
        keep: how much of the slow weights is kept in the end, 0..1; 0.95 to the fifth power by default.

    Raises:
        InputError: for an argument out of its range; and as a training begins that has no end.
    """

    def __init__(self, every_n_steps: int = 5, keep: float = 0.95**5) -> None:
        if every_n_steps < 1:
            raise InputError(f"Lookahead: every_n_steps={every_n_steps} is out of range: give a number of at least 1")
        if not 0 <= keep <= 1:
            raise InputError(f"Lookahead: keep={keep} is out of range: give a number from 0 to 1")
        self.every_n_steps, self.keep = every_n_steps, keep
        self._slow: dict[str, Tensor] = {}
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint takes: the slow weights."""
        return {"slow": self._slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._slow = dict(state_dict["slow"])

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Start from the weights, or from where a checkpoint was."""
        if math.isinf(pl_module.training_steps()):
            raise InputError("Lookahead has to know the end: give --trainer.max_epochs or --trainer.max_steps")
        self._step = trainer.global_step
        self._slow = {
            name: self._slow[name].to(weight.device) if name in self._slow else weight.clone()
            for name, weight in _weights(pl_module).items()
        }

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Classifier, *args: Any) -> None:
        """Look at the step's number, where the batch made one."""
        if trainer.global_step == self._step:
            return
        self._step = step = trainer.global_step
        steps = pl_module.training_steps()
        if step % self.every_n_steps == 0:
            kept = self.keep * (step / steps) ** 3
            self.move(_weights(pl_module), kept)
        if step == steps:
            self.move(_weights(pl_module), 1.0)

    def on_train_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Forget the slow weights: another training starts from its own."""
        self._slow = {}

    @torch.no_grad()
    def move(self, weights: dict[str, Tensor], kept: float) -> None:
        """Keep that share of the slow weights, and set the weights to them."""
        for name, weight in weights.items():
            weight.copy_(self._slow[name].lerp_(weight, 1 - kept))


def _weights(model: Classifier) -> dict[str, Tensor]:
    """Return what of a model can be averaged."""
    return {name: weight for name, weight in model.state_dict().items() if weight.is_floating_point()}
