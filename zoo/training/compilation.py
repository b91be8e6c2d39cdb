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

# What a compiler needs that PyTorch does not bring along; one for GPUs builds its launchers with it, too.
REMEDY = "install a C++ compiler and Python's headers (on Debian: apt install g++ python3-dev), or leave --compile out"


def check_model(model: Classifier) -> None:
    """Raise InputError for a model that has no `net` of PyTorch's to compile, or answers without it."""
    name = type(model).__name__
    if not isinstance(model, TorchClassifier) or not isinstance(getattr(model, "net", None), nn.Module):
        raise InputError(f"--compile=true: {name} has no PyTorch network `net`: leave --compile out")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.net.modules()):
        raise InputError(f"--compile=true: {name} has modules of TorchScript, compiled already: leave --compile out")
    calls: list[Any] = []
    handle = model.net.register_forward_pre_hook(lambda net, inputs: calls.append(net))
    try:
        inference.logits_of_black(model)
    finally:
        handle.remove()
    if not calls:
        raise InputError(f"--compile=true: {name}'s forward does not call its `net` as a whole: leave --compile out")


def check_compiler(device: torch.device) -> None:
    """Compile something small: what is missing would be noticed once a run has begun only.

    Args:
        device: on which a network is going to train.

    Raises:
        InputError: where nothing can be compiled for it.
    """
    try:
        torch.compile(_double)(torch.ones(8, device=device))
    except Exception as error:  # of the compiler, of its absence, of PyTorch's parts that call it
        raise InputError(f"--compile=true: torch.compile does not work here: {_cause(error)}; {REMEDY}") from error


def _double(x: Tensor) -> Tensor:
    return 2 * x


def _cause(error: Exception) -> str:
    """Return the line that tells most: the first that a C++ compiler calls an error, else the first one."""
    inner = error.__cause__ or error.__context__ or error
    lines = f"{type(inner).__name__}: {inner}".splitlines()
    return next((line for line in lines if "error: " in line), lines[0])


class CompiledSteps(L.Callback):
    """Compiles a model's `net`, for training steps alone.

    All else runs as if nothing were compiled: validation, test and pictures. They would wait longer for the compilation
    for each size of their batches than they gain by it, and hooks on layers, by which callbacks look into a network,
    are not called where compiled code runs.

    The network is compiled in place, so that the keys of checkpoints stay plain; for each size of batch anew, so that
    the smaller batch at the end of an epoch does not make the others slower; and it draws its random numbers, as of
    dropout, as it does without compilation. All of it is compiled before the first epoch begins, whose seconds and
    images per second are then those of the others.

    It comes before other callbacks, which may ask the network something after a batch.
    """

    def setup(self, trainer: L.Trainer, pl_module: TorchClassifier, stage: str) -> None:
        """Say what is to be compiled."""
        if stage == "fit":
            pl_module.net.compile(dynamic=False, options={"fallback_random": True})
        torch.compiler.set_stance("force_eager")

    def on_train_start(self, trainer: L.Trainer, pl_module: TorchClassifier) -> None:
        """Compile it.

        Several processes do so in their first steps: there PyTorch cuts the network as their exchange of gradients
        wants it.
        """
        if trainer.world_size > 1:
            _say("Compiling: the first steps can take minutes")
            return
        _say("Compiling: it can take minutes, the first time")
        start = time.perf_counter()
        for size in batch_sizes(trainer):
            take_step(pl_module, size, trainer)
        _say(f"Compiled in {time.perf_counter() - start:.0f} s")

    def on_train_batch_start(self, *args: Any) -> None:
        """Use what is compiled."""
        torch.compiler.set_stance("default")

    def on_train_batch_end(self, *args: Any) -> None:
        """Use it no longer."""
        torch.compiler.set_stance("force_eager")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave PyTorch as it was."""
        torch.compiler.set_stance("default")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave PyTorch as it was."""
        torch.compiler.set_stance("default")


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)


def batch_sizes(trainer: L.Trainer) -> list[int]:
    """Return the sizes that the batches of an epoch have: one, or that of the last one, too."""
    loader = cast(TrainLoader, trainer.train_dataloader)
    size = cast(int, loader.batch_size)
    whole, rest = divmod(len(loader.sampler), size)  # type: ignore[arg-type]
    has_rest = rest and not loader.drop_last and trainer.num_training_batches > whole
    return [size] * (whole > 0) + [rest] * bool(has_rest)


def take_step(model: TorchClassifier, size: int, trainer: L.Trainer) -> None:
    """Go through a step without its update, in each state that the network trains in, and leave no trace of it."""
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
                else:  # auxiliary heads, as a training_step of the model's own takes them
                    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
                    loss = torch.stack([tensor.float().sum() for tensor in tensors]).sum()
            torch.autograd.grad(loss, parameters, allow_unused=True)


@contextmanager
def _unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put buffers, as batch norm's running statistics, back to what they are now, and PyTorch's generators."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device], device_type=device.type):
        yield
    for buffer, content in before:
        buffer.copy_(content)
