"""What callbacks share that ask a model about a few images, off the path of training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import numpy as np
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import one_line
from zoo.training import run_logger
from zoo.training.run_logger import RunLogger


def logger(trainer: L.Trainer) -> RunLogger | None:
    """Return the logger of what one process finds out alone; None where there is none, and in all processes but one.

    With strategies that divide the model, no process has the whole; DeepSpeed's is a subclass of DDP's.
    """
    whole = type(trainer.strategy) in (SingleDeviceStrategy, DDPStrategy)
    found = run_logger.run_loggers(trainer) if isinstance(data(trainer), CIFAR10DataModule) else []
    return found[0] if found and whole and trainer.is_global_zero else None


def data(trainer: L.Trainer) -> CIFAR10DataModule:
    """Return the data module of a run."""
    return getattr(trainer, "datamodule", None)  # type: ignore[return-value]


def held_out(data: CIFAR10DataModule, n: int) -> tuple[str, Tensor, Tensor]:
    """Return up to n images that say how training goes, the same ones at every call.

    Returns:
        Their kind, "validation", or "training" where all are trained on; uint8 (n, 3, 32, 32), not augmented; their
        classes, int64 (n,).
    """
    kind, dataset = ("validation", data.val) if data.val is not None else ("training", data.train)
    assert dataset is not None
    return kind, dataset.plain(n).cpu(), dataset.labels[:n].cpu()


@contextmanager
def optional(what: str) -> Iterator[None]:
    """Let what goes wrong cost a line, not the run: a model of another package can be built in any way.

    Of a run that diverges the pictures may be wrong, and that is told where it ends.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except Exception as error:
        print(f"warning: no {what} in TensorBoard: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
