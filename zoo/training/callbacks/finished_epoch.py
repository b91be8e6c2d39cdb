"""A correction of Lightning's counters in checkpoints of finished epochs, for training with `max_steps`."""

from typing import Any

import lightning as L

from zoo.runs.checkpoints import is_mid_epoch


class FinishedEpoch(L.Callback):
    """Sets the counters of a finished epoch's checkpoint to those at the start of the next epoch.

    With `max_steps`, Lightning takes every checkpoint for one within an epoch, and would end a finished epoch again.
    """

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" or trainer.max_steps == -1 or is_mid_epoch(checkpoint):
            return
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        for counts in (epochs["current"], epochs["total"]):
            counts["completed"] = counts["processed"]
        batches["current"] = dict.fromkeys(batches["current"], 0)
        batches["is_last_batch"] = False
        loop["state_dict"].pop("combined_loader", None)
        if trainer.enable_validation:  # Lightning counts one step for the curves before it trains
            loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
