"""`RunLogger`: a run's curves in TensorBoard."""

import contextlib
import glob
import io
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from zoo.core import files
from zoo.runs.run_directory import TENSORBOARD

STEPS = "steps"  # a folder in that of the logs


class RunLogger(TensorBoardLogger):
    """Lightning's logger, with the figures of epochs over epochs: runs can be compared, whatever their batch sizes are.

    TensorBoard has one axis, of whole numbers, and a run that goes on takes back all that stands behind its checkpoint.
    So what is logged by optimizer step is, to TensorBoard, a run of its own, in the subfolder "steps". That is where
    `log_metrics` goes, which Lightning and other people's callbacks call with steps; `experiment` is over epochs.

    What a test logs, between `begin_test` and `publish_test`, appears in TensorBoard all at once or not at all. A run
    that was killed in between is tested again when it goes on, and each point of the test still stands there once.

    Args:
        run_dir: of the run.
        epochs_done: of the run, where it goes on: what was logged of later ones is about to be logged again.
        steps_done: likewise.

    Attributes:
        is_new: whether the run begins with it.
    """

    def __init__(self, run_dir: Path, epochs_done: int | None = None, steps_done: int | None = None) -> None:
        again = None if epochs_done is None else epochs_done + 1
        super().__init__(run_dir, name="", version=TENSORBOARD, default_hp_metric=False, purge_step=again)
        self.is_new = again is None
        self._steps_done = steps_done
        self._known: set[str] = set()
        self._test: _TestEvents | None = None

    @property
    def experiment(self) -> Any:
        """The writer of what is over epochs; of the test's own while a test is under way. A dummy in all processes but
        the first."""
        return self._test.by_epoch if self._test is not None else super().experiment

    @property
    def _by_step(self) -> SummaryWriter:
        return self._test.by_step if self._test is not None else self._steps

    @cached_property
    def _steps(self) -> SummaryWriter:
        again = None if self._steps_done is None else self._steps_done + 1
        return SummaryWriter(str(Path(self.log_dir) / STEPS), purge_step=again)

    def expect(self, names: Iterable[str]) -> None:
        """Leave metrics out of `log_metrics` that `log_figures` is going to get."""
        self._known |= set(names)

    @rank_zero_only
    def begin_test(self, epoch: int) -> None:
        """Keep what is logged from here on apart.

        Args:
            epoch: after which the model is tested; an earlier test after the same one is replaced.
        """
        self._test = _TestEvents(Path(self.log_dir), epoch)

    @rank_zero_only
    def publish_test(self) -> None:
        """Write what was logged since `begin_test`."""
        if self._test is not None:
            self._test.publish()
            self._test = None

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
    def log_picture(self, tag: str, png: bytes, epoch: int) -> None:
        """Log a PNG file as it is; `SummaryWriter.add_image` would encode its pixels again.

        Args:
            tag: the name in TensorBoard.
            png: the content of the file; its pixels have three or four channels.
            epoch: the number of the epoch, from 1.
        """
        with Image.open(io.BytesIO(png)) as opened:
            width, height = opened.size
            colours = len(opened.getbands())
        image = Summary.Image(height=height, width=width, colorspace=colours, encoded_image_string=png)
        self.experiment.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)

    @rank_zero_only
    def flush(self) -> None:
        """Write what is still in memory."""
        self.experiment.flush()
        self._by_step.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files; those of a test stay open until `publish_test` or `close`."""
        if self._test is None:
            super().finalize(status)
            self._close_steps()

    @rank_zero_only
    def close(self) -> None:
        """Close all files, and drop a test that is not published.

        No thread of theirs is left, also if one of them cannot be written: the others are closed before the error is
        raised.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_steps)
            if self._experiment is not None:
                stack.callback(self._experiment.close)
            if self._test is not None:
                stack.callback(self._test.drop)
                self._test = None

    def _close_steps(self) -> None:
        if "_steps" in self.__dict__:
            self._steps.close()


class _TestEvents:
    """Event files of a test, written elsewhere and put into their places by `publish`.

    Args:
        log_dir: of the run's event files.
        epoch: after which the model is tested.
    """

    def __init__(self, log_dir: Path, epoch: int) -> None:
        self._log_dir, self._suffix = log_dir, f"-test-{epoch}"
        self._folder = tempfile.TemporaryDirectory(prefix="cifar10-zoo-")

    @cached_property
    def by_epoch(self) -> SummaryWriter:
        return SummaryWriter(self._folder.name, filename_suffix=self._suffix)

    @cached_property
    def by_step(self) -> SummaryWriter:
        return SummaryWriter(str(Path(self._folder.name) / STEPS), filename_suffix=self._suffix)

    def publish(self) -> None:
        self._close()
        for place in (self._log_dir, self._log_dir / STEPS):
            # Before, not after: there may be no moment with both.
            for old in place.glob(f"events.out.tfevents.*{glob.escape(self._suffix)}"):
                old.unlink()
        for written in sorted(Path(self._folder.name).rglob("events.out.tfevents.*")):
            files.write(self._log_dir / written.relative_to(self._folder.name), written.read_bytes())
        self._folder.cleanup()

    def drop(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._folder.cleanup)
            self._close()

    def _close(self) -> None:
        with contextlib.ExitStack() as stack:
            for name in {"by_epoch", "by_step"} & self.__dict__.keys():
                stack.callback(getattr(self, name).close)


@contextlib.contextmanager
def errors_in_main_thread() -> Iterator[None]:
    """Leave what goes wrong in TensorBoard's threads to the main thread, which gets the error at its next write."""
    before = threading.excepthook

    def hook(error: threading.ExceptHookArgs) -> None:
        if not type(error.thread).__module__.startswith("tensorboard."):
            before(error)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


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
