"""The reason why training ended before its last epoch."""

import shlex
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, Timer

from zoo.training.callbacks.early_stopping import EpochEarlyStopping


class Ending(L.Callback):
    """Prints one line if a callback ends training early: the step, the reason, and how to resume the run."""

    def __init__(self) -> None:
        self.path: Path | None = None  # the run's last checkpoint; None if none is saved

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch, step = trainer.current_epoch, trainer.global_step
        is_whole_epoch = trainer.fit_loop.batch_idx + 1 >= trainer.num_training_batches
        is_planned = (epoch == trainer.max_epochs and is_whole_epoch) or step == trainer.max_steps
        if trainer.should_stop and not is_planned and trainer.is_global_zero:
            when = f"{'after' if is_whole_epoch else 'within'} epoch {epoch} (step {step})"
            print(f"Training stopped {when}: {self._reason(trainer)}", flush=True)

    def _reason(self, trainer: L.Trainer) -> str:
        for callback in cast(Any, trainer).callbacks:
            if isinstance(callback, EpochEarlyStopping) and callback.wait_count >= callback.patience:
                epochs = f"{callback.wait_count} epoch{'s' * (callback.wait_count > 1)}"
                return f"{callback.monitor} was not better than {callback.best_score:.4f} for {epochs}"
            if isinstance(callback, EarlyStopping) and callback.stopping_reason_message is not None:
                return callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
            if isinstance(callback, Timer) and (callback.time_remaining() or 1) <= 0:
                return f"the time limit is reached{self.how_to_resume()}"
        return "a callback asked for it"

    def how_to_resume(self) -> str:
        """Return how to resume the run, as the end of a sentence."""
        if self.path is None or not self.path.is_file():
            return ", and no checkpoint is saved"
        command = f"fit --resume {shlex.quote(str(self.path.parent.parent))} --trainer.max_time DD:HH:MM:SS"
        return f". {self.path.name} is saved; go on with: {command} (of the whole training)"
