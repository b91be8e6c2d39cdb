"""Ctrl-C and SIGTERM end a run after the step at hand, with a checkpoint to go on from."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from datamodules.errors import RunError


class GracefulStop(L.Callback):
    """Saves a checkpoint in the middle of an epoch: when a signal asks to stop, and every `every_n_steps`.

    A signal that comes while the model is validated waits for the end of it, where a checkpoint is saved anyway. A
    second signal is not waited with.

    Args:
        every_n_steps: optimizer steps from one checkpoint to the next; None saves at the end of each epoch only.

    Attributes:
        path: of the checkpoint; None saves nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    # The processes of a run have to agree on where to stop, which takes time: they talk about it this often.
    AGREE_EVERY_N_STEPS = 10

    def __init__(self, every_n_steps: int | None = None) -> None:
        self.every_n_steps = every_n_steps
        self.path: Path | None = None
        self._received: int | None = None
        self._stopping = False
        self._due = self._saved = False
        self._last_step = 0
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over."""
        self._last_step = trainer.global_step
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.raise_signal(number)
        self._received = number

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

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _is_asked_to_stop(self, trainer: L.Trainer) -> bool:
        asked = self._received is not None
        return asked if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(asked, all=False)

    def _stop(self, trainer: L.Trainer) -> None:
        number = signal.Signals(self._received or signal.SIGTERM)
        saved = self.path is not None and self.path.is_file()
        left = f"go on with: fit --resume {self.path.parent.parent}" if saved and self.path else "nothing was saved"
        raise RunError(f"stopped by {number.name} after step {trainer.global_step}: {left}", exit_code=128 + number)
