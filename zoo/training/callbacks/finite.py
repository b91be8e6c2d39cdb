"""Ends a run whose loss or weights are no longer finite, before they get into a checkpoint."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.errors import RunError
from zoo.core.classifier import Classifier


class StopWhenNotFinite(L.Callback):
    """Checks the sum of the epoch's losses every `every_n_steps`, and before each checkpoint the weights, too.

    A single loss that is not finite makes the sum NaN or infinite. Reading the sum waits for the device, so not every
    step is checked. Weights are the parameters, and the buffers that are finite in a newly built model: an attention
    mask holds -inf on purpose.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self.path: Path | None = None  # the run's last checkpoint; None if none is saved
        self._exempt: set[str] = set()  # names of buffers

    def setup(self, trainer: L.Trainer, pl_module: Classifier, stage: str) -> None:
        """Note the buffers that are not finite yet; the trainer loads a checkpoint after this."""
        if stage == "fit":
            parameters = dict(pl_module.named_parameters())
            started = pl_module.state_dict().items()
            self._exempt = {name for name, t in started if name not in parameters and not _is_finite(t)}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Classifier, *_: Any) -> None:
        """Check the losses, always at the end of an epoch."""
        is_last = trainer.fit_loop.batch_idx + 1 == trainer.num_training_batches
        if trainer.global_step % self.every_n_steps == 0 or is_last:
            self._check(trainer, pl_module, "loss", pl_module.train_loss_is_finite())

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        self._check(trainer, pl_module, "loss", pl_module.train_loss_is_finite())
        finite = [_is_finite(t) for name, t in pl_module.state_dict().items() if name not in self._exempt]
        self._check(trainer, pl_module, "weights", bool(torch.stack(finite).all()))

    def _check(self, trainer: L.Trainer, pl_module: Classifier, what: str, finite: bool) -> None:
        if trainer.strategy.reduce_boolean_decision(finite):  # of all processes
            return
        saved = self.path is not None and self.path.is_file()
        left = f"the last good checkpoint is {self.path}" if saved else "no checkpoint was saved yet"
        remedy = "Lower --optimizer.lr, or add --trainer.gradient_clip_val 1"
        if trainer.precision == "16-true":
            remedy += ", or take --trainer.precision bf16-true: in float16 the epsilon of Adam and AdamW, 1e-8, is 0"
        raise RunError(
            f"training diverged: the {what} is not finite any more, as seen after step {trainer.global_step} "
            f"(epoch {trainer.current_epoch + 1}) at a learning rate of {pl_module.last_lr():.3g}; {left}. {remedy}"
        )


def _is_finite(tensor: Tensor) -> Tensor:
    # PyTorch lacks isfinite for most 8-bit floating-point types.
    is_small = tensor.is_floating_point() and tensor.dtype.itemsize == 1
    return (tensor.float() if is_small else tensor).isfinite().all()
