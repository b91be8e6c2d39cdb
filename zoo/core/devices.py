"""The devices that networks compute on: accelerators of Lightning's registry, to which packages can add.

PyTorch has a module for each kind (torch.cuda, one of a package); only functions that they all share are called here.
"""

import platform

import lightning as L
import torch
from lightning.pytorch import accelerators
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry, CPUAccelerator
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch import nn

from datamodules.errors import InputError, did_you_mean, one_line

# In the order in which Lightning looks.
GPUS: tuple[type[Accelerator], ...] = (accelerators.MPSAccelerator, accelerators.CUDAAccelerator)


def kind_of(accelerator: str) -> type[Accelerator]:
    """Return the class of an accelerator; "auto" and "gpu" stand for the CPU if there is no GPU, as in Lightning."""
    if accelerator in ("auto", "gpu"):
        return next((kind for kind in GPUS if kind.is_available()), CPUAccelerator)
    return AcceleratorRegistry[accelerator]["accelerator"]


def check(accelerator: str, option: str) -> None:
    """Raise InputError unless an accelerator exists and this machine has it; `option` is for the message."""
    known = ["auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())]
    if accelerator not in known:
        raise InputError(f"{option} is unknown.{did_you_mean(accelerator, known)} There are: {', '.join(known)}")
    kind = kind_of(accelerator)
    if not kind.is_available() or (accelerator == "gpu" and kind is CPUAccelerator):
        raise InputError(f"{option}: there is none that PyTorch can use (python cli.py doctor says why): leave it out")


def of_model(model: type, accelerator: str) -> torch.device:
    """Return the first device of `--accelerator`; raise InputError if a model's class cannot compute on it."""
    option = f"--accelerator {accelerator}"
    check(accelerator, option)
    if getattr(model, "cpu_only", False):
        check_cpu(model.__name__, accelerator, option)
        return torch.device("cpu")
    kind = kind_of(accelerator)
    return kind.get_parallel_devices(kind.parse_devices(1))[0]


def check_cpu(model: str, accelerator: str, option: str) -> None:
    if accelerator not in ("auto", "cpu"):
        raise InputError(f"{option}: {model} computes on the CPU: leave it out")


def idle(model: type, accelerator: str) -> str | None:
    """Return a note that a model cannot use this machine's GPU; None if it can, or an option says so."""
    if not getattr(model, "cpu_only", False) or accelerator != "auto" or kind_of("auto") is CPUAccelerator:
        return None
    return f"{model.__name__} computes on the CPU; the GPU that is here has nothing to do."


def move(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device; raise InputError if the device is full or does not work."""
    try:
        model.to(device)
    except RuntimeError as error:
        why = one_line(error)
        raise InputError(f"{device} cannot take the model ({why}): --accelerator cpu does without it") from error


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work; the CPU always has."""
    torch.get_device_module(device).synchronize()


def seed(device: torch.device, number: int) -> None:
    # torch.manual_seed looks for every kind of device, which takes longer than a step of a small network.
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


def name(device: torch.device) -> str:
    """Return the name of a device, such as "NVIDIA H200" or "x86_64 CPU"."""
    if device.type == "cpu":
        return f"{platform.machine()} CPU"
    if device.type == "mps":
        return "Apple GPU"
    get = getattr(torch.get_device_module(device), "get_device_name", None)
    return device.type if get is None else get(device)


def uses_multiprocessing(trainer: L.Trainer) -> bool:
    """Return whether a trainer's processes are forked or spawned, and so get its objects by pickling or forking."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def has_whole_weights(trainer: L.Trainer) -> bool:
    """Return whether each process has all weights; FSDP and others divide them among the processes."""
    is_whole = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
    return is_whole and not isinstance(trainer.strategy, DeepSpeedStrategy)
