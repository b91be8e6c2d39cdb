"""The share of dead ReLU units: they are 0 for every image, get no gradient, and do not recover."""

from functools import partial

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoo.core.classifier import Classifier
from zoo.training import run_logger


class DeadUnits(L.Callback):
    """Logs "val/dead_units": the share of ReLU units that are 0 for every image of the validation set.

    A unit is a neuron of a dense layer, or a channel of a convolution; a channel is dead if it is 0 everywhere in every
    image. The share of each layer is logged as "val_dead_units/LAYER". See Lu et al. 2019, "Dying ReLU and
    Initialization" (https://arxiv.org/abs/1903.06733).
    """

    def __init__(self) -> None:
        self._alive: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._alive = {}
        for name, module in pl_module.named_modules():
            if isinstance(module, nn.ReLU):
                self._hooks.append(module.register_forward_hook(partial(self._watch, name)))

    def _watch(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        fired = alive(output)
        known = self._alive.setdefault(name, fired)
        if len(known) != len(fired):  # a module that is used in several places has units in each
            known = self._alive.setdefault(f"{name}, {len(fired)} units", fired)
        known |= fired

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if not self._alive or trainer.sanity_checking:
            return
        # A unit is alive if it fires in any of the processes.
        layers = {name: trainer.strategy.reduce(a.float(), reduce_op="sum") > 0 for name, a in self._alive.items()}
        metrics = {f"val_dead_units/{name}": 1 - units.float().mean().item() for name, units in layers.items()}
        metrics["val/dead_units"] = 1 - torch.cat(list(layers.values())).float().mean().item()
        run_logger.log_metrics(trainer, pl_module, metrics)


def alive(output: Tensor) -> Tensor:
    """Return which units are above 0 in (n, units), (n, channels, height, width), (n, tokens, units) or (n,)."""
    if output.ndim < 2:
        return (output > 0).any().reshape(1)
    return (output > 0).movedim(-1 if output.ndim == 3 else 1, 0).flatten(1).any(1)
