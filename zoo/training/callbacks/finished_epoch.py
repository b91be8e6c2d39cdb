"""Mends what Lightning makes of the checkpoint of a finished epoch when the length of training is given in steps."""

from typing import Any

import lightning as L

from zoo.runs.checkpoints import is_mid_epoch


class FinishedEpoch(L.Callback):
    """Tells Lightning that the checkpoint of the end of an epoch is that.

    With `max_steps`, Lightning takes every checkpoint for one of the middle of an epoch: it ends the epoch a second
    time, and with it come a second row, a second validation and a step too few. So the checkpoint's counters are put to
    where they are when the next epoch begins.
    """

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Change the counters, before Lightning reads them."""
        if trainer.state.fn != "fit" or trainer.max_steps == -1:
            return
        if is_mid_epoch(checkpoint):
            return
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        for counts in (epochs["current"], epochs["total"]):
            counts["completed"] = counts["processed"]
        batches["current"] = dict.fromkeys(batches["current"], 0)
        batches["is_last_batch"] = False
        loop["state_dict"].pop("combined_loader", None)
        if trainer.enable_validation:  # its first pass then trains nothing, but counts a step of the curves
            loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
