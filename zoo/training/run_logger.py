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
    Metrics by optimizer step therefore go to a run of their own, in the subfolder "steps".

    The events of a test, between `begin_test` and `publish_test`, appear in TensorBoard all at once or not at all. A
    run that is killed in between is tested again when it is resumed.

    Args:
        run_dir: folder of the run.
        epochs_done: epochs that a resumed run has finished: events of later ones are discarded. None for a new run.
        steps_done: likewise, of optimizer steps.
        suffix: end of the names of the event files.
    """

    def __init__(
        self, run_dir: Path, epochs_done: int | None = None, steps_done: int | None = None, suffix: str = ""
    ) -> None:
        again = None if epochs_done is None else epochs_done + 1
        options: dict[str, Any] = {"purge_step": again, "filename_suffix": suffix}
        super().__init__(run_dir, name="", version=TENSORBOARD, default_hp_metric=False, **options)
        self.is_new = again is None
        self.epoch_names: Set[str] = frozenset()  # left to `log_epoch` by `log_metrics`
        self._steps_done, self._suffix = steps_done, suffix
        self._test: tuple[tempfile.TemporaryDirectory[str], RunLogger] | None = None

    @property
    def experiment(self) -> Any:
        """The writer over epochs, or that of a test in progress; a dummy in all processes but the first."""
        return self._test[1].experiment if self._test is not None else super().experiment

    @property
    def _by_step(self) -> SummaryWriter:
        return self._test[1]._steps if self._test is not None else self._steps

    @cached_property
    def _steps(self) -> SummaryWriter:
        again = None if self._steps_done is None else self._steps_done + 1
        return SummaryWriter(str(Path(self.log_dir) / STEPS), purge_step=again, filename_suffix=self._suffix)

    @rank_zero_only
    def begin_test(self, epoch: int) -> None:
        """Keep events apart until `publish_test`, which replaces an earlier test after the same epoch."""
        folder = tempfile.TemporaryDirectory(prefix="cifar10-zoo-")
        self._test = folder, RunLogger(Path(folder.name), suffix=f"-test-{epoch}")

    @rank_zero_only
    def publish_test(self) -> None:
        if self._test is None:
            return
        folder, test = self._test
        test.close()
        for place in (Path(self.log_dir), Path(self.log_dir) / STEPS):
            # First, so that both tests never exist at the same time.
            for old in place.glob(f"events.out.tfevents.*{glob.escape(test._suffix)}"):
                old.unlink()
        for written in sorted(Path(test.log_dir).rglob("events.out.tfevents.*")):
            files.write(Path(self.log_dir) / written.relative_to(test.log_dir), written.read_bytes())
        folder.cleanup()
        self._test = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of an optimizer step; Lightning passes those of an epoch, too."""
        others = {name: value for name, value in metrics.items() if name not in self.epoch_names}
        if not others.keys() <= {"epoch"}:  # which Lightning adds
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
        """Log a PNG file as it is; `SummaryWriter.add_image` would encode its pixels again."""
        with Image.open(io.BytesIO(png)) as opened:
            size = {"width": opened.width, "height": opened.height, "colorspace": len(opened.getbands())}
        image = Summary.Image(**size, encoded_image_string=png)
        self.experiment.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)

    @rank_zero_only
    def flush(self) -> None:
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
        """Close all files, and drop a test that is not published."""
        with contextlib.ExitStack() as stack:  # closes the other files if one cannot be written: no thread is left
            stack.callback(self._close_steps)
            if self._experiment is not None:
                stack.callback(self._experiment.close)
            if self._test is not None:
                folder, test = self._test
                stack.callback(folder.cleanup)
                stack.callback(test.close)
                self._test = None

    def _close_steps(self) -> None:
        if "_steps" in self.__dict__:
            self._steps.close()


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


def log_metrics(trainer: L.Trainer, model: Classifier, metrics: Mapping[str, float]) -> None:
    """Log metrics of an epoch that a callback has computed."""
    model.log_metrics(metrics)
    # Lightning passes metrics to loggers after a checkpoint is saved; the `RunLogger` needs them before it.
    for logger in run_loggers(trainer):
        logger.log_epoch(metrics, trainer)
