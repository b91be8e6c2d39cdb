"""Check callbacks before a run has a directory, and set where they write in it."""

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.errors import InputError, RunError, did_you_mean, one_line
from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.core.metrics import summarize
from zoo.runs.checkpoints import BEST, LAST
from zoo.training.callbacks.averages import WeightAverage
from zoo.training.callbacks.dead_units import DeadUnits
from zoo.training.callbacks.run_checkpoint import RunCheckpoint
from zoo.training.callbacks.sharpness_aware import SharpnessAware

OURS = ("zoo.", "datamodules.", "lightning.")
START = ("setup", "on_fit_start", "on_train_start")  # hooks before anything is learned
ARGUMENT_ERRORS = (ValueError, TypeError, LookupError, MisconfigurationException)
NAME_OF_LAST = "own-last"  # the file of a ModelCheckpoint with save_last, beside the run's own last.ckpt
WHOLE_WEIGHTS = (WeightAverage, SharpnessAware)
RATES = ("lr", "learning_rate")  # attributes that a LearningRateFinder looks for


def check(trainer: L.Trainer, model: Classifier, class_names: Sequence[str], validates: bool) -> None:
    """Check that the callbacks of a trainer can work in a run of `model`. An InputError says how to go on without one.

    `validates` tells whether the run validates. The metrics of the data's classes can be monitored by `class_names`.
    """
    callbacks: list[L.Callback] = cast(Any, trainer).callbacks
    if not devices.has_whole_weights(trainer) and any(isinstance(c, WHOLE_WEIGHTS) for c in callbacks):
        strategy = type(trainer.strategy).__name__
        raise InputError(
            f"{strategy} divides the weights, which --ema, --swa and --sam need whole: "
            "give --trainer.strategy ddp, or leave them out"
        )
    known = _metrics(model, class_names, validates)
    kinds = {kind for kind in (ModelPruning, WeightAverage) if any(isinstance(c, kind) for c in callbacks)}
    if len(kinds) == 2:
        raise InputError("ModelPruning renames the weights that --ema and --swa average: leave one of them out")
    for callback in callbacks:
        if problem := _problem(callback, model):
            raise InputError(f"{type(callback).__name__}{problem}")
        is_checkpoint = isinstance(callback, ModelCheckpoint) and not isinstance(callback, RunCheckpoint)
        if not is_checkpoint and not (isinstance(callback, EarlyStopping) and callback.strict):
            continue
        monitor, choices = cast(Any, callback).monitor, [*known, *(["epoch", "step"] if is_checkpoint else [])]
        if monitor is not None and monitor not in choices and not _may_log_more(model, callbacks):
            shown = [name for name in choices if not name.startswith("val_per_class/")]
            shown += ["val_per_class/CLASS"] if validates else []
            problem = f"monitor={monitor} is never logged.{did_you_mean(monitor, choices)}"
            raise InputError(f"{type(callback).__name__}: {problem} There are: {', '.join(shown)}")


def _problem(callback: L.Callback, model: Classifier) -> str | None:
    """Return why a callback cannot work in a run; None if it can."""
    name = type(model).__name__
    if isinstance(callback, StochasticWeightAveraging):
        return " is not supported: its averages would be in no checkpoint; give --swa 0.25 in its place"
    if isinstance(callback, LearningRateFinder):
        rates = filter(None, (callback._attr_name, *RATES))
        if not any(hasattr(model, rate) or rate in model.hparams for rate in rates):
            return f" sets an attribute lr of the model, and {name} has none: leave it out, and set --optimizer.lr"
    is_channels_last = getattr(model, "memory_format", None) is torch.channels_last
    if isinstance(callback, ModelPruning) and is_channels_last and any(p.ndim == 4 for p in model.parameters()):
        why = "whose convolutions are in channels_last memory"
        return f" cannot prune {name}, {why}: leave it out, or name a model without convolutions"
    if isinstance(callback, RunCheckpoint) or not isinstance(callback, ModelCheckpoint):
        return None
    if callback.dirpath is None and callback.filename in (BEST, LAST):
        return f": filename={callback.filename} is a checkpoint of the run's own: give another name, or a dirpath"
    return None


def _metrics(model: Classifier, class_names: Sequence[str], validates: bool) -> list[str]:
    """Return the names of the metrics that are logged in every run."""
    names = ["train/loss", "train/acc", "lr"]
    if validates:
        summary = summarize(torch.eye(model.num_classes, dtype=torch.long))
        names += ["val/loss", *(f"val/{name}" for name, value in summary.items() if isinstance(value, float))]
        names += [f"val_per_class/{name}" for name in class_names]
    return names


def _may_log_more(model: Classifier, callbacks: Sequence[L.Callback]) -> bool:
    """Whether a run may log other metrics: the code of users can log any."""
    if not type(model).__module__.startswith(OURS):
        return True
    return any(isinstance(c, DeadUnits) or not type(c).__module__.startswith(OURS) for c in callbacks)


def refusal(error: BaseException, trainer: L.Trainer) -> InputError | None:
    """Return the message for the error of a callback while a run is set up, or for a wrong argument; else None.

    ModelPruning finds a wrong argument when it prunes; ModelCheckpoint and EarlyStopping when their metric is due.
    """
    if not isinstance(error, Exception) or isinstance(error, (InputError, RunError, OSError)):
        return None
    callbacks: list[Any] = cast(Any, trainer).callbacks
    for frame, line in traceback.walk_tb(error.__traceback__):
        callback = frame.f_locals.get("self")
        if not any(callback is known for known in callbacks):
            continue
        is_metric = isinstance(callback, (ModelCheckpoint, EarlyStopping))
        is_argument = type(callback).__module__.startswith("lightning.") and isinstance(error, ARGUMENT_ERRORS)
        if not (frame.f_code.co_name in START or is_metric or is_argument):
            return None
        is_ours = type(callback).__module__.startswith(OURS)
        where = "" if is_ours else f" ({Path(frame.f_code.co_filename).name}, line {line})"
        problem = one_line(error) or type(error).__name__
        return InputError(f"--trainer.callbacks: {type(callback).__name__}{where}: {problem}")
    return None


def place(callbacks: Sequence[L.Callback], directory: Path) -> None:
    """Set `directory` as the folder of ModelCheckpoints that name none.

    In a file's name "val_acc" replaces a metric's name such as "val/acc", which would make a folder.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or isinstance(callback, RunCheckpoint):
            continue
        if callback.dirpath is None:
            callback.dirpath = str(directory)
            callback.CHECKPOINT_NAME_LAST = NAME_OF_LAST
            callback.save_last = bool(callback.save_last)  # a file, no link: a run may be copied and moved
        if callback.filename is not None and callback.auto_insert_metric_name:
            callback.filename = re.sub(r"\{([^}:]+)", lambda m: f"{m[1].replace('/', '_')}={{{m[1]}", callback.filename)
            callback.auto_insert_metric_name = False
