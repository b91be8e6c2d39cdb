"""`ZooTrainer`: Lightning's Trainer with exact types for the command line, which writes into a run's folder."""

import os
from pathlib import Path
from typing import Any

import lightning as L


class ZooTrainer(L.Trainer):
    """Lightning's Trainer.

    Lightning's annotations let the parser read `--trainer.limit_train_batches 1` as 1.0, all batches. Here an integer
    is a number of batches, and a float is a fraction.

    Args:
        limit_train_batches: training batches per epoch: a number, or a fraction such as 0.1.
        limit_val_batches: validation batches, likewise.
        limit_test_batches: test batches, likewise.
        limit_predict_batches: prediction batches, likewise.
        overfit_batches: train on the same few batches again and again, likewise; validate on as many.
        val_check_interval: validate after this many batches, or this fraction of an epoch.

    Attributes:
        run_dir: the folder of the run, once it is known.
        profile_dir: the folder of profilers' files; None without a run: profilers print.
    """

    run_dir: Path | None = None
    profile_dir: Path | None = None

    @property
    def log_dir(self) -> str | None:
        """The folder of the first logger; before the run is known, when profilers ask, `profile_dir`."""
        if self.run_dir is not None:
            return super().log_dir
        folder = self.strategy.broadcast(self.profile_dir)
        return None if folder is None else str(folder)

    @property
    def default_root_dir(self) -> str:
        """The run's folder; before it is known, a place that does not exist.

        In a SLURM job Lightning starts from an hpc_ckpt_N.ckpt in this folder, which another job may have left in the
        working directory.
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
