"""`fit`, `validate`, `test` and `predict`: a `LightningCLI` over the zoo and the one data module."""

import copy
import csv
import logging
import os
import platform
import sys
import time
import warnings
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, ModelSummary
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, OptimizerCallable
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from zoo import checkpoints, registry, runs
from zoo import config as configs
from zoo.callbacks import history
from zoo.callbacks.progress import EpochLine, ProgressBar
from zoo.classifier import Classifier, Stage
from zoo.evaluation import results
from zoo.parser import ZooParser, check_class
from zoo.schedules import Constant, Schedule
from zoo.trainer import ZooTrainer

SEED = 0
TRAINER_DEFAULTS = {"max_epochs": 10, "num_sanity_val_steps": 0}


def main(argv: list[str]) -> None:
    """Run one of Lightning's commands.

    Args:
        argv: the command and its options.

    Raises:
        InputError: for bad input that the parser does not see.
        SystemExit: with code 2 for bad input that it sees.
    """
    _quieten()
    sys.path.append(os.getcwd())  # so that a model of one's own is found where one stands
    command, *options = argv
    composed = configs.compose(options)
    config = composed.config
    wants_help = bool({"-h", "--help"} & set(options))
    if not config.get("model") and not wants_help:
        raise InputError(
            f"{command} needs a model: name one by --config ({', '.join(configs.shipped())}) "
            f"or --model ({', '.join(registry.entries())})"
        )
    ZooParser.command, ZooParser.known = composed, set()
    model = check_class("model", composed, Classifier)
    if model is not None and config.get("optimizer") is None:
        config["optimizer"] = copy.deepcopy(model.default_optimizer)
    if config.get("lr_schedule") is None:
        config["lr_schedule"] = {"class_path": "zoo.schedules.Constant"}
    check_class("optimizer", composed, torch.optim.Optimizer)
    check_class("lr_schedule", composed, Schedule)
    ZooCLI.is_built = False
    try:
        ZooCLI(args=[command, *configs.as_argument(config), *composed.rest])
    except (ValueError, TypeError, RuntimeError, ImportError, LookupError, MisconfigurationException) as error:
        # jsonargparse wraps what a class raises when it is built. What goes wrong later is not the command line's
        # fault, and is worth a traceback.
        cause = _input_error_behind(error)
        if cause is None and ZooCLI.is_built:
            raise
        raise cause or InputError(error) from error


def _input_error_behind(error: BaseException | None) -> InputError | None:
    """Return the InputError that led to `error`, if one did."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _quieten() -> None:
    """Silence what Lightning says at every start and what does not concern this project."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        "LightningCLI's args parameter is intended",  # configs are composed before the parser sees them
        ".*does not have many workers.*",  # a worker would slow the loaders down
        ".*`lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",
        "The number of training batches .* is smaller than the logging interval",
        ".*LeafSpec.* is deprecated",
        "Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided",
        "You defined a `validation_step` but have no `val_dataloader`",  # val_size 0 says so itself
    ):
        warnings.filterwarnings("ignore", message=message)


class ZooCLI(LightningCLI):
    """A `LightningCLI` for any model and `CIFAR10DataModule`; see `zoo.runs` for what a run leaves behind."""

    is_built: ClassVar[bool] = False  # whether all that the command line asks for could be built

    def __init__(self, args: ArgsType) -> None:
        self.history = history.History()
        self.checkpoints: ModelCheckpoint | None = None
        self.run_dir: Path | None = None
        self._started = time.perf_counter()
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

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is set beside model, data and trainer."""
        parser.add_argument("--optimizer", type=OptimizerCallable | None, default=None, help="an optimizer's class")
        parser.add_argument(
            "--lr_schedule", type=Schedule | None, default=None, help="factor of the learning rate, see zoo.schedules"
        )
        parser.add_argument(
            "--early_stopping", type=int | None, help="stop after this many epochs without a better val/acc"
        )
        parser.add_argument(
            "--name", type=str | None, help="of the run's folder (default: the model's, and the source's)"
        )
        parser.add_argument("--runs_dir", type=str, default="runs", help="where runs are kept")
        parser.link_arguments("data.task", "model.init_args.num_classes", compute_fn=_num_classes)
        ZooParser.known |= set(parser.get_defaults(skip_validation=True).keys())

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and check the checkpoint before anything is taken from it."""
        super().parse_arguments(parser, args)
        command = self.config["subcommand"]
        config = self.config[command]
        if config.ckpt_path is not None:
            checkpoints.check(config.ckpt_path, config.model.class_path)
        elif command != "fit":
            raise InputError(f"{command} needs a trained model: --ckpt_path runs/.../checkpoints/best.ckpt")

    def before_instantiate_classes(self) -> None:
        """Check what neither the parser nor Lightning checks before a run has begun."""
        config = self.config[self.subcommand]
        if config.name is not None and (config.name in (".", "..") or Path(config.name).name != config.name):
            raise InputError(f"--name={config.name} is no plain name for a folder: use --runs_dir for its place")
        for option in ("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes", "log_every_n_steps"):
            value = config.trainer[option]
            if value is not None and value < 1:
                raise InputError(f"--trainer.{option}={value} is out of range: give a number of at least 1")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the callbacks that every run has."""
        config = self.config_init[self.subcommand]
        callbacks: list[Callback] = [*(config.trainer.callbacks or []), self.history]
        if config.trainer.enable_progress_bar is not False:
            callbacks += [ProgressBar(), EpochLine()]
        if config.trainer.enable_model_summary is not False:
            callbacks.append(ModelSummary(max_depth=2))
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            monitor = "val/acc" if config.data.val_size and config.trainer.limit_val_batches != 0 else None
            if config.trainer.enable_checkpointing is not False:
                self.checkpoints = _checkpoints(monitor)
                callbacks.append(self.checkpoints)
            if config.early_stopping is not None:
                callbacks.append(_early_stopping(config.early_stopping, monitor))
        # The logger is put in once the run has a directory.
        logger = False if config.trainer.logger in (None, True) else config.trainer.logger
        return super().instantiate_trainer(callbacks=callbacks, logger=logger, **kwargs)

    def after_instantiate_classes(self) -> None:
        """Hand the data module the run's seed, the model its optimizer and schedule; check that all can be built."""
        config = self.config_init[self.subcommand]
        if config.data.seed is None:
            self.datamodule.seed = self.config[self.subcommand].seed_everything
        self.model.make_optimizer, self.model.lr_schedule = config.optimizer, config.lr_schedule
        try:
            self.model.make_optimizer(self.model.parameters())
        except (TypeError, ValueError) as error:
            raise InputError(f"--optimizer: {error}") from error
        endless = self.trainer.max_epochs in (None, -1) and self.trainer.max_steps < 0
        if endless and self.subcommand == "fit" and not isinstance(self.model.lr_schedule, Constant):
            raise InputError("--lr_schedule has to know the end: give --trainer.max_epochs or --trainer.max_steps")
        ZooCLI.is_built = True

    # Commands.

    def before_fit(self) -> None:
        """Read all data, then make the run's directory: bad data leaves nothing behind."""
        self._open_data("fit", "test")
        self._check_batches()
        config = self.config[self.subcommand]
        if config.trainer.fast_dev_run:
            return
        name = config.name or type(self.model).__name__
        if self.datamodule.source == "synthetic":
            name += "-synthetic"
        self.run_dir = runs.create(Path(config.runs_dir), name, is_first_process=_is_first_process())
        self.history.path = self.run_dir / "metrics.csv"
        if self.checkpoints is not None:
            self.checkpoints.dirpath = str(self.run_dir / "checkpoints")
        if config.trainer.logger in (None, True):
            self.trainer.logger = TensorBoardLogger(
                self.run_dir, name="", version="tensorboard", default_hp_metric=False
            )
            self.trainer.logger.experiment.add_text("data", self.datamodule.describe())
        self._save_config(self.run_dir / "config.yaml")
        _say(f"Run: {self.run_dir}")
        self._started = time.perf_counter()

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on the test set, once; the last one where there is no validation set."""
        facts: dict[str, Any] = {"fit_seconds": round(time.perf_counter() - self._started, 1)}
        path = None
        if self.checkpoints is not None:
            path = self.checkpoints.best_model_path or self.checkpoints.last_model_path or None
            if path and self.checkpoints.best_model_score is not None:
                facts["best_epoch"] = torch.load(path, weights_only=True, map_location="cpu")["epoch"] + 1
                facts["val/acc"] = round(self.checkpoints.best_model_score.item(), 6)
        self.trainer.test(self.model, self.datamodule, ckpt_path=path, weights_only=True, verbose=False)
        self._report("test", path, self.run_dir, facts)

    def before_test(self) -> None:
        """Read the test set."""
        self._open_data("test")

    def test(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the test set."""
        self.trainer.test(**kwargs | {"weights_only": True, "verbose": False})
        self._report_beside_checkpoint("test")

    def before_validate(self) -> None:
        """Read the training set, of which the validation set is a part."""
        self._open_data("validate")
        if self.datamodule.val is None:
            raise InputError("--data.val_size=0 leaves nothing to validate on: give the size that the run had")

    def validate(self, **kwargs: Any) -> None:
        """Evaluate a checkpoint on the validation set."""
        self.trainer.validate(**kwargs | {"weights_only": True, "verbose": False})
        self._report_beside_checkpoint("val")

    def before_predict(self) -> None:
        """Read the test set."""
        self._open_data("predict")

    def predict(self, **kwargs: Any) -> None:
        """Write each test image's probabilities as a CSV file beside the checkpoint."""
        batches: Any = self.trainer.predict(**kwargs | {"weights_only": True, "return_predictions": True})
        if not batches:
            raise InputError("nothing was predicted: --trainer.limit_predict_batches is 0")
        self._write_predictions(torch.cat(batches))

    @rank_zero_only
    def _write_predictions(self, probabilities: torch.Tensor) -> None:
        directory, names = self._directory_beside_checkpoint("predict"), self.datamodule.class_names
        with (directory / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["index", "prediction", *names])
            # Fewer than all where --trainer.limit_predict_batches says so.
            for index, row in zip(self.datamodule.test.indices.tolist(), probabilities.tolist(), strict=False):
                best = max(range(len(row)), key=row.__getitem__)
                writer.writerow([index, names[best], *(f"{value:.6f}" for value in row)])
        _say(f"Predictions: {directory / 'predictions.csv'}")

    # Their parts.

    def _open_data(self, *stages: str) -> None:
        if _is_first_process():
            self.datamodule.prepare_data()
        for stage in stages:
            self.datamodule.setup(stage)
        _say(self.datamodule.describe())

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

    @rank_zero_only
    def _save_config(self, path: Path) -> None:
        whole = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        path.write_text(yaml.safe_dump(whole[self.subcommand], sort_keys=False), encoding="utf-8")

    def _directory_beside_checkpoint(self, kind: str) -> Path:
        run = runs.of_checkpoint(Path(self.config[self.subcommand].ckpt_path))
        return runs.create(run, kind)

    @rank_zero_only
    def _report_beside_checkpoint(self, stage: Stage) -> None:
        if stage not in self.model.results:
            raise InputError(f"nothing was evaluated: --trainer.limit_{stage}_batches is 0")
        path = self.config[self.subcommand].ckpt_path
        self._report(stage, path, self._directory_beside_checkpoint(stage), {})

    @rank_zero_only
    def _report(self, stage: Stage, checkpoint: str | None, directory: Path | None, facts: dict[str, Any]) -> None:
        """Print the results, and write them to `directory` where there is one."""
        if stage not in self.model.results:
            return
        data, model = self.datamodule, type(self.model).__name__
        summary = self.model.results[stage]
        images = sum(map(sum, summary["confusion"]))
        title = f"{model} on {data.source_name}, {images:,} {stage} images"
        print(f"\n{results.table(title, summary, data.class_names)}\n")
        if directory is None:
            return
        content = {
            "model": model,
            "data": {
                "source": data.source_name,
                "task": data.task,
                "train": len(data.train) if data.train else None,
                "val": len(data.val) if data.val else 0,
                "test": len(data.test) if data.test else None,
            },
            "seed": self.config[self.subcommand].seed_everything,
            "checkpoint": os.path.relpath(checkpoint, directory) if checkpoint else None,
            **facts,
            f"{stage}/images": images,
            **results.flatten(stage, summary, data.class_names),
            "hardware": _hardware(self.trainer),
            "versions": results.versions(),
        }
        results.write_json(directory / results.FILE, content)
        self._draw(stage, title, summary, directory)
        _say(f"Results: {directory}")
        if isinstance(self.trainer.logger, TensorBoardLogger):
            _say(f"TensorBoard: tensorboard --logdir {self.config[self.subcommand].runs_dir}")

    def _draw(self, stage: Stage, title: str, summary: dict[str, Any], directory: Path) -> None:
        from zoo.figures import confusion_matrix, learning_curves  # matplotlib takes a second to import

        figure = confusion_matrix.draw(summary["confusion"], self.datamodule.class_names, title)
        figure.savefig(directory / "confusion_matrix.png", dpi=120)
        if isinstance(self.trainer.logger, TensorBoardLogger):
            self.trainer.logger.experiment.add_figure(f"{stage}/confusion_matrix", figure, self.trainer.global_step)
        if (directory / "metrics.csv").is_file():
            curves = learning_curves.draw(history.read(directory / "metrics.csv"), title.split(", ")[0])
            curves.savefig(directory / "learning_curves.png", dpi=120)


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _num_classes(task: str) -> int:
    return 2 if task == "binary" else 10


def _checkpoints(monitor: str | None) -> ModelCheckpoint:
    """Keep the last epoch's checkpoint, and the best one's where there is a validation set to tell it by."""
    return ModelCheckpoint(
        filename="best",
        monitor=monitor,
        mode="max",
        save_top_k=1 if monitor else 0,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _early_stopping(patience: int, monitor: str | None) -> EarlyStopping:
    if patience < 1:
        raise InputError(f"--early_stopping={patience}: give the number of epochs to wait, at least 1")
    if monitor is None:
        raise InputError("--early_stopping needs a validation set: --data.val_size is 0")
    return EarlyStopping(monitor, mode="max", patience=patience)


def _hardware(trainer: L.Trainer) -> str:
    if trainer.strategy.root_device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(trainer.strategy.root_device)}"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)
