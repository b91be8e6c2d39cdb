"""What the loggers beside the run's own get of a run: its config, and, as far as they keep such, its tags and files.

Lightning gives metrics to all loggers. All of them keep hyperparameters, and Weights & Biases the rest.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, WandbLogger

from zoo.training.run_logger import RunLogger


def begin(trainer: L.Trainer, config: Mapping[str, Any], tags: Iterable[str]) -> None:
    """Log the config of a run, plain values, and its tags."""
    for logger in _others(trainer):
        logger.log_hyperparams(dict(config))
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *tags]))


def keep(trainer: L.Trainer, paths: Iterable[Path]) -> None:
    """Log those of a run's files that exist."""
    for path in filter(Path.is_file, paths):
        for logger in _wandb(trainer):
            logger.experiment.log_artifact(str(path), type="model" if path.suffix == ".ckpt" else "result")


def finish(trainer: L.Trainer, exit_code: int) -> None:
    """End the runs of W&B: the next run of this process would otherwise go on with them."""
    for logger in _wandb(trainer):
        logger.experiment.finish(exit_code=exit_code)


def _others(trainer: L.Trainer) -> list[Logger]:
    return [logger for logger in trainer.loggers if not isinstance(logger, RunLogger)]


def _wandb(trainer: L.Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
