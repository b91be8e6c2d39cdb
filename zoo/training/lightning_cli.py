"""`fit`, `validate` and `test`: a `LightningCLI` over the zoo and the one data module."""

import contextlib
import copy
import errno
import io
import logging
import os
import re
import shlex
import shutil
import time
import warnings
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import lightning as L
import torch
import yaml
from filelock import FileLock
from jsonargparse import Namespace
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback, LambdaCallback, ModelSummary
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import Ended, InputError, RunError, printable
from datamodules.paths import user_path
from zoo.core import files, installation
from zoo.core.classifier import Classifier, Stage
from zoo.core.schedules import Constant, Schedule
from zoo.core.signals import Stopped, stopping_at_once
from zoo.runs import checkpoints, configs, metrics_csv, results, resume, run_directory
from zoo.runs.checkpoints import BEST, LAST, WholeFileIO
from zoo.training import (
    callback_checks,
    compilation,
    evaluation_results,
    model_checks,
    option_checks,
    processes,
    restoring,
    run_logger,
    slurm,
)
from zoo.training.callbacks.batch_log import BatchLog
from zoo.training.callbacks.early_stopping import EpochEarlyStopping
from zoo.training.callbacks.ending import Ending
from zoo.training.callbacks.finished_epoch import FinishedEpoch
from zoo.training.callbacks.finite import StopWhenNotFinite
from zoo.training.callbacks.graceful_stop import GracefulStop
from zoo.training.callbacks.history import History
from zoo.training.callbacks.progress import EpochLine, ProgressBar
from zoo.training.callbacks.run_checkpoint import RunCheckpoint
from zoo.training.callbacks.speed import Speed
from zoo.training.callbacks.step_seed import StepSeed
from zoo.training.parser import ZooParser, check_class
from zoo.training.run_logger import RunLogger, errors_in_main_thread
from zoo.training.tensorboard.embeddings import Embeddings
from zoo.training.tensorboard.pictures import Pictures
from zoo.training.tensorboard.pr_curves import PRCurves
from zoo.training.tensorboard.run_summary import RunSummary
from zoo.training.trainer import ZooTrainer

SEED = 0
FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk
TRAINER_DEFAULTS = {"max_epochs": 10, "num_sanity_val_steps": 0, "devices": option_checks.ONE_DEVICE}


def main(argv: list[str]) -> "ZooCLI":
    """Run one of Lightning's commands.

    Args:
        argv: the command and its options.

    Returns:
        What has run: the model, the trainer, the run's directory.

    Raises:
        InputError: for bad input that the parser does not see.
        RunError: for a run that is cut short.
        Stopped: where a signal asks to stop before there is a run.
        Ended: with code 2 for bad input that the parser sees.
    """
    processes.end_with_first()
    with _quiet():
        return _run(argv)


def _run(argv: list[str]) -> "ZooCLI":
    command, *options = argv
    composed, origin = resume.take(command, configs.compose(options))
    config = composed.config
    helped = configs.take_options(options, configs.HELP)[0]
    if not helped:
        if command != "fit" and origin.path is None:
            raise InputError(f"{command} needs a trained model: --ckpt best, last, or runs/.../checkpoints/best.ckpt")
        if not config.get("model"):
            raise configs.needs_model(command, composed.files)
    ZooParser.command, ZooParser.known = composed, set()
    ZooParser.section = next(filter(None, helped.values()), "all")
    model = check_class("model", composed, Classifier)
    if model is not None and config.get("optimizer") is None:
        config["optimizer"] = copy.deepcopy(model.default_optimizer)
    if config.get("lr_schedule") is None:
        config["lr_schedule"] = {"class_path": "zoo.core.schedules.Constant"}
    check_class("optimizer", composed, torch.optim.Optimizer)
    check_class("lr_schedule", composed, Schedule)
    option_checks.check_seed(composed)
    ZooCLI.is_built = False
    try:
        return ZooCLI(origin, argv, args=[command, *configs.as_argument(config), *composed.rest])
    except RunError as error:
        if not _is_first_process():  # which says it for all
            raise Ended(error.exit_code) from None
        raise
    except Stopped as stop:
        if not _is_first_process():
            raise Ended(stop.exit_code) from None
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise RunError(f"the disk is full ({error}): make room, and start again") from error
    except (ValueError, TypeError, RuntimeError, ImportError, LookupError, MisconfigurationException) as error:
        # jsonargparse wraps what a class raises when it is built. What goes wrong later is not the command line's
        # fault, and is worth a traceback.
        cause = _input_error_behind(error)
        if cause is None and ZooCLI.is_built:
            raise
        raise cause or option_checks.name_culprit(error, composed) from error


def _input_error_behind(error: BaseException | None) -> InputError | None:
    """Return the InputError that led to `error`, if one did."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says at every start and what does not concern this project."""
    levels = {f"lightning.fabric.utilities.{name}": logging.WARNING for name in ("seed", "distributed")}
    levels["torch.utils.cpp_extension"] = logging.ERROR  # torch.compile misses a GPU
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    # Lightning says by the same logger what people ask to be told, as by `ModelCheckpoint(verbose: true)`.
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero.addFilter(_is_wanted)
    try:
        with warnings.catch_warnings():
            _ignore_warnings()
            yield
    finally:
        rank_zero.removeFilter(_is_wanted)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _ignore_warnings() -> None:
    for message in (
        "LightningCLI's args parameter is intended",  # configs are composed before the parser sees them
        ".*does not have many workers.*",  # a worker would slow the loaders down
        ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",
        "The number of training batches .* is smaller than the logging interval",
        ".*LeafSpec.* is deprecated",
        r"\s*Unable to serialize instance",  # `_as_given` mends it
        "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided",
        "You defined a `validation_step` but have no `val_dataloader`",  # val_size 0 says so itself
        "GPU available but not used",  # a NumPy model says so itself
        "Total length of `list` across ranks is zero",  # likewise
        "You have overridden `transfer_batch_to_device` in `LightningModule`",  # a NumPy model's batches stay
        "It is recommended to use `self.log\\(.*sync_dist=True",  # the metrics add up what all processes counted
        "Checkpoint directory .* exists and is not empty",  # as it is in a resumed run
        "You're using the WeightAveraging callback with a model that overrides",  # no model of the zoo is sharded
    ):
        warnings.filterwarnings("ignore", message=message)


NOISE = (
    "GPU available",
    "TPU available",
    "💡 Tip",
    "You are running in `Trainer(barebones=True)`",
    "You are using a CUDA device",
    "-----",  # a box around the number of processes
    "Using 16bit",
    "Using bfloat16",
    "Running in `fast_dev_run` mode",
    "`Trainer(",  # repeats an option
    "`Trainer.fit` stopped: `max_",
    "Time limit reached",  # `Ending` says more
    "Trainer already configured with model summary callbacks",
    "The following callbacks returned in `LightningModule.configure_callbacks`",  # a NumPy model's
    "Restoring states from the checkpoint",
    "Restored all states from the checkpoint",
    "Loaded model weights from the checkpoint",
    "You're using the WeightAveraging callback, but saving a checkpoint outside",
    "Found current_model_state in the checkpoint",
    "Your model can run with static graph optimizations",
    "\nDetected KeyboardInterrupt",  # `cli.main` says it
)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Whether a message of Lightning's is worth a line: no noise of every start, no repetition of what we say."""
    return record.levelno > logging.INFO or not record.getMessage().startswith(NOISE)


class ZooCLI(LightningCLI):
    """A `LightningCLI` for any model and `CIFAR10DataModule`; see `zoo.runs` for what a run leaves behind."""

    is_built: ClassVar[bool] = False  # whether all that the command line asks for could be built

    def __init__(self, origin: resume.Origin, argv: list[str], args: ArgsType) -> None:
        self.origin, self.argv = origin, argv
        self.run_dir: Path | None = None
        self.made: list[Path] = []  # folders for the run's directory, the innermost first
        self.has_begun = False
        self.lock: FileLock | None = None
        self.best: RunCheckpoint | None = None
        self.last: RunCheckpoint | None = None
        self.history = History()
        self.not_finite = StopWhenNotFinite()
        self.graceful_stop = GracefulStop()
        self.ending = Ending()
        self.slurm: Any = None  # Lightning's view of it, where it has started this process
        super().__init__(
            Classifier,
            CIFAR10DataModule,
            save_config_callback=None,
            trainer_class=ZooTrainer,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=SEED,
            parser_class=ZooParser,
            subclass_mode_model=True,
            args=args,
            auto_configure_optimizers=False,
        )

    # Arguments.

    def subcommands(self) -> dict[str, set[str]]:
        """Return the command at hand, and which arguments of the trainer's method are not options of it.

        Lightning builds a parser for each command that this returns. `cli.main` has refused all other commands.
        """
        return {self.argv[0]: LightningCLI.subcommands()[self.argv[0]]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is set beside model, data and trainer."""
        parser.add_argument("--optimizer", type=OptimizerCallable | None, default=None, help="an optimizer's class")
        parser.add_argument(
            "--lr_schedule",
            type=Schedule | None,
            default=None,
            help="factor of the learning rate, see zoo.core.schedules",
        )
        parser.add_argument(
            "--early_stopping", type=int | None, help="stop after this many epochs without a better val/acc"
        )
        parser.add_argument(
            "--compile", type=bool, default=False, help="torch.compile the model's network for its training steps"
        )
        parser.add_argument(
            "--save_every_n_steps", type=int | None, help="save last.ckpt this often too, not at the end of epochs only"
        )
        parser.add_argument(
            "--name", type=str | None, help="of the run's folder (default: the model's, and the source's)"
        )
        parser.add_argument("--runs_dir", type=str, default="runs", help="where runs are kept")
        parser.link_arguments("data.task", "model.init_args.num_classes", compute_fn=_num_classes)
        ZooParser.known |= set(parser.get_defaults(skip_validation=True).keys())

    def before_instantiate_classes(self) -> None:
        """Check what neither the parser nor Lightning checks before a run has begun; give them the checkpoint.

        It is kept from the parser until here, because Lightning would let its arguments win over the command line's.
        """
        config = self.config[self.subcommand]
        _expand_paths(config)
        resume.check_arguments(self.origin, config.model.get("init_args", {}))
        config.ckpt_path = str(self.origin.path.resolve()) if self.origin.path else None
        model = configs.import_class(config.model.class_path)
        unused = option_checks.choose_devices(ZooParser.command, model, config.trainer)
        option_checks.check(config)
        if unused is not None:
            _say(unused)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the callbacks that every run has."""
        config = self.config_init[self.subcommand]
        # Before all others: they find the run's logger.
        callbacks: list[Callback] = []
        if self.subcommand == "fit":
            callbacks.append(LambdaCallback(setup=self._open_run_of_fit, on_train_epoch_end=self._check_run_is_there))
        if self.subcommand == "fit" and config.compile:
            callbacks.append(compilation.CompiledSteps())
        theirs = _as_list(config.trainer.callbacks)
        callbacks += [*theirs, self.history]
        if config.trainer.enable_progress_bar is not False:
            bars = [] if any(isinstance(callback, LightningProgressBar) for callback in theirs) else [ProgressBar()]
            callbacks += [*bars, EpochLine(self.history)]
        if config.trainer.enable_model_summary is not False:
            callbacks += [] if any(isinstance(callback, ModelSummary) for callback in theirs) else [ModelSummary(2)]
        callbacks += self._callbacks_of_fit(config) if self.subcommand == "fit" else [self.graceful_stop]
        # The run's own logger is put in once the run has a directory. With fast_dev_run, Lightning puts in a logger
        # that writes nothing.
        logger = config.trainer.logger
        logger = bool(config.trainer.fast_dev_run) if logger in (None, True) else logger
        plugins = [*_as_list(config.trainer.plugins), WholeFileIO()]
        self.slurm = slurm.take_environment(plugins)
        if self.slurm is not None:
            self.graceful_stop.requeue = self.slurm.requeue_signal if self.subcommand == "fit" else None
            plugins += [] if self.slurm in plugins else [self.slurm]
        return super().instantiate_trainer(callbacks=callbacks, logger=logger, plugins=plugins, **kwargs)

    def _callbacks_of_fit(self, config: Any) -> list[Callback]:
        keep_config = LambdaCallback(on_save_checkpoint=self._on_save_checkpoint)
        callbacks: list[Callback] = [keep_config, FinishedEpoch(), StepSeed(int(config.seed_everything))]
        # What was logged is not logged again after a resume: it comes before the checkpoint.
        callbacks += [self.not_finite, BatchLog(), Speed(self.history), self.graceful_stop, self.ending]
        if config.trainer.fast_dev_run:
            return callbacks
        callbacks += [RunSummary(self.history, self._whole_config, self.argv), PRCurves(), Embeddings()]
        self.graceful_stop.every_n_steps = config.save_every_n_steps
        monitor = "val/acc" if config.data.val_size and config.trainer.limit_val_batches != 0 else None
        if config.trainer.enable_checkpointing is not False:
            # The best before the last, which keeps what is known of the best.
            if monitor is not None:
                self.best = RunCheckpoint(BEST, monitor=monitor)
                callbacks.append(self.best)
            self.last = RunCheckpoint(LAST)
            callbacks.append(self.last)
        if config.early_stopping is not None:
            callbacks.append(_early_stopping(config.early_stopping, monitor))
        callbacks.append(Pictures())  # after what may end the run: the last epoch has pictures
        callbacks.append(LambdaCallback(on_train_start=self._begin))
        return callbacks

    def _on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check_run_is_there()
        checkpoint["config"] = self._whole_config
        for logger in run_logger.all_of(trainer):
            logger.flush()

    def after_instantiate_classes(self) -> None:
        """Hand the data module the run's seed, the model its optimizer and schedule; check that all can be built."""
        config = self.config_init[self.subcommand]
        asked = self.config[self.subcommand]  # where `data` is what was asked for, and not yet the data module
        if asked.data.seed is None:
            self.datamodule.seed = asked.seed_everything
        # As a function, which copies of the model share: the parser's own holds the parser, which cannot be copied.
        self.model.make_optimizer = lambda parameters: config.optimizer(parameters)
        self.model.lr_schedule = config.lr_schedule
        try:
            self.model.make_optimizer(self.model.parameter_groups())
        except (TypeError, ValueError) as error:
            raise InputError(f"--optimizer: {error}") from error
        self.model.check_trainer(self.trainer)
        processes.check_launcher(self.trainer, config.trainer.strategy)
        if self.origin.path is not None and self.origin.content is not None:
            checkpoints.check_weights(self.origin.path, self.origin.content, self.model)
        _check_nodes(self.trainer)
        if config.trainer.sync_batchnorm and self.trainer.strategy.root_device.type == "cpu":
            raise InputError("--trainer.sync_batchnorm=true needs GPUs: leave it out")
        if self.trainer.world_size > 1:
            installation.check_port()
        endless = self.trainer.max_epochs in (None, -1) and self.trainer.max_steps < 0
        if endless and self.subcommand == "fit" and not isinstance(self.model.lr_schedule, Constant):
            raise InputError("--lr_schedule has to know the end: give --trainer.max_epochs or --trainer.max_steps")
        ZooCLI.is_built = True

    # Commands.

    def before_fit(self) -> None:
        """Read all data, then make the run's directory: bad data leaves nothing behind."""
        config = self.config[self.subcommand]
        model_checks.check(self.model)
        if config.compile:
            compilation.check_model(self.model)
            compilation.check_compiler(self.trainer.strategy.root_device)
        self._open_data("fit", "test")
        self._check_batches()
        self._check_origin()
        self._check_config()
        validates = self.datamodule.val is not None and config.trainer.limit_val_batches != 0
        callback_checks.check(cast(Any, self.trainer).callbacks, self.model, self.datamodule.class_names, validates)
        if config.trainer.fast_dev_run or not _is_first_process():
            _say(self.datamodule.describe())
            return
        name = config.name or type(self.model).__name__
        if self.datamodule.source == "synthetic":
            name += "-synthetic"
        _say(self.datamodule.describe())
        if self.origin.run is None:
            folder = Path(config.runs_dir) / name
            self.made = [path for path in (folder, *folder.parents) if not path.exists()]
        self.run_dir = self.origin.run or run_directory.create(Path(config.runs_dir), name)
        cast(ZooTrainer, self.trainer).profile_dir = self.run_dir / run_directory.PROFILE
        self.lock = run_directory.lock(self.run_dir)
        try:
            if self.origin.run is None:
                self._save_config(self.run_dir / run_directory.CONFIG)
        except BaseException:
            self._unlock()
            raise

    def _begin(self, *_: Any) -> None:
        """Write the config of a run that goes on, once all callbacks are set up: one that refuses changes nothing."""
        if self.has_begun or self.run_dir is None or not _is_first_process():
            return
        self.has_begun = True
        self._set_aside(self.run_dir / results.FILE)
        self._save_config(self.run_dir / run_directory.CONFIG)
        slurm.mark(self.run_dir, self.argv)
        if self.origin.path is not None:
            _say(f"Run: {self.run_dir}, from {self.origin.path}")
        else:
            anew = ", which has no checkpoint yet: it starts anew" if self.origin.run else ""
            _say(f"Run: {self.run_dir}{anew}")

    def _open_run_of_fit(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        """Tell all that writes where to; called in every process of a run, once they can talk to each other."""
        if stage != "fit":
            return
        path = self.trainer.strategy.broadcast(self.origin.path)
        if not self.trainer.strategy.reduce_boolean_decision(path == self.origin.path):
            raise RunError(f"the processes found different checkpoints to go on from: name the file, as {path}")
        self.run_dir = cast(ZooTrainer, self.trainer).run_dir = self.trainer.strategy.broadcast(self.run_dir)
        if self.run_dir is None:
            return
        self.history.path = self.run_dir / metrics_csv.FILE
        if self.last is not None:
            directory = (self.run_dir / run_directory.CHECKPOINTS).resolve()
            callback_checks.place(cast(Any, trainer).callbacks, directory)
            last = directory / f"{LAST}.ckpt"
            self.graceful_stop.path = self.not_finite.path = self.ending.path = last
            for callback in filter(None, (self.best, self.last)):
                callback.dirpath = str(directory)
        loggers = self.config_init[self.subcommand].trainer.logger
        if loggers in (None, True) or isinstance(loggers, list):
            content, epochs, steps = self.origin.content, None, None
            if self.origin.run and content:
                epochs, steps = checkpoints.epochs_done(content), content["global_step"]
            elif self.origin.run and self.trainer.is_global_zero:
                shutil.rmtree(self.run_dir / run_directory.TENSORBOARD, ignore_errors=True)  # it starts anew
            logger = RunLogger(self.run_dir, epochs, steps)
            self.trainer.loggers = [logger, *self.trainer.loggers]
            if epochs is None:
                logger.experiment.add_text("data", self.datamodule.describe())

    def fit(self, **kwargs: Any) -> None:
        """Train, then evaluate the best checkpoint on the test set, once; the last one where there is no validation
        set."""
        with self._attended():
            self.trainer.fit(**kwargs | {"weights_only": True})
            self._begin()  # where there was nothing to train
            self._test_best()

    def _discard(self) -> None:
        """Remove the directory that was made for a run which did not begin."""
        if self.run_dir is not None and self.origin.run is None and _is_first_process():
            shutil.rmtree(self.run_dir, ignore_errors=True)
            for folder in self.made:
                with contextlib.suppress(OSError):  # it holds other runs by now
                    folder.rmdir()
            self.run_dir = None

    def _refuse(self, error: BaseException) -> None:
        """Raise an InputError if a callback refused to work, or a place is of no use; in the first process alone,
        which says it for all."""
        refusal = callback_checks.refusal(error, self.trainer)
        if isinstance(error, OSError) and error.filename is not None and not self.has_begun:
            refusal = InputError(f"{_unusable_place(error)}: give another place")
        if refusal is not None and not _is_first_process():
            raise Ended(2) from None
        if refusal is not None:
            raise refusal from error

    def _test_best(self) -> None:
        facts: dict[str, Any] = {"epochs": len(self.history.rows), "fit_seconds": round(self.history.seconds, 1)}
        paths = [callback.best_model_path for callback in (self.best, self.last) if callback is not None]
        path = next(filter(None, paths), None)
        if path is not None:
            content = checkpoints.read(Path(path))
            checkpoints.check_weights(Path(path), content, self.model)
            # Not by the trainer, which would put all callbacks back to where they were then, too.
            self.model.load_state_dict(content["state_dict"])
            if self.best is not None and self.best.best_model_score is not None:
                facts["best_epoch"] = checkpoints.epochs_done(content)
                facts["val/acc"] = round(self.best.best_model_score.item(), 6)
        for logger in run_logger.all_of(self.trainer):
            logger.begin_test(self.trainer.current_epoch)
        self.trainer.test(self.model, self.datamodule, verbose=False)
        self._report("test", path, self.run_dir, facts)

    @contextlib.contextmanager
    def _attended(self) -> Iterator[None]:
        """Run the trainer in all its processes; tell in one line what ends it before its time; leave nothing open.

        Raises:
            RunError: in place of what a signal, a full disk, or the loss of the run's folder or of a process raises.
        """
        requeue = () if self.graceful_stop.requeue is None else (self.graceful_stop.requeue,)
        try:
            others = processes.launched(self.trainer, self.argv, self._tell)
            with errors_in_main_thread(), stopping_at_once(requeue), others:
                yield
        except BaseException as error:
            if not self.has_begun:
                self._discard()
            if (told := self._tell(error)) is not None:
                raise told from error
            self._refuse(error)
            raise
        finally:
            for logger in run_logger.all_of(self.trainer):
                with contextlib.suppress(OSError):  # which has been told
                    logger.close()
            self._unlock()

    def _tell(self, error: BaseException) -> RunError | None:
        """Return what to say of something outside of the program that has ended it; None of anything else."""
        if isinstance(error, Stopped):
            return RunError(self._tell_of_signal(error), error.exit_code)
        if isinstance(error, FileNotFoundError) and error.filename and self.run_dir is not None:
            time.sleep(1)  # whoever deletes a folder deletes one file after the other
            if self._is_run_gone():
                return self._run_is_gone()
            if (place := Path(os.fsdecode(error.filename))).is_relative_to(self.run_dir):
                return RunError(f"{place} was deleted or moved while the run was writing it: {self._left()}")
        if isinstance(error, OSError) and error.errno in FULL:
            return RunError(f"the disk is full ({error}): make room; {self._left()}")
        if isinstance(error, OSError) and error.filename is not None and self.has_begun:
            return RunError(f"{_unusable_place(error)}: {self._left()}")
        if isinstance(error, processes.Lost):
            return RunError(f"{error}: {self._left()}")
        return None

    def _tell_of_signal(self, stop: Stopped) -> str:
        if stop.number != self.graceful_stop.requeue or self.run_dir is None or not _is_first_process():
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
        if self.last is None:
            return "nothing was saved"
        run = shlex.quote(str(self.run_dir))
        if not (self.run_dir / run_directory.CHECKPOINTS / f"{LAST}.ckpt").is_file():
            return f"no checkpoint was saved yet; start the run anew with: fit --resume {run}"
        return f"go on with: fit --resume {run}"

    def _is_run_gone(self) -> bool:
        return self.has_begun and self.run_dir is not None and not (self.run_dir / run_directory.CONFIG).is_file()

    def _run_is_gone(self) -> RunError:
        step = self.trainer.global_step
        return RunError(f"{self.run_dir} was deleted or moved while it was in use, as seen after step {step}")

    def _check_run_is_there(self, *hook_arguments: Any) -> None:
        """Notice before anything is written that the run's folder is gone: writing would make a new one, without a
        config."""
        if self._is_run_gone():
            raise self._run_is_gone()

    def before_test(self) -> None:
        """Read the test set."""
        self._open_data("test")
        self._place_profile()
        _say(self.datamodule.describe())

    def test(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the test set."""
        with self._attended():
            self.trainer.test(**kwargs | {"weights_only": True, "verbose": False})
            self._report_beside_checkpoint("test")

    def before_validate(self) -> None:
        """Read the training set, of which the validation set is a part."""
        self._open_data("validate")
        if self.datamodule.val is None:
            raise InputError("--data.val_size=0 leaves nothing to validate on: give the size that the run had")
        self._place_profile()
        _say(self.datamodule.describe())

    def validate(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the validation set."""
        with self._attended():
            self.trainer.validate(**kwargs | {"weights_only": True, "verbose": False})
            self._report_beside_checkpoint("val")

    # Their parts.

    def _place_profile(self) -> None:
        assert self.origin.path is not None
        cast(ZooTrainer, self.trainer).profile_dir = run_directory.folder_of(self.origin.path, run_directory.PROFILE)

    def _open_data(self, *stages: str) -> None:
        # In every process: they wait for the one that downloads.
        self.datamodule.prepare_data()
        for stage in stages:
            self.datamodule.setup(stage)
        processes = self.trainer.world_size
        for name, images in (("val", self.datamodule.val), ("test", self.datamodule.test)):
            if images is not None and len(images) < processes:
                raise InputError(
                    f"--data.{name}_size={len(images)} leaves some of {processes} processes without an image"
                )

    def _check_batches(self) -> None:
        """Refuse what would end in the middle of an epoch."""
        data, trainer = self.datamodule, self.config[self.subcommand].trainer
        images = -(-len(data.train) // self.trainer.world_size)
        batches = images // data.batch_size if data.drop_last else -(-images // data.batch_size)
        size = f"--data.batch_size={data.batch_size} of {images:,} training images"
        if batches == 0:
            raise InputError(f"{size} leaves no whole batch, and --data.drop_last leaves out the others: lower it")
        batch_norm = any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in self.model.modules())
        if batch_norm and images % data.batch_size == 1 and not data.drop_last:
            raise InputError(
                f"{size} leaves a last batch of one, on which batch norm cannot train: "
                "give another size, or --data.drop_last=true"
            )
        interval = trainer.val_check_interval
        if type(interval) is int and interval > batches and trainer.check_val_every_n_epoch is not None:
            raise InputError(f"--trainer.val_check_interval={interval} is more than the {batches} batches of an epoch")

    def _check_origin(self) -> None:
        """Refuse what cannot be gone on from, or where nothing is left to do, before anything is written."""
        path, content, trainer = self.origin.path, self.origin.content, self.trainer
        trainer_config = self.config[self.subcommand].trainer
        if path is None or content is None:
            return
        if "optimizer_states" not in content:
            raise InputError(f"{path} holds weights only: it can be tested, but not trained further")
        restoring.check(path, content, trainer, self.model, self.datamodule)
        done, epochs = checkpoints.epochs_done(content), trainer.max_epochs
        if epochs not in (None, -1) and done > epochs:
            raise InputError(f"{path} has trained for {done} epochs, and --trainer.max_epochs is {epochs}: raise it")
        if self.origin.run is None:
            is_finished = done == epochs
        else:
            before = (self.origin.base or {}).get("trainer", {})
            now = self._whole_config["trainer"]
            same_length = all(before.get(name) == now.get(name) for name in ("max_epochs", "max_steps", "max_time"))
            is_finished = (self.origin.run / results.FILE).is_file() and (same_length or done == epochs)
        if is_finished:
            limit = "--trainer.max_epochs or --trainer.max_time" if trainer_config.max_time else "--trainer.max_epochs"
            raise InputError(f"{path} has trained for {done} epochs, all that it was to: raise {limit}")

    def _save_config(self, path: Path) -> None:
        config = self._whole_config | ({"ckpt_path": None} if self.origin.run else {})
        if (
            self.origin.run
            and self.origin.path
            and self.origin.path.resolve().parent.parent != self.origin.run.resolve()
        ):
            config["ckpt_path"] = str(self.origin.path)  # until the run has a checkpoint of its own
        text = yaml.safe_dump(config, sort_keys=False)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            self._set_aside(path, keep=True)
        files.write(path, text.encode())

    @cached_property
    def _whole_config(self) -> dict[str, Any]:
        dumped = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        return _as_given(dumped[self.subcommand], self.config[self.subcommand])

    def _check_config(self) -> None:
        """Refuse a command line whose config.yaml could not be read back: `--resume` would not work.

        Raises:
            InputError: says which option cannot be kept.
        """
        unkept = re.search(r"Unable to serialize instance .*", yaml.safe_dump(self._whole_config, width=10_000))
        if unkept:
            raise InputError(
                f"the run's {run_directory.CONFIG} could not be read back ({unkept[0]}): an argument, or a "
                "default, must be a number, a text, a list or a class that the config names"
            )
        config, said = copy.deepcopy(self._whole_config), io.StringIO()  # a copy, which the parser changes
        try:
            with contextlib.redirect_stderr(said):
                self.parser.parse_object({"subcommand": self.subcommand, self.subcommand: config})
        except SystemExit as error:
            reason = said.getvalue().removeprefix("error: ")
            raise InputError(f"the run's {run_directory.CONFIG} could not be read back: {reason}") from error

    def _set_aside(self, path: Path, keep: bool = False) -> None:
        """Put a file of a run that goes on under the name of the epochs that it is of."""
        if self.origin.content is None or not path.is_file():
            return
        done = checkpoints.epochs_done(self.origin.content)
        names = [
            path.with_stem(f"{path.stem}_{done}_epochs{suffix}") for suffix in ("", *(f"_{k}" for k in range(2, 1000)))
        ]
        aside = next(name for name in names if not name.exists())
        if keep:
            files.write(aside, path.read_bytes())
        else:
            path.rename(aside)

    def _unlock(self) -> None:
        if self.lock is not None:
            Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock.release()

    @rank_zero_only
    def _report_beside_checkpoint(self, stage: Stage) -> None:
        if stage not in self.model.results:
            raise InputError(f"nothing was evaluated: --trainer.limit_{stage}_batches is 0")
        evaluation_results.show(self.model, self.datamodule, stage)
        assert self.origin.path is not None
        directory = run_directory.create(run_directory.folder_of(self.origin.path, stage).parent, stage)
        try:
            self._write_report(stage, str(self.origin.path), directory, {})
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            with contextlib.suppress(OSError):  # it holds the results of others
                directory.parent.rmdir()
            raise

    @rank_zero_only
    def _report(self, stage: Stage, checkpoint: str | None, directory: Path | None, facts: dict[str, Any]) -> None:
        if stage in self.model.results:
            evaluation_results.show(self.model, self.datamodule, stage)
            if directory is not None:
                self._write_report(stage, checkpoint, directory, facts)

    def _write_report(self, stage: Stage, checkpoint: str | None, directory: Path, facts: dict[str, Any]) -> None:
        config = self.config[self.subcommand]
        facts = {"seed": config.seed_everything, "checkpoint": checkpoint, **facts}
        evaluation_results.write(self.trainer, self.model, self.datamodule, stage, directory, facts)
        _say(f"Results: {directory}")
        if run_logger.all_of(self.trainer):
            # The runs_dir of a run that goes on may be a stranger's.
            place = config.runs_dir if self.origin.run is None else self.origin.run.parent
            _say(f"TensorBoard: tensorboard --logdir {shlex.quote(str(place))} --samples_per_plugin images=200")


def _unusable_place(error: OSError) -> str:
    place = error.filename if isinstance(error.filename, int) else os.fsdecode(error.filename)
    return f"{place} cannot be written or read ({error.strerror or error})"


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _expand_paths(options: Any) -> None:
    """Expand `~/` and `~user/` at the start of every value of a parsed config, those of loggers and callbacks included.

    Only a path starts with them. Lightning's TensorBoardLogger expands `~` and its CSVLogger does not: left to them, a
    run would lie in two places.
    """
    for key, value in list(enumerate(options) if isinstance(options, list) else options.items()):
        if isinstance(value, (list, dict, Namespace)):
            _expand_paths(value)
        elif isinstance(value, (str, Path)) and str(value).startswith("~"):
            options[key] = type(value)(user_path(value))


def _check_nodes(trainer: L.Trainer) -> None:
    """Refuse several nodes where nothing tells the processes of each other: they would wait for ever."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    told = {"MASTER_ADDR", "NODE_RANK", "GROUP_RANK"} & os.environ.keys()
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment) and not told:
        raise InputError(
            f"--trainer.num_nodes={trainer.num_nodes}: no launcher has started this process on every node: "
            "use torchrun or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each node"
        )


def _num_classes(task: str) -> int:
    return 2 if task == "binary" else 10


def _as_given(dumped: Any, given: Any) -> Any:
    """Return a dumped config with texts as they were given.

    jsonargparse takes some for something else: the name of a pruning function, an enumeration of texts.
    """
    if isinstance(given, str) and dumped != given:
        return str.__str__(given.value if isinstance(given, Enum) else given)
    if isinstance(dumped, dict):
        return {name: _as_given(value, given[name]) if name in given else value for name, value in dumped.items()}
    if isinstance(dumped, list) and isinstance(given, (list, tuple)):
        return [_as_given(*pair) for pair in zip(dumped, given, strict=True)]
    return dumped


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _early_stopping(patience: int, monitor: str | None) -> EpochEarlyStopping:
    if patience < 1:
        raise InputError(f"--early_stopping={patience}: give the number of epochs to wait, at least 1")
    if monitor is None:
        raise InputError("--early_stopping needs a validation set: --data.val_size is 0")
    return EpochEarlyStopping(patience)


@rank_zero_only
def _say(text: str) -> None:
    print(printable(text), flush=True)
