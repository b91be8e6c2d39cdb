"""Callbacks that tests name in a config, or share."""

import os
import signal
import time
from pathlib import Path

import lightning as L
import torch


class SignalAt(L.Callback):
    """Sends this process a signal in a training step, or in the validation that follows it.

    Args:
        step: optimizer steps done before.
        name: of the signal.
        validating: whether to wait for the validation.
        rank: the process that gets it; None for all.
    """

    def __init__(self, step: int, name: str = "SIGTERM", validating: bool = False, rank: int | None = None) -> None:
        self.step, self.number, self.validating, self.rank = step, signal.Signals[name], validating, rank

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        mine = self.rank in (None, trainer.global_rank)
        if mine and not self.validating and trainer.global_step == self.step:
            signal.raise_signal(self.number)

    def on_validation_batch_start(self, trainer, *args):
        if self.validating and trainer.global_step == self.step:
            signal.raise_signal(self.number)


class SignalAfter(L.Callback):
    """Sends this process a signal after a training step, also where a model makes its steps itself.

    Args:
        step: optimizer steps done.
        name: of the signal.
        every_n_steps: None leaves the attribute out, which NumPy models look at.
        rank: the process that gets it; None for all.
    """

    def __init__(
        self, step: int, name: str = "SIGTERM", every_n_steps: int | None = None, rank: int | None = None
    ) -> None:
        self.step, self.number, self.rank = step, signal.Signals[name], rank
        if every_n_steps is not None:
            self.every_n_steps = every_n_steps

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step and self.rank in (None, trainer.global_rank):
            signal.raise_signal(self.number)


class KeepsBuffers(L.Callback):
    """Writes the buffers of the model, as validation uses them, to DIR/RANK.pt in each process."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_validation_batch_end(self, trainer, pl_module, *_):
        torch.save(dict(pl_module.named_buffers()), Path(self.folder) / f"{trainer.global_rank}.pt")


class WantsTheLog(L.Callback):
    """Needs a logger when a run is set up, as Lightning's own DeviceStatsMonitor does."""

    def setup(self, trainer, pl_module, stage):
        if stage == "fit" and trainer.logger is None:
            raise ValueError("no logger")


class PoisonAt(L.Callback):
    """Makes a weight NaN after so many optimizer steps: the loss is NaN from the next one on."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[0] = torch.nan


class KilledAtStart(L.Callback):
    """Ends one process of a run before its first epoch; the others wait for it for ever.

    Args:
        rank: of the process.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_start(self, trainer, pl_module):
        trainer.strategy.barrier()
        if trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(3600)


class Batches(L.Callback):
    """Records the batches of a training: their images and labels."""

    def __init__(self) -> None:
        self.batches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append((batch.images.clone(), batch.labels.clone()))
