"""`RunLogger`: a run's event files for TensorBoard."""

import contextlib
import glob
import io
import tempfile
import threading
from collections.abc import Iterator, Mapping, Set
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
from zoo.core.classifier import Classifier
from zoo.runs.run_directory import TENSORBOARD

STEPS = "steps"  # a folder in that of the logs


class RunLogger(TensorBoardLogger):
    """Lightning's logger, with epochs as the x axis of an epoch's metrics: runs of any batch size can be compared.

    TensorBoard has a single integer axis, and a resumed run discards everything behind its checkpoint on that axis.
    Metrics by optimizer step therefore go to a run of their own, in the subfolder "steps": `log_metrics`, which
    Lightning and other callbacks call with steps, writes there. `experiment` is the writer over epochs.

    The events of a test, between `begin_test` and `publish_test`, appear in TensorBoard all at once or not at all. A
    run that is killed in between is tested again when it is resumed, and each event of the test appears once.

    Args:
        run_dir: folder of the run.
        epochs_done: epochs that a resumed run has finished: events of later ones are discarded. None for a new run.
        steps_done: likewise, of optimizer steps.

    Attributes:
        is_new: whether the run is new.
        epoch_names: names of metrics that `log_metrics` leaves out, because `log_epoch` gets them.
    """

    def __init__(self, run_dir: Path, epochs_done: int | None = None, steps_done: int | None = None) -> None:
        again = None if epochs_done is None else epochs_done + 1
        super().__init__(run_dir, name="", version=TENSORBOARD, default_hp_metric=False, purge_step=again)
        self.is_new = again is None
        self.epoch_names: Set[str] = frozenset()
        self._steps_done = steps_done
        self._test: _TestEvents | None = None

    @property
    def experiment(self) -> Any:
        """The writer over epochs, or that of a test in progress; a dummy in all processes but the first."""
        return self._test.by_epoch if self._test is not None else super().experiment

    @property
    def _by_step(self) -> SummaryWriter:
        return self._test.by_step if self._test is not None else self._steps

    @cached_property
    def _steps(self) -> SummaryWriter:
        again = None if self._steps_done is None else self._steps_done + 1
        return SummaryWriter(str(Path(self.log_dir) / STEPS), purge_step=again)

    @rank_zero_only
    def begin_test(self, epoch: int) -> None:
        """Keep the following events apart, until `publish_test`.

        Args:
            epoch: after which the model is tested. An earlier test after the same epoch is replaced.
        """
        self._test = _TestEvents(Path(self.log_dir), epoch)

    @rank_zero_only
    def publish_test(self) -> None:
        """Publish the events since `begin_test`."""
        if self._test is not None:
            self._test.publish()
            self._test = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of an optimizer step. Lightning passes those of an epoch, too: see `epoch_names`."""
        others = {name: value for name, value in metrics.items() if name not in self.epoch_names}
        if others.keys() <= {"epoch"}:  # which Lightning adds
            return
        for name, value in others.items():
            self._by_step.add_scalar(name, value, step)

    @rank_zero_only
    def log_epoch(self, metrics: Mapping[str, float], trainer: L.Trainer) -> None:
        """Log metrics by epoch, from 1; those of a validation within an epoch by step, as "batch/NAME"."""
        if is_within_epoch(trainer):
            self.log_metrics({f"batch/{name}": value for name, value in metrics.items()}, trainer.global_step)
        else:
            epoch = epochs_done(trainer)
            for name, value in metrics.items():
                self.experiment.add_scalar(name, value, epoch)

    @rank_zero_only
    def log_picture(self, tag: str, png: bytes, epoch: int) -> None:
        """Log a PNG file as it is; `SummaryWriter.add_image` would encode its pixels again.

        Args:
            tag: name in TensorBoard.
            png: content of the file; three or four channels.
            epoch: number of the epoch, from 1.
        """
        with Image.open(io.BytesIO(png)) as opened:
            width, height = opened.size
            colours = len(opened.getbands())
        image = Summary.Image(height=height, width=width, colorspace=colours, encoded_image_string=png)
        self.experiment.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)

    @rank_zero_only
    def flush(self) -> None:
        """Write the events that are still in memory."""
        self.experiment.flush()
        self._by_step.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the files, except those of a test: `publish_test` or `close` does that."""
        if self._test is None:
            super().finalize(status)
            self._close_steps()

    @rank_zero_only
    def close(self) -> None:
        """Close all files, and drop a test that is not published.

        If one file cannot be written, the others are closed before the error is raised, so that no thread is left.
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
    """Event files of a test, written to a temporary folder and copied to the run by `publish`.

    Args:
        log_dir: folder of the run's event files.
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
            # First, so that both tests never exist at the same time.
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
    """Hide the errors of TensorBoard's threads: the main thread gets them at its next write."""
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
    """Return whether a trainer is validating with steps of the epoch still to come."""
    is_last = trainer.fit_loop.batch_idx + 1 >= trainer.num_training_batches or trainer.global_step == trainer.max_steps
    return trainer.state.fn == "fit" and trainer.validating and not is_last


def epochs_done(trainer: L.Trainer) -> int:
    """Return how many epochs a trainer has done, at the end of one or after the last."""
    return trainer.current_epoch + (trainer.state.fn == "fit")


def run_loggers(trainer: L.Trainer) -> list[RunLogger]:
    """Return the `RunLogger` of a trainer, as a list of one or none."""
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]


def epoch_writer(trainer: L.Trainer) -> Any:
    """Return the run's writer over epochs; None without a `RunLogger` and in all processes but the first."""
    return next((logger.experiment for logger in run_loggers(trainer) if trainer.is_global_zero), None)


def log_metrics(trainer: L.Trainer, model: Classifier, metrics: Mapping[str, float]) -> None:
    """Log metrics of an epoch that a callback has computed.

    The `RunLogger` gets them at once. Lightning passes metrics to loggers later, and the events of a checkpoint saved
    in between would lack them.
    """
    model.log_metrics(metrics)
    for logger in run_loggers(trainer):
        logger.log_epoch(metrics, trainer)
