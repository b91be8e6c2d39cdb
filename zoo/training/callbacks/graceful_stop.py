"""Ctrl-C and SIGTERM end training after the step at hand, with a checkpoint to go on from."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from zoo.core.signals import ENDING, Stopped, handle, stop_at_once


class GracefulStop(L.Callback):
    """Saves a checkpoint in the middle of an epoch: when a signal asks to stop, and every `every_n_steps`.

    A signal that comes while the model is validated waits for the end of it, where a checkpoint is saved anyway. A
    second signal is not waited with. A test, or a validation alone, is stopped at once.

    Lightning installs a handler of its own for SIGTERM just before a trainer starts, and takes back all handlers when
    it ends. The ones of this callback are put in its place at the first moment after that.

    Args:
        every_n_steps: optimizer steps from one checkpoint to the next; None saves at the end of each epoch only.

    Attributes:
        path: of the checkpoint; None saves nothing.
        requeue: a further signal that stops training, with which SLURM says that a job is to be queued again.
    """

    # The processes of a run have to agree on where to stop, which takes time: they talk about it this often.
    AGREE_EVERY_N_STEPS = 10

    def __init__(self, every_n_steps: int | None = None) -> None:
        self.every_n_steps = every_n_steps
        self.path: Path | None = None
        self.requeue: signal.Signals | None = None
        self._received: int | None = None
        self._stopping = False
        self._due = self._saved = False
        self._last_step = 0

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over."""
        self._take_over(self._receive)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over."""
        self._last_step = trainer.global_step
        self._take_over(self._receive)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over."""
        self._take_over(stop_at_once)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over, where a model is validated and not trained."""
        if trainer.state.fn != "fit":
            self._take_over(stop_at_once)

    def _take_over(self, handler: Any) -> None:
        handle(ENDING if self.requeue is None else (*ENDING, self.requeue), handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # SLURM sends SIGTERM after the signal to queue a job again, which is under way then.
        if self._received is not None and self._received != self.requeue:
            raise Stopped(number, "at once")
        self._received = self._received or number

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, between two steps and not at the end of an epoch, which has its own checkpoint."""
        step, batches = trainer.global_step, trainer.fit_loop.batch_idx + 1
        if step == self._last_step or batches >= trainer.num_training_batches:
            self._due = False
            return
        it_is_time = step // self.AGREE_EVERY_N_STEPS > self._last_step // self.AGREE_EVERY_N_STEPS
        if trainer.world_size == 1 or it_is_time:
            self._stopping = self._is_asked_to_stop(trainer)
        self._last_step, self._saved = step, False
        self._due = self._stopping or (self.every_n_steps is not None and step % self.every_n_steps == 0)
        # A run that goes on from just before a validation would leave it out: what is due waits for the end of it.
        interval = trainer.val_check_batch
        if not isinstance(interval, int) or batches % interval:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what was due before a validation in the middle of an epoch."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        if self._due:
            if self.path is not None:
                trainer.save_checkpoint(self.path, weights_only=False)
            self._due, self._saved = False, True

    # Stopping waits for the next step, or the next epoch, so that the last one is logged as all others are.

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop."""
        if self._stopping and self._saved:
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop where asked to since the last step of the epoch before."""
        if self._is_asked_to_stop(trainer):
            self._stop(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop where asked to since the last step of all."""
        if self._is_asked_to_stop(trainer):
            self._stop(trainer)

    def _is_asked_to_stop(self, trainer: L.Trainer) -> bool:
        return _in_any_process(trainer, self._received is not None)

    def _stop(self, trainer: L.Trainer) -> None:
        number = self._received or signal.SIGTERM
        if self.requeue is not None and _in_any_process(trainer, self._received == self.requeue):
            number = self.requeue
        raise Stopped(number, f"after step {trainer.global_step}")


def _in_any_process(trainer: L.Trainer, is_so: bool) -> bool:
    return is_so if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(is_so, all=False)
