"""`Fit`: trains a model in a run directory, then evaluates its best checkpoint on the test set."""

import contextlib
import shutil
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import Callback, LambdaCallback

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError, RunError
from zoo.core import about
from zoo.runs import checkpoints, metrics_csv, metrics_json, run_directory
from zoo.runs.checkpoints import BEST, LAST
from zoo.runs.command_line import CommandLine
from zoo.runs.resume import Origin
from zoo.training import (
    callback_checks,
    compilation,
    model_checks,
    other_loggers,
    processes,
    restoring,
    run_logger,
    slurm,
    stage_results,
)
from zoo.training.callbacks.averages import EMA, SWA, TrainedWeights
from zoo.training.callbacks.batch_log import BatchLog
from zoo.training.callbacks.curves import Curves
from zoo.training.callbacks.early_stopping import EpochEarlyStopping
from zoo.training.callbacks.ending import Ending
from zoo.training.callbacks.finished_epoch import FinishedEpoch
from zoo.training.callbacks.finite import StopWhenNotFinite
from zoo.training.callbacks.freezing import Freezing
from zoo.training.callbacks.model_origin import ModelOrigin
from zoo.training.callbacks.optimizer_state import OptimizerState
from zoo.training.callbacks.run_checkpoint import RunCheckpoint
from zoo.training.callbacks.sharpness_aware import SharpnessAware
from zoo.training.callbacks.speed import Speed
from zoo.training.callbacks.step_seed import StepSeed
from zoo.training.callbacks.unfinished_epoch import UnfinishedEpoch
from zoo.training.lightning_cli import ZooCLI
from zoo.training.run_config import RunConfig
from zoo.training.run_logger import RunLogger
from zoo.training.tensorboard.embeddings import Embeddings
from zoo.training.tensorboard.pictures import Pictures
from zoo.training.tensorboard.pr_curves import PRCurves
from zoo.training.tensorboard.run_summary import RunSummary
from zoo.training.trainer_command import TrainerCommand

NUMPY_STEPS = 10  # from one update of an average to the next: the steps between them are made in one call


class Fit(TrainerCommand):
    """Trains a model."""

    def __init__(self, command_line: CommandLine, origin: Origin) -> None:
        self.best: RunCheckpoint | None = None
        self.not_finite, self.ending = StopWhenNotFinite(), Ending()
        self._made: list[Path] = []  # new folders of the run, the innermost first
        self._lock: FileLock | None = None
        super().__init__(command_line, origin)
        self.graceful_stop.requeue = None if self.cli.slurm is None else self.cli.slurm.requeue_signal

    def callbacks(self, cli: ZooCLI, others: list[Callback]) -> list[Callback]:
        """Return the callbacks of the trainer; each comes after those that it depends on."""
        config, self.run_config = cli.config_init, RunConfig(cli.parser, cli.config, self.origin)
        # The run's logger comes before all others.
        callbacks: list[Callback] = [
            LambdaCallback(setup=self._open_run, on_train_epoch_end=self.check_run_is_there),
            *([compilation.CompiledSteps()] if config.compile else []),
            *([Freezing(stops_backward=not config.compile)] if config.freeze else []),
            *([SharpnessAware()] if config.sam and cli.model.automatic_optimization else []),
            *super().callbacks(cli, others),
            # After callbacks that change the weights, and before those that save them.
            *self._averages(cli),
            TrainedWeights(),
            LambdaCallback(on_save_checkpoint=self._on_save_checkpoint),
            ModelOrigin(),
            OptimizerState(),
            UnfinishedEpoch(),
            FinishedEpoch(),
            StepSeed(int(config.seed_everything)),
            Curves(),
            # Before the checkpoint: a resume does not log again what was logged.
            self.not_finite,
            BatchLog(),
            Speed(self.history),
            self.graceful_stop,
            self.ending,
        ]
        if config.trainer.fast_dev_run:
            return callbacks
        summary = RunSummary(self.history, self.run_config.plain, self.command_line.argv)
        callbacks += [summary, PRCurves(), Embeddings()]
        self.graceful_stop.every_n_steps = config.save_every_n_steps
        validates = config.data.val_size != 0 and config.trainer.limit_val_batches != 0
        if config.trainer.enable_checkpointing is not False:
            # The best before the last: last.ckpt holds the state of the best.
            self.best = RunCheckpoint(BEST, monitor="val/acc") if validates else None
            self.last = RunCheckpoint(LAST)
            callbacks += filter(None, (self.best, self.last))
        if config.early_stopping is not None:
            if not validates:
                raise InputError("--early_stopping needs a validation set: --data.val_size is 0")
            callbacks.append(EpochEarlyStopping(config.early_stopping))
        # After the callbacks that may end the run: the last epoch has plots.
        return [*callbacks, Pictures(), LambdaCallback(on_train_start=self._begin)]

    def _averages(self, cli: ZooCLI) -> list[Callback]:
        """Return the callback that averages the weights, as a list of one or none."""
        config, every_n_steps = cli.config_init, 1 if cli.model.automatic_optimization else NUMPY_STEPS
        if config.ema is not None:
            return [EMA(config.ema, every_n_steps)]
        return [] if config.swa is None else [SWA(config.swa, every_n_steps)]

    def prepare(self) -> None:
        """Read all data and check everything, then make the run's directory: an InputError leaves no files."""
        config = self.config
        model_checks.check(self.model, self.data.augmentation.mixes_images)
        if config.compile:
            compilation.check_model(self.model)
            compilation.check_compiler(self.trainer.strategy.root_device)
        self.open_data("fit", "test")
        self._check_batches()
        self._check_origin()
        self.run_config.check()
        validates = self.data.val is not None and config.trainer.limit_val_batches != 0
        callback_checks.check(self.trainer, self.model, self.data.class_names, validates)
        for line in (self.data.describe(), *self.cli.notes):
            processes.say(line)
        if config.trainer.fast_dev_run or not processes.is_first():
            return
        if self.origin.run is None:
            name = config.name or type(self.model).__name__
            data_set = self.data.data_set
            folder = Path(config.runs_dir) / (name if data_set is CIFAR10 else f"{name}-{data_set.name}")
            self._made = [path for path in (folder, *folder.parents) if not path.exists()]
            self.run_dir = run_directory.create(folder.parent, folder.name)
        else:
            self.run_dir = self.origin.run
        self.trainer.profile_dir = self.run_dir / run_directory.PROFILE
        self._lock = run_directory.lock(self.run_dir)
        try:
            if self.origin.run is None:
                self.run_config.save(self.run_dir)
        except BaseException:
            self.close()
            raise

    def _check_batches(self) -> None:
        """Check that every batch of an epoch can be trained on."""
        data, options = self.data, self.config.trainer
        assert data.train is not None
        images = -(-len(data.train) // self.trainer.world_size)
        batches = images // data.batch_size if data.drop_last else -(-images // data.batch_size)
        size = f"--data.batch_size={data.batch_size} of {images:,} training images"
        if batches == 0:
            raise InputError(f"{size} is less than a batch, and --data.drop_last drops it: lower the batch size")
        batch_norm = any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in self.model.modules())
        if batch_norm and images % data.batch_size == 1 and not data.drop_last:
            way_out = "give another size, or --data.drop_last=true"
            raise InputError(f"{size} leaves a last batch of one, on which batch norm cannot train: {way_out}")
        interval = options.val_check_interval
        if type(interval) is int and interval > batches and options.check_val_every_n_epoch is not None:
            raise InputError(f"--trainer.val_check_interval={interval} is more than the {batches} batches of an epoch")

    def _check_origin(self) -> None:
        """Check that a checkpoint can be trained further, and that its training is not finished."""
        path, content, run = self.origin.path, self.origin.content, self.origin.run
        if path is None or content is None:
            return
        if "optimizer_states" not in content:
            raise InputError(f"{path} holds weights only: it can be tested, but not trained further")
        restoring.check(path, content, self.trainer, self.model, self.data)
        done, epochs = checkpoints.epochs_done(content), self.trainer.max_epochs
        if epochs not in (None, -1) and done > epochs:
            raise InputError(f"{path} has trained for {done} epochs, and --trainer.max_epochs is {epochs}: raise it")
        is_finished = done == epochs
        if run is not None:
            before, now = (self.origin.config or {}).get("trainer", {}), self.run_config.plain["trainer"]
            same_length = all(before.get(name) == now.get(name) for name in ("max_epochs", "max_steps", "max_time"))
            is_finished = (run / metrics_json.FILE).is_file() and (same_length or is_finished)
        if is_finished:
            timed = " or --trainer.max_time" if self.config.trainer.max_time else ""
            raise InputError(f"{path} has trained for {done} epochs and is finished: raise --trainer.max_epochs{timed}")

    def run(self) -> None:
        """Train, then evaluate the best checkpoint (the last one without validation) on the test set, once."""
        self.prepare()
        with self.attended():
            self.trainer.fit(self.model, self.data, ckpt_path=self.config.ckpt_path, weights_only=True)
            self._begin()  # if there was nothing to train
            self._test_best()

    def _open_run(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        """Set the paths of everything that writes, in every process of a run, once the processes are connected."""
        if stage != "fit":
            return
        path = self.trainer.strategy.broadcast(self.origin.path)
        if not self.trainer.strategy.reduce_boolean_decision(path == self.origin.path):
            raise RunError(f"the processes would go on from different checkpoints: name the file, such as {path}")
        self.run_dir = self.trainer.run_dir = self.trainer.strategy.broadcast(self.run_dir)
        if self.run_dir is None:
            return
        self.history.path = self.run_dir / metrics_csv.FILE
        if self.last is not None:
            directory = (self.run_dir / run_directory.CHECKPOINTS).resolve()
            callback_checks.place(cast(Any, trainer).callbacks, directory)
            self.graceful_stop.path = self.not_finite.path = self.ending.path = directory / f"{LAST}.ckpt"
            for callback in filter(None, (self.best, self.last)):
                callback.dirpath = str(directory)
        loggers = self.cli.config_init.trainer.logger
        if loggers in (None, True) or isinstance(loggers, list):
            self.trainer.loggers = [self._run_logger(self.run_dir), *self.trainer.loggers]

    def _run_logger(self, run_dir: Path) -> RunLogger:
        content = self.origin.content
        if self.origin.run and content:
            return RunLogger(run_dir, checkpoints.epochs_done(content), content["global_step"])
        if self.origin.run and self.trainer.is_global_zero:
            shutil.rmtree(run_dir / run_directory.TENSORBOARD, ignore_errors=True)  # of the run's first start
        logger = RunLogger(run_dir)
        logger.experiment.add_text("data", self.data.describe())
        return logger

    def _begin(self, *hook_arguments: Any) -> None:
        """Write the config of a run that goes on, after all callbacks have accepted their arguments."""
        if self.has_begun or self.run_dir is None or not processes.is_first():
            return
        self.has_begun = True
        self.run_config.set_aside(self.run_dir / metrics_json.FILE)
        self.run_config.save(self.run_dir)
        slurm.mark(self.run_dir, self.command_line.argv)
        kind = type(self.model)
        other_loggers.begin(
            self.trainer, self.run_config.plain, [kind.__name__, self.data.data_set.name, *about.read(kind).tags]
        )
        start = ", which has no checkpoint yet: it starts again" if self.origin.run else ""
        processes.say(f"Run: {self.run_dir}{f', from {self.origin.path}' if self.origin.path else start}")

    def _on_save_checkpoint(self, trainer: L.Trainer, model: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.check_run_is_there()
        # A training goes on from the checkpoint's weights, not from those that it started with.
        checkpoint["config"] = {key: value for key, value in self.run_config.plain.items() if key != "init_from"}
        for logger in run_logger.run_loggers(trainer):
            logger.flush()

    def _test_best(self) -> None:
        facts: dict[str, Any] = {"epochs": len(self.history.rows), "fit_seconds": round(self.history.seconds, 1)}
        paths = [callback.best_model_path for callback in (self.best, self.last) if callback is not None]
        path = next(filter(None, paths), None)
        if path is not None:
            content = checkpoints.read(Path(path))
            checkpoints.check_weights(Path(path), content, self.model)
            # The trainer would restore the state of all callbacks, too.
            self.model.load_state_dict(content["state_dict"])
            if self.best is not None and self.best.best_model_score is not None:
                facts["best_epoch"] = checkpoints.epochs_done(content)
                facts["val/acc"] = round(self.best.best_model_score.item(), 6)
        for logger in run_logger.run_loggers(self.trainer):
            logger.begin_test(self.trainer.current_epoch)
        self.trainer.test(self.model, self.data, verbose=False)
        if processes.is_first() and "test" in self.model.results:
            self.report("test", path, self.run_dir, facts)
            if self.run_dir is not None:
                names = (run_directory.CONFIG, metrics_json.FILE, *stage_results.PLOTS)
                checkpoint = [] if path is None else [Path(path)]
                other_loggers.keep(self.trainer, [*(self.run_dir / name for name in names), *checkpoint])

    def discard(self) -> None:
        """Remove the directory of a run that did not begin, and new folders above it."""
        if self.run_dir is not None and self.origin.run is None and processes.is_first():
            shutil.rmtree(self.run_dir, ignore_errors=True)
            for folder in self._made:
                with contextlib.suppress(OSError):  # another run is in it
                    folder.rmdir()
            self.run_dir = None

    def close(self) -> None:
        """End other loggers, and release the lock of the run."""
        if self.has_begun:
            other_loggers.finish(self.trainer, exit_code=int(self.has_failed))
        if self._lock is not None:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
