"""Options that neither the parser nor Lightning checks before a run has begun, or whose errors do not name them."""

import inspect
import math
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError, one_line
from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.runs import configs
from zoo.runs.command_line import CommandLine
from zoo.runs.options import OPTIONS, TRAINER_DEFAULTS

LARGEST_SEED = 2**32 - 1  # of NumPy
LONGEST_NAME = 200  # bytes: file systems take 255, and "-synthetic" may follow
# Programs that start a process for each device, and tell it of the others.
LAUNCHERS: tuple[type[ClusterEnvironment], ...] = (
    TorchElasticEnvironment,
    SLURMEnvironment,
    LSFEnvironment,
    MPIEnvironment,
)


def check(config: Any) -> None:
    """Check the values of a command line.

    Args:
        config: of one of Lightning's commands, as the parser leaves it.

    Raises:
        InputError: names the option, its value, and what it may be.
    """
    configs.check_values("the command line", config.as_dict())
    name = config.name
    if name is not None and (name in ("", ".", "..") or Path(name).name != name.strip()):
        raise InputError(f"--name={name} is no plain name for a folder: use --runs_dir for its place")
    if name is not None and len(os.fsencode(name)) > LONGEST_NAME:
        raise InputError(f"--name={name} is too long for a folder: give at most {LONGEST_NAME} bytes")
    if name is not None and not name.isprintable():
        raise InputError(f"--name={name} holds characters that cannot be printed: use letters, digits, - and _")
    for option, parameter in inspect.signature(CIFAR10DataModule).parameters.items():
        if config.data[option] is None and parameter.default is not None:  # which the parser lets through
            raise InputError(f"--data.{option}=null: leave it out for its default, {parameter.default}")
    for name, least in ((option.name, option.least) for option in OPTIONS if option.least is not None):
        if config[name] is not None and config[name] < least:
            raise InputError(f"--{name}={config[name]} is out of range: give a number of at least {least}")
    trainer = config.trainer
    for option in ("max_epochs", "max_steps"):
        if trainer[option] is not None and trainer[option] < -1:
            value = f"--trainer.{option}={trainer[option]}"
            raise InputError(f"{value} is out of range: give a number of at least 0, or -1 for no end")
    clip = trainer.gradient_clip_val
    if clip is not None and not 0 <= clip < math.inf:
        raise InputError(
            f"--trainer.gradient_clip_val={clip} is out of range: give a number of at least 0, or leave it out"
        )
    _check_profiler(config)
    _check_processes(trainer)


def _check_profiler(config: Any) -> None:
    """Refuse a profiler that would fail when it is built, or after the training."""
    profiler = config.trainer.profiler
    if profiler is None:
        return
    path = profiler if isinstance(profiler, str) else profiler.class_path
    name = path.rpartition(".")[2].lower().removesuffix("profiler")
    if name == "xla" and find_spec("torch_xla") is None:
        raise InputError(f"--trainer.profiler={path} needs the package torch_xla: use simple, advanced or pytorch")
    arguments = {} if isinstance(profiler, str) else profiler.get("init_args") or {}
    if config.trainer.fast_dev_run and arguments.get("dump_stats") and not arguments.get("dirpath"):
        raise InputError(
            f"--trainer.profiler={path}: dump_stats needs a folder, and --trainer.fast_dev_run makes none: give dirpath"
        )


def check_seed(command_line: CommandLine) -> None:
    """Check the seed, which is used before all else is known.

    Raises:
        InputError: if it is out of range.
    """
    seed = command_line.value("seed_everything")
    digits = re.fullmatch(r"(-?)0*(\d+)", str(seed))
    if digits and (digits[1] or len(digits[2]) > len(str(LARGEST_SEED)) or int(digits[2]) > LARGEST_SEED):
        raise InputError(f"--seed_everything={seed} is out of range: give a number from 0 to {LARGEST_SEED}")


def choose_devices(command_line: CommandLine, model: type[Classifier], trainer: Any) -> str | None:
    """Settle which devices a model gets, as far as the command line leaves that open.

    A model that cannot compute elsewhere stays on the CPU. Any other gets one device, unless a launcher has started
    several processes: each of those has a device of its own.

    Args:
        command_line: the command line.
        model: the class.
        trainer: the trainer's options, which are changed.

    Returns:
        A line for the user if devices of this machine have nothing to do and nobody asked for that.

    Raises:
        InputError: if the command line asks for a device that does not exist or that the model cannot compute on.
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
    if _launched_processes() > 1:
        trainer.devices = "auto"
        return None
    there = _accelerator_of(trainer).auto_device_count()
    return f"1 of {there} GPUs is used; add --config ddp to use all of them" if there > 1 else None


def _launched_processes() -> int:
    """Return how many processes a launcher has started, 1 if there is none."""
    return next((launcher().world_size() for launcher in LAUNCHERS if launcher.detect()), 1)


def _accelerator_of(trainer: Any) -> type[Accelerator]:
    """Return the class of the trainer's accelerator, which a config can give as an object, too."""
    accelerator = trainer.accelerator
    return (
        devices.kind_of(accelerator) if isinstance(accelerator, str) else configs.import_class(accelerator.class_path)
    )


def name_culprit(error: BaseException, command_line: CommandLine) -> InputError:
    """Return a library's error as one that begins with the option of the trainer which it speaks of, where it does."""
    message = _raised_by_class(str(error)) or one_line(error)
    given = dict(command_line.config.get("trainer", {}))
    options = [word for word in command_line.options if word.option.startswith("--trainer.")]
    given |= {word.option.removeprefix("--trainer."): word.value for word in options}
    spoken_of = [name for name in given if re.search(rf"\b{re.escape(name)}\b", message)]
    if not spoken_of or message.startswith("--"):
        return InputError(message)
    return InputError(f"--trainer.{spoken_of[0]}={given[spoken_of[0]]}: {message}")


def _raised_by_class(message: str) -> str | None:
    """Return what a class raised, out of jsonargparse's list of what each type of an argument says to a value."""
    listed = re.search(r"Does not validate against any of the Union subtypes.*?\n\s*Errors:\n(.*)", message, re.DOTALL)
    if listed is None:
        return None
    by_type = re.split(r"(?:^|\n)\s*- (?=\S)", listed[1])
    own = [
        one_line(part) for part in by_type if not re.match(r"\s*$|Not a valid|Expected a|Does not|a dict|a class", part)
    ]
    built = re.findall(r"class_path='(?:\w+\.)*(\w+)'", listed[1])  # the first one holds the others
    return f"{built[0]}: {own[0]}" if own and built else next(iter(own), None)


def _check_processes(trainer: Any) -> None:
    """Refuse what is no number of processes, and so many on the CPU that they use up the machine's memory before
    anything is said."""
    wanted, cores = str(trainer.devices), os.cpu_count() or 1
    if _accelerator_of(trainer) is not CPUAccelerator:
        return
    if wanted != "auto" and not (wanted.isdecimal() and int(wanted) > 0):
        raise InputError(f"--trainer.devices={wanted}: give a number of processes on the CPU, at least 1, or auto")
    if wanted.isdecimal() and int(wanted) > max(2, cores):
        raise InputError(f"--trainer.devices={wanted} is a process each on {cores} cores: give fewer")
