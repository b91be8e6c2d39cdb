"""A second device without hardware, to test on what a GPU would refuse.

Tensors on it lie in the computer's memory, and the CPU's kernels compute them. But they do not mix with tensors on the
CPU, and what waits for the device is counted, or raises. It cannot show a GPU's speed, its numerics, autocast, or how
GPUs talk to each other.

    second_device.register(folder)
    python cli.py fit ... --trainer.accelerator hostdev --trainer.strategy hostdev

`register` is for processes that do nothing else: PyTorch has one such device, and never forgets it.
"""

import hashlib
import os
import shutil
import subprocess
import types
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry

NAME = "hostdev"
TORCH = Path(torch.__file__).parent
SOURCE = Path(__file__).with_name("device.cpp")
COMPILERS = (os.environ.get("CXX", "c++"), "g++", "clang++")


class Counts(NamedTuple):
    """How often something happened since the device was registered.

    Attributes:
        reads: values that were read, as by `.item()` and `nonzero`: each waits for the device.
        to_cpu: copies to the CPU, each of which waits, too.
        from_cpu: copies from the CPU.
        synchronized: calls of `torch.hostdev.synchronize`.
    """

    reads: int
    to_cpu: int
    from_cpu: int
    synchronized: int


def compiler() -> str | None:
    """Return the C++ compiler of this machine; None if it has none."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def build(folder: Path) -> Path:
    """Compile the device unless `folder` has it for this torch, and return the library.

    It takes 15 seconds of one core, once for each version of torch.
    """
    command = [
        compiler() or "c++", "-O0", "-w", "-std=c++20", "-fPIC", "-shared",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        f"-I{TORCH / 'include'}", f"-I{TORCH / 'include/torch/csrc/api/include'}", str(SOURCE),
        f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-lc10",
    ]  # fmt: skip
    key = hashlib.sha256(SOURCE.read_bytes() + f"{command} {torch.__version__}".encode()).hexdigest()[:16]
    library = folder / f"device_{key}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # which the system releases if its holder is killed
        if not library.is_file():
            unfinished = library.with_suffix(".unfinished")
            subprocess.run([*command, "-o", str(unfinished)], check=True)
            unfinished.rename(library)
    return library


def register(folder: Path) -> None:
    """Make the device known to PyTorch and Lightning in this process; for `folder` see `build`."""
    torch.ops.load_library(build(folder))
    torch.utils.rename_privateuse1_backend(NAME)
    torch.utils.generate_methods_for_privateuse1_backend()
    torch._register_device_module(NAME, _module)  # the name that PyTorch's documentation gives
    _module.library = torch.library.Library("aten", "IMPL")  # its implementations live as long as it does
    _module.library.impl("set_.source_Storage", _set_source, "PrivateUse1")
    torch.Tensor.__deepcopy__ = _deepcopy
    AcceleratorRegistry.register(NAME, HostDevice, description="a device without hardware")
    StrategyRegistry.register(NAME, SingleDeviceStrategy, device=torch.device(NAME, 0))


def counts() -> Counts:
    """Return what has happened so far."""
    return Counts(*torch.ops.second_device.counts(), _module.synchronized)


def trap(on: bool) -> None:
    """Let all that waits for the device raise, or no longer."""
    torch.ops.second_device.trap(on)


class HostDevice(Accelerator):
    """The device for Lightning's Trainer."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing is to be set up."""

    def teardown(self) -> None:
        """Nothing is to be cleared away."""

    def get_device_stats(self, device: torch.device) -> dict[str, float]:
        return {}

    @staticmethod
    def parse_devices(devices: int | str) -> int:
        return int(devices)

    @staticmethod
    def get_parallel_devices(devices: int) -> list[torch.device]:
        return [torch.device(NAME, 0)] * devices

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class _Module(types.ModuleType):
    """`torch.hostdev`, what PyTorch asks of a kind of device. Its random numbers are those of the CPU's generator."""

    synchronized = 0

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def _lazy_init(self) -> None: ...

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def set_device(self, device: object) -> None: ...

    def synchronize(self, device: object = None) -> None:
        self.synchronized += 1

    def manual_seed(self, seed: int) -> None: ...

    manual_seed_all = manual_seed

    def get_rng_state(self, device: object = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: object = None) -> None: ...

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_module = _Module(f"torch.{NAME}")


def _set_source(tensor: torch.Tensor, source: torch.UntypedStorage) -> torch.Tensor:
    elements = source.nbytes() // tensor.element_size()
    return torch.ops.aten.set_.source_Storage_storage_offset(tensor, source, 0, [elements], [1])


def _deepcopy(tensor: torch.Tensor, memo: dict, _of_others=torch.Tensor.__deepcopy__) -> torch.Tensor:
    if tensor.device.type != NAME:
        return _of_others(tensor, memo)
    if id(tensor) not in memo:
        copy = tensor.detach().clone()
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        memo[id(tensor)] = torch.nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
    return memo[id(tensor)]
