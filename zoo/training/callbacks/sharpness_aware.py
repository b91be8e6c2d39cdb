"""`--sam`: sharpness-aware minimization, for models that PyTorch differentiates."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from zoo.core.classifier import Classifier

EPSILON = 1e-12  # keeps the division from 0 / 0


class SharpnessAware(L.Callback):
    """Gives the optimizer the gradient at nearby weights with a larger loss, so that it finds flat minima.

    Sharpness-aware minimization (SAM; Foret et al. 2020, https://arxiv.org/abs/2010.01412) around any optimizer. With
    the gradient g of the loss at the weights w and rho, the model's `sam`,

        w' = w + rho g / |g|,      g' = the gradient at w',

    the optimizer steps from w by g'. Several processes go to the same w', by the mean of their gradients; the paper's
    go to one each. Penalties and weight decay take no part in w'.

    Metrics, the logged loss and all buffers, such as batch norm's running statistics, are those of the first pass.
    Dropout draws anew in the second pass. Frozen parameters stay in place.
    """

    def __init__(self) -> None:
        self._batch: tuple[Any, int] | None = None
        self._is_second_pass = False

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Classifier, batch: Any, batch_idx: int) -> None:
        self._batch = batch, batch_idx

    def on_after_backward(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if self._is_second_pass:
            return
        frozen = set(pl_module.frozen)
        weights: list[Tensor] = [w for w in pl_module.parameters() if w.grad is not None and w not in frozen]
        kept = [*weights, *pl_module.buffers()]
        before = [tensor.detach().clone() for tensor in kept]
        counted, pl_module.counts, self._is_second_pass = pl_module.counts, False, True
        try:
            _climb(weights, pl_module.sam)
            self._differentiate(trainer, pl_module)
        finally:
            pl_module.counts, self._is_second_pass = counted, False
            with torch.no_grad():
                torch._foreach_copy_(kept, before)

    def _differentiate(self, trainer: L.Trainer, model: Classifier) -> None:
        """Replace the gradients by those at the weights that the model has now."""
        output = trainer.strategy.training_step(*self._batch or ())
        loss = output["loss"] if isinstance(output, Mapping) else output
        model.zero_grad()
        assert isinstance(loss, Tensor)
        trainer.strategy.backward(loss, trainer.optimizers[0])

    def on_train_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._batch = None


@torch.no_grad()
def _climb(weights: list[Tensor], distance: float) -> None:
    """Move weights by `distance` in the direction of their gradients. Waits for no device."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = nn.utils.get_total_norm(gradients).float()
    torch._foreach_add_(weights, torch._foreach_mul(gradients, distance / (norm + EPSILON)))
