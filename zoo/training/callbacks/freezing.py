"""`--freeze`: the head alone learns in the first epochs."""

from typing import Any

import lightning as L
from torch import nn
from torch.optim import Optimizer

from zoo.core.classifier import Classifier


class Freezing(L.Callback):
    """Freezes all but the head for a model's first `frozen_epochs` epochs.

    All other modules compute as in evaluation: batch norm uses its running statistics and leaves them as they are, and
    dropout drops nothing. A module that contains the head stays in training mode.

    Frozen parameters lose their gradients before each step. An optimizer leaves a parameter without a gradient as it
    is, and keeps no state for it. With `requires_grad_(False)` instead, several processes would wait for gradients that
    never come, and optimizers that are built anew would lack parameters.

    Args:
        stops_backward: whether the backward pass ends at the head, in a single process. The hook that ends it must not
            be compiled into the network.
    """

    every_n_steps: int | None = None  # see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`

    def __init__(self, stops_backward: bool = True) -> None:
        self.stops_backward = stops_backward
        self._in_evaluation: list[nn.Module] = []
        self._hook: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Freeze at the start, and in a run that resumes in the middle of an epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if trainer.current_epoch >= pl_module.frozen_epochs:
            self._unfreeze(pl_module)
        elif not pl_module.frozen:
            self._freeze(pl_module, self.stops_backward and trainer.world_size == 1)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Classifier, optimizer: Optimizer) -> None:
        for parameter in pl_module.frozen:
            parameter.grad = None

    def on_train_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._unfreeze(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: Classifier, exception: BaseException) -> None:
        self._unfreeze(pl_module)

    def _freeze(self, model: Classifier, stops_backward: bool) -> None:
        path = model.head_path()
        head = model.get_submodule(path)
        learning = set(head.parameters())
        model.frozen = [parameter for parameter in model.parameters() if parameter not in learning]
        for name, module in model.named_modules():
            is_around = not name or f"{path}.".startswith(f"{name}.")
            if module.training and not is_around and not name.startswith(f"{path}."):
                self._in_evaluation.append(module)
                module.training = False
        if stops_backward:
            self._hook = head.register_forward_pre_hook(_detach)

    def _unfreeze(self, model: Classifier) -> None:
        for module in self._in_evaluation:
            module.training = True
        if self._hook is not None:
            self._hook.remove()
        model.frozen, self._in_evaluation, self._hook = [], [], None


def _detach(head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.detach() if hasattr(value, "detach") else value for value in inputs)
