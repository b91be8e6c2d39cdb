"""`ZooCLI`: a `LightningCLI` that builds model, data module and trainer from a command line."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, OptimizerCallable

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import DATA_SETS
from datamodules.errors import InputError
from datamodules.paths import user_path
from zoo.core.classifier import Classifier
from zoo.core.schedules import Constant, Schedule
from zoo.runs import checkpoints, configs, options, resume
from zoo.runs.checkpoints import WholeFileIO
from zoo.runs.command_line import CommandLine, needs_model
from zoo.training import option_checks, processes, slurm
from zoo.training.parser import ZooParser, check_class, parsing
from zoo.training.trainer import ZooTrainer

# The types of the options that neither Lightning nor a class of ours defines.
TYPES: dict[str, Any] = {
    "optimizer": OptimizerCallable | None,
    "lr_schedule": Schedule | None,
    "early_stopping": int | None,
    "compile": bool,
    "save_every_n_steps": int | None,
    "name": str | None,
    "runs_dir": str,
    "ckpt_path": str | None,
}


class ZooCLI(LightningCLI):
    """Builds model, data module and trainer; it runs nothing.

    Args:
        command_line: of `fit`, `validate` or `test`.
        origin: where the command starts.
        callbacks: makes the trainer's callbacks, from this object with its options built and from the user's callbacks.

    Attributes:
        slurm: Lightning's view of SLURM, if SLURM has started this process.

    Raises:
        InputError: for bad input that the parser does not see; other errors are those of the classes that are built.
        Ended: for bad input that the parser sees, and after the help.
    """

    config: Namespace

    def __init__(
        self,
        command_line: CommandLine,
        origin: resume.Origin,
        callbacks: "Callable[[ZooCLI, list[Callback]], list[Callback]]",
    ) -> None:
        self.command_line, self.origin, self.callbacks = command_line, origin, callbacks
        self.slurm: Any = None
        with parsing(command_line) as self.parsing:
            _complete(command_line)
            super().__init__(
                Classifier,
                CIFAR10DataModule,
                save_config_callback=None,
                trainer_class=ZooTrainer,
                trainer_defaults=options.TRAINER_DEFAULTS,
                seed_everything_default=options.TABLE["seed_everything"].default,
                parser_class=ZooParser,
                subclass_mode_model=True,
                args=command_line.for_parser(),
                run=False,
                auto_configure_optimizers=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options beside those of model, data and trainer."""
        for name in options.OWN:
            # Absent, the schedule's class is filled in beforehand (see `_complete`): its arguments may be given alone.
            default = None if name == "lr_schedule" else options.TABLE[name].default
            parser.add_argument(f"--{name}", type=TYPES[name], default=default, help=options.TABLE[name].text)
        parser.link_arguments(("data.source", "data.task"), "model.init_args.num_classes", compute_fn=_num_classes)
        self.parsing.known.update(parser.get_defaults(skip_validation=True).keys())

    def before_instantiate_classes(self) -> None:
        """Check what neither the parser nor Lightning checks before a run has begun."""
        config = self.config
        _expand_paths(config)
        resume.check_arguments(self.origin, config.model.get("init_args", {}))
        config.ckpt_path = str(self.origin.path.resolve()) if self.origin.path else None
        model = configs.import_class(config.model.class_path)
        unused = option_checks.choose_devices(self.command_line, model, config.trainer)
        option_checks.check(config)
        if unused is not None:
            processes.say(unused)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the run's callbacks."""
        trainer = self.config_init.trainer
        # The run's own logger is put in once the run has a directory. With fast_dev_run, Lightning puts in a logger
        # that writes nothing.
        logger = bool(trainer.fast_dev_run) if trainer.logger in (None, True) else trainer.logger
        plugins = [*_as_list(trainer.plugins), WholeFileIO()]
        self.slurm = slurm.take_environment(plugins)
        plugins += [self.slurm] if self.slurm is not None and self.slurm not in plugins else []
        callbacks = self.callbacks(self, _as_list(trainer.callbacks))
        return super().instantiate_trainer(callbacks=callbacks, logger=logger, plugins=plugins, **kwargs)

    def after_instantiate_classes(self) -> None:
        """Hand the data module the run's seed and the model its optimizer and schedule. Check that they fit."""
        built, config = self.config_init, self.config
        model, trainer = self.model, self.trainer
        if config.data.seed is None:
            self.datamodule.seed = config.seed_everything
        # As a function, which copies of the model share: the parser's own holds the parser, which cannot be copied.
        model.make_optimizer = lambda parameters: built.optimizer(parameters)
        model.lr_schedule = built.lr_schedule
        try:
            model.make_optimizer(model.parameter_groups())
        except (TypeError, ValueError) as error:
            raise InputError(f"--optimizer: {error}") from error
        model.check_trainer(trainer)
        processes.check(trainer, built.trainer)
        if self.origin.path is not None and self.origin.content is not None:
            checkpoints.check_weights(self.origin.path, self.origin.content, model)
        trains_without_end = trainer.max_epochs in (None, -1) and trainer.max_steps < 0
        if trains_without_end and self.command_line.command == "fit" and not isinstance(model.lr_schedule, Constant):
            raise InputError("--lr_schedule has to know the end: give --trainer.max_epochs or --trainer.max_steps")


def _complete(command_line: CommandLine) -> None:
    """Check the classes that a command line names, and add the optimizer and the schedule that it leaves out."""
    config = command_line.config
    if command_line.help_section is None and not config.get("model"):
        raise needs_model(command_line)
    model = check_class("model", Classifier)
    if model is not None and config.get("optimizer") is None:
        config["optimizer"] = copy.deepcopy(model.default_optimizer)
    if config.get("lr_schedule") is None:
        config["lr_schedule"] = {"class_path": f"{Constant.__module__}.{Constant.__qualname__}"}
    check_class("optimizer", torch.optim.Optimizer)
    check_class("lr_schedule", Schedule)
    option_checks.check_seed(command_line)


def _num_classes(source: str, task: str) -> int:
    return len(DATA_SETS[source].task_classes(task))


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


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
