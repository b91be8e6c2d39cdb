"""Lookahead: slow weights that follow the trained ones."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.errors import InputError
from zoo.core.classifier import Classifier


class Lookahead(L.Callback):
    """Every few steps, moves slow weights towards the weights and copies them back; at the end of training once more.

    Lookahead (Zhang et al. 2019, https://arxiv.org/abs/1907.08610) as in airbench (Jordan 2024,
    https://arxiv.org/abs/2404.00498, section 3.5). With the fraction f of training done:

        slow <- keep f³ slow + (1 - keep f³) weights,      weights <- slow

    At first it hardly changes the weights; towards the end it averages them, and batch norm's running statistics, too.

    Args:
        every_n_steps: steps from one update to the next, at least 1.
        keep: share of the slow weights that an update at the end of training keeps, 0..1.
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
        return {"slow": self._slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._slow = dict(state_dict["slow"])

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if math.isinf(pl_module.training_steps()):
            raise InputError("Lookahead has to know the end: give --trainer.max_epochs or --trainer.max_steps")
        self._step = trainer.global_step
        self._slow = {
            name: self._slow[name].to(weight.device) if name in self._slow else weight.clone()
            for name, weight in _weights(pl_module).items()
        }

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Classifier, *args: Any) -> None:
        if trainer.global_step == self._step:
            return
        self._step = step = trainer.global_step
        steps = pl_module.training_steps()
        if step % self.every_n_steps == 0:
            self.move(_weights(pl_module), self.keep * (step / steps) ** 3)
        if step == steps:
            self.move(_weights(pl_module), 1.0)

    def on_train_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._slow = {}

    @torch.no_grad()
    def move(self, weights: dict[str, Tensor], kept: float) -> None:
        """Keep a share of the slow weights, and copy them to the weights."""
        for name, weight in weights.items():
            weight.copy_(self._slow[name].lerp_(weight, 1 - kept))


def _weights(model: Classifier) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.state_dict().items() if weight.is_floating_point()}
