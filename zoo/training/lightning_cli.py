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

from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.paths import user_path
from zoo.catalogue import registry
from zoo.core import torch_optimizers
from zoo.core.about import FROM_DATA
from zoo.core.classifier import Classifier
from zoo.core.schedules import Constant, Schedule
from zoo.runs import checkpoints, configs, initial_weights, options, resume
from zoo.runs.checkpoints import WholeFileIO
from zoo.runs.command_line import CommandLine
from zoo.training import option_checks, processes, slurm
from zoo.training.parser import ZooParser, check_class, check_data, parsing
from zoo.training.trainer import ZooTrainer

# Types of the options that name a class.
CLASSES: dict[str, Any] = {
    "optimizer": OptimizerCallable | None,
    "lr_schedule": Schedule | None,
}


class ZooCLI(LightningCLI):
    """Builds model, data module and trainer, and runs nothing.

    `callbacks` makes the trainer's callbacks from this object, with its options built, and the user's callbacks.

    Attributes:
        slurm: Lightning's view of SLURM, if SLURM started this process.
        notes: lines for the user about the weights that the model starts with, and those that do not learn.

    Raises:
        InputError: for bad input that the parser accepts; other errors are those of the classes that are built.
        Ended: for bad input that the parser refuses, and after the help.
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
        self.notes: list[str] = []
        self._weights: initial_weights.Weights | None = None
        with parsing(command_line) as self.known:
            _complete(command_line)
            super().__init__(
                Classifier,
                ImageDataModule,
                save_config_callback=None,
                trainer_class=ZooTrainer,
                trainer_defaults=options.TRAINER_DEFAULTS,
                seed_everything_default=options.TABLE["seed_everything"].default,
                parser_class=ZooParser,
                subclass_mode_model=True,
                subclass_mode_data=True,
                args=command_line.for_parser(),
                run=False,
                auto_configure_optimizers=False,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options beside those of model, data and trainer."""
        for name in options.OWN:
            # `_complete` sets the class of the schedule, so that its arguments can be given alone.
            default = None if name == "lr_schedule" else options.TABLE[name].default
            parser.add_argument(
                f"--{name}",
                type=CLASSES.get(name, options.TABLE[name].type),
                default=default,
                help=options.TABLE[name].text,
            )
        for name in FROM_DATA:  # a link to an argument that the model lacks does nothing
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")
        self.known.update(parser.get_defaults(skip_validation=True).keys())

    def before_instantiate_classes(self) -> None:
        """Check values that the parser accepts, and choose devices."""
        config = self.config
        _expand_paths(config)
        if config.init_from is not None and self.origin.content is None:
            runs_dir = self.command_line.runs_dir
            self._weights = initial_weights.find(config.init_from, runs_dir, config.model.class_path)
            config.init_from = str(self._weights.path.resolve())
        model = configs.import_class(config.model.class_path)
        resume.check_arguments(self.origin, model, config.model.get("init_args", {}))
        config.ckpt_path = str(self.origin.path.resolve()) if self.origin.path else None
        unused = option_checks.choose_devices(self.command_line, model, config.trainer)
        option_checks.check(config)
        option_checks.check_task(self.command_line, config.data.init_args)
        if unused is not None:
            processes.say(unused)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer."""
        with checkpoints.bounded_by(self.origin.path):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with the run's callbacks."""
        trainer = self.config_init.trainer
        # The run's own logger is added once the run has a directory. With fast_dev_run, Lightning adds a logger that
        # writes nothing.
        logger = bool(trainer.fast_dev_run) if trainer.logger in (None, True) else trainer.logger
        plugins = [*configs.as_list(trainer.plugins), WholeFileIO()]
        self.slurm = slurm.take_environment(plugins)
        plugins += [self.slurm] if self.slurm is not None and self.slurm not in plugins else []
        callbacks = self.callbacks(self, configs.as_list(trainer.callbacks))
        return super().instantiate_trainer(callbacks=callbacks, logger=logger, plugins=plugins, **kwargs)

    def after_instantiate_classes(self) -> None:
        """Give the data module its seed, and the model its optimizer and schedule. Check that they fit."""
        built, config = self.config_init, self.config
        model, trainer = self.model, self.trainer
        if config.data.init_args.seed is None:
            self.datamodule.seed = config.seed_everything
        resume.check_data(self.origin, self.datamodule)
        _check_shape(model, self.datamodule)
        model.check_data(self.datamodule)
        # A function, which copies of the model share. The parser's own object holds the parser and cannot be copied.
        model.make_optimizer = lambda parameters: built.optimizer(parameters)
        model.lr_schedule = built.lr_schedule
        model.frozen_epochs, model.layer_decay = config.freeze, config.layer_decay
        model.l1, model.l2, model.decay_norms, model.sam = config.l1, config.l2, config.decay_norms, config.sam
        model.label_smoothing = config.label_smoothing
        model.set_tta(config.tta)
        if model.frozen_epochs and self.command_line.command == "fit":
            epochs = f"the first {model.frozen_epochs} epochs" if model.frozen_epochs > 1 else "the first epoch"
            self.notes.append(f"Frozen: all but {model.head_path()}, in {epochs}")
        try:
            optimizer = model.build_optimizer()
        except (TypeError, ValueError) as error:
            raise torch_optimizers.refusal(config.optimizer.class_path.rpartition(".")[2], str(error)) from error
        if model.layer_decay != 1 and any("lr_scale" not in group for group in optimizer.param_groups):
            name = type(optimizer).__name__
            raise InputError(f"--layer_decay={model.layer_decay}: {name} does not keep groups of parameters apart")
        is_scaled = trainer.precision == "16-mixed" and getattr(optimizer, "_step_supports_amp_scaling", False)
        if (model.l1 or model.l2) and is_scaled:
            why = f"the fused {type(optimizer).__name__} unscales the gradients of 16-mixed precision itself"
            raise InputError(f"--l1 and --l2 cannot add to gradients: {why}: leave out --optimizer.fused")
        model.check_trainer(trainer)
        processes.check(trainer, built.trainer)
        if self.origin.path is not None and self.origin.content is not None:
            checkpoints.check_weights(self.origin.path, self.origin.content, model)
        if self._weights is not None:
            self.notes += initial_weights.load(self._weights, model, self.datamodule.class_names)
            self._weights = None
        trains_without_end = trainer.max_epochs in (None, -1) and trainer.max_steps < 0
        is_constant = isinstance(model.lr_schedule, Constant) and model.lr_schedule.warmup == 0
        needs_end = {"lr_schedule": not is_constant, "swa": config.swa is not None}
        for option in (name for name, needs in needs_end.items() if needs):
            if trains_without_end and self.command_line.command == "fit":
                raise InputError(f"--{option} needs an end: give --trainer.max_epochs or --trainer.max_steps")


def _complete(command_line: CommandLine) -> None:
    """Check the classes of a command line, and add its default optimizer and schedule."""
    config = command_line.config
    if command_line.help_section is None and not config.get("model"):
        files, command = command_line.files, command_line.command
        unnamed = f", and {' and '.join(map(str, files))} names none" if files else ""
        complete = [name for name in configs.shipped() if configs.read(configs.find(name)).get("model")]
        raise InputError(
            f"{command} needs a model{unnamed}: name one by --config ({', '.join(complete)}) "
            f"or --model ({', '.join(registry.entries())})"
        )
    config["data"] = {"class_path": configs.DATA_MODULE} | config.get("data", {})
    check_data()
    model = check_class("model", Classifier)
    if model is not None and config.get("optimizer") is None:
        config["optimizer"] = copy.deepcopy(model.default_optimizer)
    if config.get("lr_schedule") is None:
        config["lr_schedule"] = {"class_path": f"{Constant.__module__}.{Constant.__qualname__}"}
    check_class("optimizer", torch.optim.Optimizer)
    check_class("lr_schedule", Schedule)
    option_checks.check_seed(command_line)


def _check_shape(model: Classifier, data: ImageDataModule) -> None:
    """Check that a model takes the images of the data."""
    if model.image_shape != data.data_set.shape:
        takes, has = (" x ".join(map(str, shape)) for shape in (model.image_shape, data.data_set.shape))
        name = type(model).__name__
        raise InputError(
            f"{name} takes images of {takes}, and {data.data_set.title} has {has}: give {name} the arguments channels "
            "and image_size, and hand them on to super().__init__"
        )


def _expand_paths(options: Any) -> None:
    """Expand `~/` and `~user/` at the start of every value of a parsed config, with those of loggers and callbacks.

    Only a path starts with them. TensorBoardLogger expands `~`, but CSVLogger does not: a run would be in two places.
    """
    for key, value in list(enumerate(options) if isinstance(options, list) else options.items()):
        if isinstance(value, (list, dict, Namespace)):
            _expand_paths(value)
        elif isinstance(value, (str, Path)) and str(value).startswith("~"):
            options[key] = type(value)(user_path(value))
