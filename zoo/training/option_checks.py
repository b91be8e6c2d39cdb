"""Check options that the parser accepts and that Lightning checks too late, or without naming them."""

import inspect
import math
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import environments
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator

from datamodules.errors import InputError, one_line
from datamodules.image_data_module import ImageDataModule
from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.runs import configs
from zoo.runs.command_line import CommandLine
from zoo.runs.options import OPTIONS, TRAINER_DEFAULTS

LARGEST_SEED = 2**32 - 1  # of NumPy
INSTALL_LOGGERS = "pip install 'cifar10-zoo[loggers]'"
LONGEST_NAME = 200  # bytes: file systems take 255, and "-synthetic" may follow
# Programs that start a process for each device.
LAUNCHERS: tuple[type[environments.ClusterEnvironment], ...] = (
    environments.TorchElasticEnvironment, environments.SLURMEnvironment,
    environments.LSFEnvironment, environments.MPIEnvironment,
)  # fmt: skip


def check(config: Any) -> None:
    """Check the options of `fit`, `validate` or `test`, as the parser returns them."""
    given = config.as_dict()
    configs.check_values("the command line", given | {"data": given["data"]["init_args"]})
    name = config.name
    if name is not None and (name in ("", ".", "..") or Path(name).name != name.strip() or not name.isprintable()):
        raise InputError(f"--name={name} cannot name a folder: give printable characters without /; see --runs_dir")
    if name is not None and len(os.fsencode(name)) > LONGEST_NAME:
        raise InputError(f"--name={name} is too long for a folder: give at most {LONGEST_NAME} bytes")
    for option, parameter in inspect.signature(ImageDataModule).parameters.items():
        is_null = option in config.data.init_args and config.data.init_args[option] is None
        if is_null and parameter.default is not None and option not in ("data_set", "val_size"):
            raise InputError(f"--data.{option}=null: leave it out for its default, {parameter.default}")
    for name, least in ((option.name, option.least) for option in OPTIONS if option.least is not None):
        if config[name] is not None and not least <= config[name] < math.inf:
            choices = "at least 0, or -1 for no limit" if least == -1 else f"at least {least}"
            raise InputError(f"--{name}={config[name]} is out of range: give a finite number of {choices}")
    for name, share in ((option.name, option.share) for option in OPTIONS if option.share):
        if config[name] is not None and not _is_within(config[name], share):
            low, high = "of at least" if share[0] == "[" else "above", "at most" if share[-1] == "]" else "below"
            raise InputError(f"--{name}={config[name]} is out of range: give a number {low} 0 and {high} 1")
    if config.ema is not None and config.swa is not None:
        raise InputError(f"--ema={config.ema} and --swa={config.swa} are two averages of the weights: give one of them")
    _check_profiler(config)
    _check_loggers(config.trainer.logger)
    _check_processes(config.trainer)


def _is_within(value: float, share: str) -> bool:
    """Whether a number lies in an interval from 0 to 1, as `Option.share` writes it."""
    above = value >= 0 if share[0] == "[" else value > 0
    return above and (value <= 1 if share[-1] == "]" else value < 1)


def _check_profiler(config: Any) -> None:
    """Check that a profiler can be built, and can write its files after the training."""
    profiler = config.trainer.profiler
    if profiler is None:
        return
    path = profiler if isinstance(profiler, str) else profiler.class_path
    name = path.rpartition(".")[2].lower().removesuffix("profiler")
    if name == "xla" and find_spec("torch_xla") is None:
        raise InputError(f"--trainer.profiler={path} needs the package torch_xla: use simple, advanced or pytorch")
    arguments = {} if isinstance(profiler, str) else profiler.get("init_args") or {}
    if config.trainer.fast_dev_run and arguments.get("dump_stats") and not arguments.get("dirpath"):
        why = "dump_stats needs a folder, and --trainer.fast_dev_run makes none: give dirpath"
        raise InputError(f"--trainer.profiler={path}: {why}")


def _check_loggers(loggers: Any) -> None:
    """Check that the package of W&B's logger is there."""
    for logger in configs.as_list(loggers):
        name = getattr(logger, "class_path", "").rpartition(".")[2]
        if name == "WandbLogger" and find_spec("wandb") is None:
            raise InputError(f"--trainer.logger: {name} needs wandb, which is not installed: {INSTALL_LOGGERS}")


def check_task(command_line: CommandLine, data: Any) -> None:
    """Check that the command line does not ask for all classes if `data`, the options, name the class of a task."""
    one_class = data.get("one_class")
    given = [word.value for word in command_line.options if word.option == "--data.task"]
    if one_class is not None and given[-1:] == ["multiclass"]:
        problem = f"--data.task=multiclass contradicts --data.one_class={one_class}, a binary task"
        raise InputError(f"{problem}: leave one of them out")


def check_seed(command_line: CommandLine) -> None:
    """Check the range of the seed, which is used before the parser returns."""
    seed = command_line.value("seed_everything")
    digits = re.fullmatch(r"(-?)0*(\d+)", str(seed))
    if digits and (digits[1] or len(digits[2]) > len(str(LARGEST_SEED)) or int(digits[2]) > LARGEST_SEED):
        raise InputError(f"--seed_everything={seed} is out of range: give a number from 0 to {LARGEST_SEED}")


def choose_devices(command_line: CommandLine, model: type[Classifier], trainer: Any) -> str | None:
    """Choose the devices of a model, as far as the command line leaves them open.

    A model that computes on the CPU only stays there. Any other model gets one device, or one for each process that a
    launcher has started. Changes `trainer`, the options of the trainer.

    Returns:
        A line for the user if devices of this machine are idle and the command line does not ask for that.
    """
    accelerator = trainer.accelerator
    option = f"--trainer.accelerator={accelerator}"
    if model.cpu_only:
        devices.check_cpu(model.__name__, accelerator, option)
        trainer.accelerator = "cpu"
        return devices.idle(model, accelerator)
    if isinstance(accelerator, str):
        devices.check(accelerator, option)
    if trainer.devices != TRAINER_DEFAULTS["devices"] or command_line.value("trainer.devices") is not None:
        return None
    if next((launcher().world_size() for launcher in LAUNCHERS if launcher.detect()), 1) > 1:
        trainer.devices = "auto"
        return None
    available = _accelerator_of(trainer).auto_device_count()
    return f"1 of {available} GPUs is used; add --config ddp to use all of them" if available > 1 else None


def _accelerator_of(trainer: Any) -> type[Accelerator]:
    """Return the class of the trainer's accelerator, which a config gives by name or as an object."""
    accelerator = trainer.accelerator
    by_name = isinstance(accelerator, str)
    return devices.kind_of(accelerator) if by_name else configs.import_class(accelerator.class_path)


def name_culprit(error: BaseException, command_line: CommandLine) -> InputError:
    """Return a library's error with the option of the trainer that its message names, if it names one."""
    message = _raised_by_class(str(error)) or one_line(error)
    given = dict(command_line.config.get("trainer", {}))
    options = [word for word in command_line.options if word.option.startswith("--trainer.")]
    given |= {word.option.removeprefix("--trainer."): word.value for word in options}
    culprit = next((name for name in given if re.search(rf"\b{re.escape(name)}\b", message)), None)
    if culprit is None or message.startswith("--"):
        return InputError(message)
    return InputError(f"--trainer.{culprit}={given[culprit]}: {message}")


def _raised_by_class(message: str) -> str | None:
    """Return the error of a class from jsonargparse's list of errors for each type of an argument."""
    listed = re.search(r"Does not validate against any of the Union subtypes.*?\n\s*Errors:\n(.*)", message, re.DOTALL)
    if listed is None:
        return None
    by_type = re.split(r"(?:^|\n)\s*- (?=\S)", listed[1])
    type_errors = r"\s*$|Not a valid|Expected a|Does not|a dict|a class"
    own = [one_line(part) for part in by_type if not re.match(type_errors, part)]
    built = re.findall(r"class_path='(?:\w+\.)*(\w+)'", listed[1])  # the first class contains the others
    return f"{built[0]}: {own[0]}" if own and built else next(iter(own), None)


def _check_processes(trainer: Any) -> None:
    """Check the number of processes on the CPU: too many use up the memory before any message."""
    wanted, cores = str(trainer.devices), os.cpu_count() or 1
    if _accelerator_of(trainer) is not CPUAccelerator:
        return
    if wanted != "auto" and not (wanted.isdecimal() and int(wanted) > 0):
        raise InputError(f"--trainer.devices={wanted}: give a number of processes on the CPU, at least 1, or auto")
    if wanted.isdecimal() and int(wanted) > max(2, cores):
        raise InputError(f"--trainer.devices={wanted} is a process each on {cores} cores: give fewer")
