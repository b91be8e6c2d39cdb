"""`RunLogger`: a run's curves in TensorBoard."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # of a run
STEPS = "steps"  # of that


class RunLogger(TensorBoardLogger):
    """Lightning's logger, with the figures of epochs over epochs: runs can be compared, whatever their batch sizes are.

    TensorBoard has one axis, of whole numbers, and a run that goes on takes back all that stands behind its checkpoint.
    So what is logged by optimizer step is, to TensorBoard, a run of its own, in the subfolder "steps". That is where
    `log_metrics` goes, which Lightning and other people's callbacks call with steps; `experiment` is over epochs.

    Args:
        run_dir: of the run.
        epochs_done: of the run, where it goes on: what was logged of later ones is about to be logged again.
        steps_done: likewise.

    Attributes:
        is_new: whether the run begins with it.
    """

    def __init__(self, run_dir: Path, epochs_done: int | None = None, steps_done: int | None = None) -> None:
        again = None if epochs_done is None else epochs_done + 1
        super().__init__(run_dir, name="", version=FOLDER, default_hp_metric=False, purge_step=again)
        self.is_new = again is None
        self._steps_done = steps_done
        self._known: set[str] = set()

    @cached_property
    def _by_step(self) -> SummaryWriter:
        again = None if self._steps_done is None else self._steps_done + 1
        return SummaryWriter(str(Path(self.log_dir) / STEPS), purge_step=again)

    def expect(self, names: Iterable[str]) -> None:
        """Leave metrics out of `log_metrics` that `log_figures` is going to get."""
        self._known |= set(names)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of an optimizer step.

        Lightning hands every logger the metrics of an epoch, too. They are left out: `log_figures` gets them.
        """
        others = {name: value for name, value in metrics.items() if name not in self._known}
        if others.keys() <= {"epoch"}:  # which Lightning adds
            return
        for name, value in others.items():
            self._by_step.add_scalar(name, value, step)

    @rank_zero_only
    def log_figures(self, figures: Mapping[str, float], trainer: L.Trainer) -> None:
        """Log figures of an epoch at its number, from 1; those of the middle of one at its step, under "batch/"."""
        self.expect(figures)
        if is_within_epoch(trainer):
            self.log_metrics({f"batch/{name}": value for name, value in figures.items()}, trainer.global_step)
        else:
            epoch = epochs_done(trainer)
            for name, value in figures.items():
                self.experiment.add_scalar(name, value, epoch)

    @rank_zero_only
    def flush(self) -> None:
        """Write what is still in memory."""
        self.experiment.flush()
        self._by_step.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files."""
        super().finalize(status)
        self._by_step.close()


def is_within_epoch(trainer: L.Trainer) -> bool:
    """Whether a trainer validates in the middle of an epoch, and goes on with it."""
    is_last = trainer.fit_loop.batch_idx + 1 >= trainer.num_training_batches or trainer.global_step == trainer.max_steps
    return trainer.state.fn == "fit" and trainer.validating and not is_last


def epochs_done(trainer: L.Trainer) -> int:
    """How many epochs a trainer has done, at the end of one or after the last."""
    return trainer.current_epoch + (trainer.state.fn == "fit")


def all_of(trainer: L.Trainer) -> list[RunLogger]:
    """Return the run's own loggers among those of a trainer: one, or none."""
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]


def of(trainer: L.Trainer) -> Any:
    """Return the writer of a run's pictures and other things over epochs; None in all processes but the first."""
    return next((logger.experiment for logger in all_of(trainer) if trainer.is_global_zero), None)
