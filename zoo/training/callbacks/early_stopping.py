"""Early stopping that counts epochs."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from zoo.core.classifier import Classifier


class EpochEarlyStopping(EarlyStopping):
    """Stops after `patience` epochs without a better "val/acc", however often validation runs.

    The accuracy of an epoch is that of its last validation, as in metrics.csv. An epoch without a validation counts as
    one without progress, but training stops only after a validation. A resumed run takes its patience from the command
    line.
    """

    def __init__(self, patience: int) -> None:
        super().__init__("val/acc", mode="max", patience=patience, check_on_train_epoch_end=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if pl_module.results.get("val", {}).get("epoch") == trainer.current_epoch:
            super().on_train_epoch_end(trainer, pl_module)
        else:
            self.wait_count += 1

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})
