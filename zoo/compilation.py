"""`fit --compile true`: training steps through `torch.compile`."""

from typing import Any, cast

import lightning as L
import torch
from torch import nn

from datamodules.errors import InputError
from zoo.classifier import Classifier

# What a compiler needs that PyTorch does not bring along; one for GPUs builds its launchers with it, too.
REMEDY = "install a C++ compiler and Python's headers (on Debian: apt install g++ python3-dev), or leave --compile out"


def check_model(model: Classifier) -> None:
    """Raise InputError for a model that has no `net` of PyTorch's to compile."""
    if not isinstance(getattr(model, "net", None), nn.Module):
        raise InputError(f"--compile=true: {type(model).__name__} has no PyTorch network `net`: leave --compile out")


def check_compiler(device: torch.device) -> None:
    """Compile something small: what is missing would be noticed in the first training step only.

    Args:
        device: on which a network is going to train.

    Raises:
        InputError: where nothing can be compiled for it.
    """
    try:
        torch.compile(_double)(torch.ones(8, device=device))
    except Exception as error:  # of the compiler, of its absence, of PyTorch's parts that call it
        raise InputError(f"--compile=true: torch.compile does not work here: {_cause(error)}; {REMEDY}") from error


def _double(x: torch.Tensor) -> torch.Tensor:
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
    dropout, as it does without compilation.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Compile the network, as soon as the first training step calls it."""
        if stage == "fit":
            cast(nn.Module, pl_module.net).compile(dynamic=False, options={"fallback_random": True})
        torch.compiler.set_stance("force_eager")

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
