"""Ctrl-C and SIGTERM end training after the current step, with a checkpoint to resume from."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from zoo.core.signals import ENDING, Stopped, handle, stop_at_once


class GracefulStop(L.Callback):
    """Saves a checkpoint within an epoch: after a signal, which also ends training, and every `every_n_steps`.

    A signal during a validation takes effect after it. A second signal ends the process at once. So does the first one
    during a test, or a validation without training.

    Lightning installs its own handler for SIGTERM just before a trainer starts, and restores all handlers at the end.
    This callback therefore installs its handlers in the first hook after that.
    """

    AGREE_EVERY_N_STEPS = 10  # how often several processes agree on whether to stop, which takes time

    def __init__(self, every_n_steps: int | None = None) -> None:
        self.every_n_steps = every_n_steps
        self.path: Path | None = None  # of the checkpoint; None saves nothing
        self.requeue: signal.Signals | None = None  # SLURM's signal for a job that is queued again
        self._received: int | None = None
        self._stopping = False
        self._due = self._saved = False
        self._last_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last_step = trainer.global_step
        self._install(self._receive)

    on_sanity_check_start = on_train_start

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._install(stop_at_once)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._install(stop_at_once)

    def _install(self, handler: Any) -> None:
        handle(ENDING if self.requeue is None else (*ENDING, self.requeue), handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # SLURM sends SIGTERM after its signal to queue the job again.
        if self._received is not None and self._received != self.requeue:
            raise Stopped(number, "at once")
        self._received = self._received or number

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Save between two steps; the end of an epoch has its own checkpoint."""
        step, batches = trainer.global_step, trainer.fit_loop.batch_idx + 1
        if step == self._last_step or batches >= trainer.num_training_batches:
            self._due = False
            return
        must_agree = step // self.AGREE_EVERY_N_STEPS > self._last_step // self.AGREE_EVERY_N_STEPS
        if trainer.world_size == 1 or must_agree:
            self._stopping = self._is_asked_to_stop(trainer)
        self._last_step, self._saved = step, False
        self._due = self._stopping or (self.every_n_steps is not None and step % self.every_n_steps == 0)
        # A run resumed from just before a validation would skip it, so the checkpoint waits for the validation's end.
        interval = trainer.val_check_batch
        if not isinstance(interval, int) or batches % interval:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the checkpoint that was due before a validation within an epoch."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        if self._due:
            if self.path is not None:
                trainer.save_checkpoint(self.path, weights_only=False)
            self._due, self._saved = False, True

    # Training stops at the start of the next step or epoch, so that the last one is logged like all others.

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if self._stopping and self._saved:
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after a signal since the last step."""
        if self._is_asked_to_stop(trainer):
            self._stop(trainer)

    on_fit_end = on_train_epoch_start

    def _is_asked_to_stop(self, trainer: L.Trainer) -> bool:
        return _in_any_process(trainer, self._received is not None)

    def _stop(self, trainer: L.Trainer) -> None:
        number = self._received or signal.SIGTERM
        if self.requeue is not None and _in_any_process(trainer, self._received == self.requeue):
            number = self.requeue
        raise Stopped(number, f"after step {trainer.global_step}")


def _in_any_process(trainer: L.Trainer, decision: bool) -> bool:
    return decision if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(decision, all=False)
