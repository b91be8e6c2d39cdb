"""`TrainerCommand`: what `fit`, `validate` and `test` have in common."""

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

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import Ended, InputError, RunError
from zoo.core.classifier import Classifier, Stage
from zoo.core.signals import Stopped, stopping_at_once
from zoo.runs import results, run_directory
from zoo.runs.checkpoints import LAST
from zoo.runs.command_line import CommandLine
from zoo.runs.resume import Origin
from zoo.training import callback_checks, evaluation_results, processes, run_logger, slurm
from zoo.training.callbacks.graceful_stop import GracefulStop
from zoo.training.callbacks.history import History
from zoo.training.callbacks.progress import EpochLine, ProgressBar
from zoo.training.lightning_cli import ZooCLI
from zoo.training.run_logger import errors_in_main_thread
from zoo.training.trainer import ZooTrainer

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk


class TrainerCommand:
    """A command that runs a trainer: built at once, run by `run`.

    Args:
        command_line: of the command.
        origin: where it starts.

    Attributes:
        config: all options.
        trainer, model, data: built, but not used yet.
        history: the metrics of each epoch.
        graceful_stop: ends a training on a signal.
        run_dir: the directory of the run; None if there is none, or none yet.
        has_begun: whether something has been learned or written that an error must not take away.

    Raises:
        InputError, Ended: for bad input; and whatever a class raises when it is built.
    """

    def __init__(self, command_line: CommandLine, origin: Origin) -> None:
        self.command_line, self.origin = command_line, origin
        self.history, self.graceful_stop = History(), GracefulStop()
        self.run_dir: Path | None = None
        self.has_begun = False
        self.cli = ZooCLI(command_line, origin, self.callbacks)
        self.config: Namespace = self.cli.config
        self.trainer: ZooTrainer = self.cli.trainer  # type: ignore[assignment]
        self.model: Classifier = self.cli.model
        self.data: CIFAR10DataModule = self.cli.datamodule

    def run(self) -> None:
        """Run the command."""
        raise NotImplementedError

    @property
    def saves_last(self) -> bool:
        """Whether the command keeps a last checkpoint."""
        return False

    def callbacks(self, cli: ZooCLI, others: list[Callback]) -> list[Callback]:
        """Return the callbacks of the trainer.

        Args:
            cli: with all options built, but the trainer.
            others: the user's callbacks.
        """
        config, callbacks = cli.config_init, [*others, self.history]
        if config.trainer.enable_progress_bar is not False:
            has_bar = any(isinstance(callback, LightningProgressBar) for callback in others)
            callbacks += [*([] if has_bar else [ProgressBar()]), EpochLine(self.history)]
        if config.trainer.enable_model_summary is not False:
            callbacks += [] if any(isinstance(callback, ModelSummary) for callback in others) else [ModelSummary(2)]
        return callbacks

    # Data.

    def open_data(self, *stages: str) -> None:
        """Read the data of Lightning's `stages`, in every process: the others wait for the one that downloads.

        Raises:
            InputError: if there is no image for one of the processes, or see `CIFAR10DataModule`.
        """
        self.data.prepare_data()
        for stage in stages:
            self.data.setup(stage)
        world_size = self.trainer.world_size
        for name, images in (("val", self.data.val), ("test", self.data.test)):
            if images is not None and len(images) < world_size:
                raise InputError(
                    f"--data.{name}_size={len(images)} leaves some of {world_size} processes without an image"
                )

    # Results.

    def report(self, stage: Stage, checkpoint: str | None, directory: Path | None, facts: dict[str, Any]) -> None:
        """Print what the model's last pass over `stage` measured, and write it to a directory, if there is one.

        Args:
            stage: "val" or "test".
            checkpoint: that was evaluated.
            directory: of the run, or of this evaluation.
            facts: what metrics.json says beside the metrics.
        """
        evaluation_results.show(self.model, self.data, stage)
        if directory is None:
            return
        facts = {"seed": self.config.seed_everything, "checkpoint": checkpoint, **facts}
        evaluation_results.write(self.trainer, self.model, self.data, stage, directory, facts)
        processes.say(f"Results: {directory}")
        if run_logger.run_loggers(self.trainer):
            # The runs_dir of a run that goes on may be a stranger's.
            place = self.config.runs_dir if self.origin.run is None else self.origin.run.parent
            processes.say(
                f"TensorBoard: tensorboard --logdir {shlex.quote(str(place))} --samples_per_plugin images=200"
            )

    # What ends a command before its time.

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Run the trainer in all its processes, tell in one line what ends it before its time, and leave nothing open.

        Raises:
            RunError: in place of what a signal, a full disk, or the loss of the run's folder or of a process raises.
            InputError: in place of the error of a callback whose arguments are wrong, or of a place that is of no use.
        """
        requeue = () if self.graceful_stop.requeue is None else (self.graceful_stop.requeue,)
        try:
            others = processes.launched(self.trainer, self.command_line.argv, self._explain)
            with errors_in_main_thread(), stopping_at_once(requeue), others:
                yield
        except BaseException as error:
            if not self.has_begun:
                self.discard()
            if (explained := self._explain(error)) is not None:
                raise explained from error
            self._refuse(error)
            raise
        finally:
            for logger in run_logger.run_loggers(self.trainer):
                with contextlib.suppress(OSError):  # which has been told
                    logger.close()
            self.close()

    def discard(self) -> None:
        """Remove what a command made that did not begin."""

    def close(self) -> None:
        """Give back what the command holds."""

    def _refuse(self, error: BaseException) -> None:
        """Raise an InputError if a callback refused to work, or a place is of no use; the first process alone tells."""
        refusal = callback_checks.refusal(error, self.trainer)
        if isinstance(error, OSError) and error.filename is not None and not self.has_begun:
            refusal = InputError(f"{_unusable_place(error)}: give another place")
        if refusal is not None and not processes.is_first():
            raise Ended(2) from None
        if refusal is not None:
            raise refusal from error

    def _explain(self, error: BaseException) -> RunError | None:
        """Return the line for something outside of the program that has ended it; None for anything else."""
        if isinstance(error, Stopped):
            return RunError(self._explain_signal(error), error.exit_code)
        if isinstance(error, FileNotFoundError) and error.filename and self.run_dir is not None:
            time.sleep(1)  # whoever deletes a folder deletes one file after the other
            if (gone := self._gone()) is not None:
                return gone
            if (place := Path(os.fsdecode(error.filename))).is_relative_to(self.run_dir):
                return RunError(f"{place} was deleted or moved while the run was writing it: {self._left()}")
        if isinstance(error, OSError) and error.errno in FULL:
            return RunError(f"the disk is full ({error}): make room; {self._left()}")
        if isinstance(error, OSError) and error.filename is not None and self.has_begun:
            return RunError(f"{_unusable_place(error)}: {self._left()}")
        return RunError(f"{error}: {self._left()}") if isinstance(error, processes.Lost) else None

    def _explain_signal(self, stop: Stopped) -> str:
        if stop.number != self.graceful_stop.requeue or self.run_dir is None or not processes.is_first():
            return f"{stop}: {self._left()}"
        wrong = slurm.queue_again()
        if wrong is not None:
            return f"{stop}, and job {slurm.job()} could not be queued again ({wrong}): {self._left()}"
        return f"{stop}: job {slurm.job()} is queued again, and will go on with {self.run_dir}"

    def _left(self) -> str:
        """Return what is left of a run that has ended before its time, and how to go on with it."""
        if self.run_dir is None:
            return "nothing was written"
        if (self.run_dir / results.FILE).is_file():
            return f"the run was finished: {self.run_dir}"
        if not self.saves_last:
            return "nothing was saved"
        run = shlex.quote(str(self.run_dir))
        if not (self.run_dir / run_directory.CHECKPOINTS / f"{LAST}.ckpt").is_file():
            return f"no checkpoint was saved yet; start the run anew with: fit --resume {run}"
        return f"go on with: fit --resume {run}"

    def check_run_is_there(self, *hook_arguments: Any) -> None:
        """Notice before anything is written that the run's folder is gone: writing would make one without a config.

        Raises:
            RunError: if it is gone.
        """
        if (gone := self._gone()) is not None:
            raise gone

    def _gone(self) -> RunError | None:
        if not self.has_begun or self.run_dir is None or (self.run_dir / run_directory.CONFIG).is_file():
            return None
        step = self.trainer.global_step
        return RunError(f"{self.run_dir} was deleted or moved while it was in use, as seen after step {step}")


def _unusable_place(error: OSError) -> str:
    place = error.filename if isinstance(error.filename, int) else os.fsdecode(error.filename)
    return f"{place} cannot be written or read ({error.strerror or error})"
