"""`TrainerCommand`: the base of `fit`, `validate` and `test`."""

import contextlib
import errno
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, ModelSummary
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar

from datamodules.errors import Ended, InputError, RunError, one_line
from datamodules.image_data_module import ImageDataModule
from zoo.core.classifier import Classifier, Stage
from zoo.core.signals import Stopped, stopping_at_once
from zoo.runs import metrics_json, run_directory
from zoo.runs.checkpoints import LAST
from zoo.runs.command_line import CommandLine
from zoo.runs.resume import Origin
from zoo.training import callback_checks, processes, run_logger, slurm, stage_results
from zoo.training.callbacks.graceful_stop import GracefulStop
from zoo.training.callbacks.history import History
from zoo.training.callbacks.progress import EpochLine, ProgressBar
from zoo.training.callbacks.run_checkpoint import RunCheckpoint
from zoo.training.lightning_cli import ZooCLI
from zoo.training.run_logger import errors_in_main_thread
from zoo.training.trainer import ZooTrainer

FULL = (errno.ENOSPC, errno.EDQUOT)  # errors of a full disk


class TrainerCommand:
    """A command that runs a trainer. An error while it is built is bad input.

    Attributes:
        config: all options.
        trainer, model, data: built, but not used yet.
        history: the metrics of each epoch.
        graceful_stop: ends the training on a signal.
        run_dir: the directory of the run; None if there is none (yet).
        last: keeps a last checkpoint; None if the command keeps none.
        has_begun: whether anything was learned or written that an error must not remove.
        has_failed: whether an error or a signal ended the command.
    """

    def __init__(self, command_line: CommandLine, origin: Origin) -> None:
        self.command_line, self.origin = command_line, origin
        self.history, self.graceful_stop = History(), GracefulStop()
        self.run_dir: Path | None = None
        self.last: RunCheckpoint | None = None
        self.has_begun = self.has_failed = False
        self.cli = ZooCLI(command_line, origin, self.callbacks)
        self.config: Namespace = self.cli.config
        self.trainer: ZooTrainer = self.cli.trainer  # type: ignore[assignment]
        self.model: Classifier = self.cli.model
        self.data: ImageDataModule = self.cli.datamodule

    def run(self) -> None:
        """Run the command."""
        raise NotImplementedError

    def callbacks(self, cli: ZooCLI, others: list[Callback]) -> list[Callback]:
        """Return the callbacks of the trainer; `others` are the user's. Of `cli`, all but the trainer is built."""
        config, callbacks = cli.config_init, [*others, self.history]
        if config.trainer.enable_progress_bar is not False:
            has_bar = any(isinstance(callback, LightningProgressBar) for callback in others)
            callbacks += [*([] if has_bar else [ProgressBar()]), EpochLine(self.history)]
        if config.trainer.enable_model_summary is not False:
            callbacks += [] if any(isinstance(callback, ModelSummary) for callback in others) else [ModelSummary(2)]
        return callbacks

    def open_data(self, *stages: str) -> None:
        """Read the data of Lightning's `stages` in every process. One process downloads, and the others wait for it."""
        self.data.prepare_data()
        for stage in stages:
            self.data.setup(stage)
        world_size = self.trainer.world_size
        for name, images in (("val", self.data.val), ("test", self.data.test)):
            if images is not None and len(images) < world_size:
                why = f"leaves some of {world_size} processes without an image"
                raise InputError(f"--data.{name}_size={len(images)} {why}")

    def report(self, stage: Stage, checkpoint: str | None, directory: Path | None, facts: dict[str, Any]) -> None:
        """Print the metrics of the last pass over `stage`, and write them with `facts` to `directory`, if any."""
        stage_results.show(self.model, self.data, stage)
        if directory is None:
            return
        facts = {"seed": self.config.seed_everything, "checkpoint": checkpoint, **facts}
        stage_results.write(self.trainer, self.model, self.data, stage, directory, facts)
        processes.say(f"Results: {directory}")
        if run_logger.run_loggers(self.trainer):
            # A run that goes on may be a stranger's, and so its runs_dir.
            runs_dir = self.config.runs_dir if self.origin.run is None else self.origin.run.parent
            place = shlex.quote(str(runs_dir))
            processes.say(f"TensorBoard: tensorboard --logdir {place} --samples_per_plugin images=200")

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Run the trainer in all its processes. An error of its surroundings becomes a RunError or an InputError."""
        requeue = () if self.graceful_stop.requeue is None else (self.graceful_stop.requeue,)
        try:
            others = processes.launched(self.trainer, self.command_line.argv, self._explain)
            with errors_in_main_thread(), stopping_at_once(requeue), others:
                yield
        except BaseException as error:
            self.has_failed = True
            if not self.has_begun:
                self.discard()
            if (explained := self._explain(error)) is not None:
                raise explained from error
            self._refuse(error)
            raise
        finally:
            for logger in run_logger.run_loggers(self.trainer):
                with contextlib.suppress(OSError):  # it was reported
                    logger.close()
            self.close()

    def discard(self) -> None:
        """Remove the files of a command that did not begin."""

    def close(self) -> None:
        """Release locks."""

    def _refuse(self, error: BaseException) -> None:
        """Raise an InputError, in the first process, for a callback that refuses or a file that cannot be used."""
        refusal = callback_checks.refusal(error, self.trainer)
        if isinstance(error, OSError) and error.filename is not None and not self.has_begun:
            refusal = InputError(f"{_unusable(error)}: give another place")
        if type(error).__module__.partition(".")[0] == "wandb" and not self.has_begun:
            refusal = InputError(f"--trainer.logger: {one_line(error)}")
        if refusal is not None and not processes.is_first():
            raise Ended(2) from None
        if refusal is not None:
            raise refusal from error

    def _explain(self, error: BaseException) -> RunError | None:
        """Return the message for a cause outside of the program; None for any other error."""
        if isinstance(error, Stopped):
            return RunError(self._explain_signal(error), error.exit_code)
        if isinstance(error, FileNotFoundError) and error.filename and self.run_dir is not None:
            time.sleep(1)  # a folder is deleted file by file
            if (gone := self._gone()) is not None:
                return gone
            if (path := Path(os.fsdecode(error.filename))).is_relative_to(self.run_dir):
                return RunError(f"{path} was deleted or moved while the run was writing it: {self._left()}")
        if isinstance(error, OSError) and error.errno in FULL:
            return RunError(f"the disk is full ({error}): make room; {self._left()}")
        if isinstance(error, OSError) and error.filename is not None and self.has_begun:
            return RunError(f"{_unusable(error)}: {self._left()}")
        return RunError(f"{error}: {self._left()}") if isinstance(error, processes.Lost) else None

    def _explain_signal(self, stop: Stopped) -> str:
        if stop.number != self.graceful_stop.requeue or self.run_dir is None or not processes.is_first():
            return f"{stop}: {self._left()}"
        problem = slurm.queue_again()
        if problem is not None:
            return f"{stop}, and job {slurm.job()} could not be queued again ({problem}): {self._left()}"
        return f"{stop}: job {slurm.job()} is queued again, and will go on with {self.run_dir}"

    def _left(self) -> str:
        """Return what is left of a run that ended early, and how to go on with it."""
        if self.run_dir is None:
            return "nothing was written"
        if (self.run_dir / metrics_json.FILE).is_file():
            return f"the run was finished: {self.run_dir}"
        if self.last is None:
            return "nothing was saved"
        run = shlex.quote(str(self.run_dir))
        if not (self.run_dir / run_directory.CHECKPOINTS / f"{LAST}.ckpt").is_file():
            return f"no checkpoint was saved yet; start the run again with: fit --resume {run}"
        return f"go on with: fit --resume {run}"

    def check_run_is_there(self, *hook_arguments: Any) -> None:
        """Raise RunError if the run's folder is gone: writing would make a folder without a config."""
        if (gone := self._gone()) is not None:
            raise gone

    def _gone(self) -> RunError | None:
        if not self.has_begun or self.run_dir is None or (self.run_dir / run_directory.CONFIG).is_file():
            return None
        step = self.trainer.global_step
        return RunError(f"{self.run_dir} was deleted or moved while it was in use, as seen after step {step}")


def _unusable(error: OSError) -> str:
    path = error.filename if isinstance(error.filename, int) else os.fsdecode(error.filename)
    return f"{path} cannot be written or read ({error.strerror or error})"
