"""Helpers of callbacks that look at a model without affecting its training."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import numpy as np
from torch import Tensor

from datamodules.errors import one_line
from datamodules.image_data_module import ImageDataModule
from zoo.core import devices
from zoo.training import run_logger
from zoo.training.run_logger import RunLogger


def logger(trainer: L.Trainer) -> RunLogger | None:
    """Return the `RunLogger` in the first process; None with other data, or if several processes share the model."""
    loggers = run_logger.run_loggers(trainer) if isinstance(data(trainer), ImageDataModule) else []
    return loggers[0] if loggers and devices.has_whole_weights(trainer) and trainer.is_global_zero else None


def data(trainer: L.Trainer) -> ImageDataModule:
    return getattr(trainer, "datamodule", None)  # type: ignore[return-value]


def held_out(data: ImageDataModule, n: int) -> tuple[str, Tensor, Tensor]:
    """Return "validation", or "training" without it; up to n images, uint8 (n, c, h, w); labels, int64 (n,)."""
    kind, dataset = ("validation", data.val) if data.val is not None else ("training", data.train)
    assert dataset is not None
    return kind, dataset.plain(n).cpu(), dataset.labels[:n].cpu()


@contextmanager
def optional(what: str) -> Iterator[None]:
    """Print an error as a line instead of ending the run: models of other packages can be built in any way."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # `StopWhenNotFinite` reports a run that diverges
            yield
    except Exception as error:
        print(f"warning: no {what} in TensorBoard: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
