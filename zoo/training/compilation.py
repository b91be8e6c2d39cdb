"""`fit --compile true`: training steps through `torch.compile`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from datamodules.errors import InputError
from datamodules.loading import TrainLoader
from zoo.core.classifier import Classifier
from zoo.core.inputs import black_images
from zoo.core.torch_classifier import TorchClassifier
from zoo.trained import inference

# PyTorch does not include these; the compiler for GPUs needs them for its launchers, too.
REMEDY = "install a C++ compiler and Python's headers (on Debian: apt install g++ python3-dev), or leave --compile out"


def check_model(model: Classifier) -> None:
    """Raise InputError unless the model has a PyTorch network `net`, and its forward calls it."""
    name = type(model).__name__
    if not isinstance(model, TorchClassifier) or not isinstance(getattr(model, "net", None), nn.Module):
        raise InputError(f"--compile=true: {name} has no PyTorch network `net`: leave --compile out")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.net.modules()):
        raise InputError(f"--compile=true: {name} has modules of TorchScript, compiled already: leave --compile out")
    calls: list[Any] = []
    handle = model.net.register_forward_pre_hook(lambda net, inputs: calls.append(net))
    try:
        inference.black_image_logits(model)
    finally:
        handle.remove()
    if not calls:
        raise InputError(f"--compile=true: {name}'s forward does not call its `net` as a whole: leave --compile out")


def check_compiler(device: torch.device) -> None:
    """Compile a small function before the run begins; raise InputError if that fails on the device."""
    try:
        torch.compile(_double)(torch.ones(8, device=device))
    except Exception as error:  # the compiler, its absence, and PyTorch itself raise all kinds
        raise InputError(f"--compile=true: torch.compile does not work here: {_cause(error)}; {REMEDY}") from error


def _double(x: Tensor) -> Tensor:
    return 2 * x


def _cause(error: Exception) -> str:
    """Return the first line that a C++ compiler marks as an error, or the first line."""
    inner = error.__cause__ or error.__context__ or error
    lines = f"{type(inner).__name__}: {inner}".splitlines()
    return next((line for line in lines if "error: " in line), lines[0])


class CompiledSteps(L.Callback):
    """Compiles a model's `net` for training steps.

    Validation, test and plots run without compiled code. They would lose more time by compiling for each of their batch
    sizes than they would gain, and compiled code does not call the hooks by which callbacks look into a network.

    The network is compiled in place, so that the keys of checkpoints stay the same; separately for each batch size, so
    that the smaller last batch of an epoch does not slow the others down; and with the random numbers (of dropout) that
    it draws without compilation. All of this happens before the first epoch, so that its speed is that of the others.

    This callback comes before those that call the network after a batch.
    """

    def setup(self, trainer: L.Trainer, pl_module: TorchClassifier, stage: str) -> None:
        """Mark the network for compilation."""
        if stage == "fit":
            pl_module.net.compile(dynamic=False, options={"fallback_random": True})
        torch.compiler.set_stance("force_eager")

    def on_train_start(self, trainer: L.Trainer, pl_module: TorchClassifier) -> None:
        """Compile the network; several processes do so in their first steps, where PyTorch splits it for DDP."""
        if trainer.world_size > 1:
            _say("Compiling: the first steps can take minutes")
            return
        _say("Compiling: it can take minutes, the first time")
        start = time.perf_counter()
        for size in batch_sizes(trainer):
            take_step(pl_module, size, trainer)
        _say(f"Compiled in {time.perf_counter() - start:.0f} s")

    def on_train_batch_start(self, *args: Any) -> None:
        """Use compiled code."""
        torch.compiler.set_stance("default")

    def on_train_batch_end(self, *args: Any) -> None:
        """Stop using compiled code."""
        torch.compiler.set_stance("force_eager")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore PyTorch's default."""
        torch.compiler.set_stance("default")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Restore PyTorch's default."""
        torch.compiler.set_stance("default")


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)


def batch_sizes(trainer: L.Trainer) -> list[int]:
    """Return the batch sizes of an epoch: one, or two if the last batch is smaller."""
    loader = cast(TrainLoader, trainer.train_dataloader)
    size = cast(int, loader.batch_size)
    whole, rest = divmod(len(loader.sampler), size)  # type: ignore[arg-type]
    has_rest = rest and not loader.drop_last and trainer.num_training_batches > whole
    return [size] * (whole > 0) + [rest] * bool(has_rest)


def take_step(model: TorchClassifier, size: int, trainer: L.Trainer) -> None:
    """Make a training step without its update, in each training state of the network, and leave no trace."""
    device = trainer.strategy.root_device
    pixels = black_images(model, size).to(device, memory_format=torch.channels_last)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _unchanged(model, device), torch.compiler.set_stance("default"):
        for _ in model.training_states():
            with trainer.precision_plugin.train_step_context():
                outputs = model(pixels)
                if isinstance(outputs, Tensor):
                    loss = model.loss(outputs, labels)
                else:  # auxiliary heads, for a training_step of the model's own
                    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
                    loss = torch.stack([tensor.float().sum() for tensor in tensors]).sum()
            torch.autograd.grad(loss, parameters, allow_unused=True)


@contextmanager
def _unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore buffers, such as batch norm's running statistics, and PyTorch's generators at the end of the block."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device], device_type=device.type):
        yield
    for buffer, content in before:
        buffer.copy_(content)
