"""`ZooTrainer`: Lightning's Trainer with the types that its command line needs, and at home in a run's folder."""

import os
from pathlib import Path
from typing import Any

import lightning as L


class ZooTrainer(L.Trainer):
    """Lightning's Trainer.

    Its own annotations put `float` before `int` somewhere on the way to the parser, so that
    `--trainer.limit_train_batches 1` would be read as 1.0, which is all of the batches. Here a whole number is a number
    of batches, and a fraction a fraction.

    Args:
        limit_train_batches: training batches an epoch: a number of them, or a fraction such as 0.1.
        limit_val_batches: likewise, of validation.
        limit_test_batches: likewise, of the test.
        limit_predict_batches: likewise, of prediction.
        overfit_batches: train on the same few batches again and again, given likewise; validate on as many.
        val_check_interval: validate after this many batches, or this fraction of an epoch.

    Attributes:
        run_dir: of the run, once it is known.
        profile_dir: where profilers write their files; if None, as it is without a run, they print.
    """

    run_dir: Path | None = None
    profile_dir: Path | None = None

    @property
    def log_dir(self) -> str | None:
        """The folder of the first logger; before the run is known, which is when profilers ask, `profile_dir`."""
        if self.run_dir is not None:
            return super().log_dir
        place = self.strategy.broadcast(self.profile_dir)
        return None if place is None else str(place)

    @property
    def default_root_dir(self) -> str:
        """The run's folder; before it is known, a place where nothing is.

        In a job of SLURM Lightning starts from an hpc_ckpt_N.ckpt that lies here, though nobody asked for it. Plain
        Lightning leaves such files in the working directory.
        """
        return str(self.run_dir) if self.run_dir is not None else os.path.join(super().default_root_dir, ".no_run_yet")

    def __init__(
        self,
        *args: Any,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            val_check_interval=val_check_interval,
            **kwargs,
        )
