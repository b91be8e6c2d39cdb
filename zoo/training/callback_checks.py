"""What callbacks ask for, looked at before a run has a directory; and where a run keeps what they write."""

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
from lightning.pytorch.utilities.model_helpers import is_overridden

from datamodules.errors import InputError, RunError, did_you_mean, one_line
from zoo.core.classifier import Classifier
from zoo.core.metrics import summarize
from zoo.runs.checkpoints import BEST, LAST
from zoo.training.callbacks.dead_units import DeadUnits
from zoo.training.callbacks.run_checkpoint import RunCheckpoint

OURS = ("zoo.", "datamodules.", "lightning.")
START = ("setup", "on_fit_start", "on_train_start")  # hooks that come before anything is learned
OF_ARGUMENTS = (ValueError, TypeError, LookupError, MisconfigurationException)
NAME_OF_LAST = "own-last"  # of the file that a ModelCheckpoint with save_last writes beside the run's own last.ckpt
RATES = ("lr", "learning_rate")  # attributes that a LearningRateFinder looks for


def check(callbacks: Sequence[L.Callback], model: Classifier, class_names: Sequence[str], validates: bool) -> None:
    """Refuse callbacks that cannot do their work in a run.

    Args:
        callbacks: of the trainer.
        model: to train.
        class_names: of the data.
        validates: whether the run validates.

    Raises:
        InputError: names the callback, what it asks for, and a way out.
    """
    for callback in callbacks:
        if isinstance(callback, StochasticWeightAveraging):
            raise InputError(
                "StochasticWeightAveraging is not supported: its averages would be in no checkpoint; use "
                "lightning.pytorch.callbacks.EMAWeightAveraging"
            )
        if isinstance(callback, LearningRateFinder):
            names = (callback._attr_name, *RATES)
            if not any(name and (hasattr(model, name) or name in model.hparams) for name in names):
                raise InputError(
                    f"LearningRateFinder sets an attribute lr of the model, and {type(model).__name__} has none: "
                    "leave it out, and set --optimizer.lr"
                )
        is_channels_last = getattr(model, "memory_format", None) is torch.channels_last
        if isinstance(callback, ModelPruning) and is_channels_last and any(p.ndim == 4 for p in model.parameters()):
            raise InputError(
                f"ModelPruning cannot prune {type(model).__name__}, whose convolutions are in channels_last memory: "
                "leave it out, or name a model without convolutions"
            )
        if isinstance(callback, ModelCheckpoint) and not isinstance(callback, RunCheckpoint):
            if callback.dirpath is None and callback.filename in (BEST, LAST):
                raise InputError(
                    f"ModelCheckpoint: filename={callback.filename} is a checkpoint of the run's own: "
                    "give another name, or a dirpath"
                )
            _check_monitor(callback, callback.monitor, ("epoch", "step"), callbacks, model, class_names, validates)
        if isinstance(callback, EarlyStopping) and callback.strict:
            _check_monitor(callback, callback.monitor, (), callbacks, model, class_names, validates)


def _check_monitor(
    callback: L.Callback,
    monitor: str | None,
    further: Sequence[str],
    callbacks: Sequence[L.Callback],
    model: Classifier,
    class_names: Sequence[str],
    validates: bool,
) -> None:
    """Refuse a metric that is never logged, as far as that is known: other people's code may log any."""
    known = [*_metrics(model, class_names, validates), *further]
    if monitor is None or monitor in known or _may_log_more(model, callbacks):
        return
    shown = [name for name in known if not name.startswith("val_per_class/")]
    raise InputError(
        f"{type(callback).__name__}: monitor={monitor} is never logged.{did_you_mean(monitor, known)} "
        f"There are: {', '.join(shown)}{', val_per_class/CLASS' if validates else ''}"
    )


def _metrics(model: Classifier, class_names: Sequence[str], validates: bool) -> list[str]:
    """Return the names of the metrics that are logged in every run."""
    names = ["train/loss", "train/acc", "lr"]
    if validates:
        summary = summarize(torch.eye(model.num_classes, dtype=torch.long))
        names += ["val/loss", *(f"val/{name}" for name, value in summary.items() if isinstance(value, float))]
        names += [f"val_per_class/{name}" for name in class_names]
    return names


def _may_log_more(model: Classifier, callbacks: Sequence[L.Callback]) -> bool:
    if is_overridden("further_metrics", model, Classifier):
        return True
    return any(isinstance(it, DeadUnits) or not type(it).__module__.startswith(OURS) for it in (model, *callbacks))


def refusal(error: BaseException, trainer: L.Trainer) -> InputError | None:
    """Return the line for an error that a callback raised when a run was set up; None for any other error.

    Lightning's own callbacks find some of their arguments wrong later: a ModelPruning when it prunes, a ModelCheckpoint
    or an EarlyStopping once its metric is due.
    """
    if not isinstance(error, Exception) or isinstance(error, (InputError, RunError, OSError)):
        return None
    callbacks: list[Any] = cast(Any, trainer).callbacks
    for frame, line in traceback.walk_tb(error.__traceback__):
        callback = frame.f_locals.get("self")
        if not any(callback is known for known in callbacks):
            continue
        is_metric = isinstance(callback, (ModelCheckpoint, EarlyStopping))
        is_argument = type(callback).__module__.startswith("lightning.") and isinstance(error, OF_ARGUMENTS)
        if not (frame.f_code.co_name in START or is_metric or is_argument):
            return None
        theirs = not type(callback).__module__.startswith(OURS)
        where = f" ({Path(frame.f_code.co_filename).name}, line {line})" if theirs else ""
        problem = one_line(error) or type(error).__name__
        return InputError(f"--trainer.callbacks: {type(callback).__name__}{where}: {problem}")
    return None


def place(callbacks: Sequence[L.Callback], directory: Path) -> None:
    """Let the checkpoints of ModelCheckpoints that name no folder be written to a run's `directory`.

    A metric's name such as "val/acc" would make a folder; "val_acc" takes its place in the file's name.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or isinstance(callback, RunCheckpoint):
            continue
        if callback.dirpath is None:
            callback.dirpath = str(directory)
            callback.CHECKPOINT_NAME_LAST = NAME_OF_LAST
            callback.save_last = bool(callback.save_last)  # a file, no link: a run may be copied and moved
        if callback.filename is not None and callback.auto_insert_metric_name:
            callback.filename = re.sub(
                r"\{([^}:]+)", lambda name: f"{name[1].replace('/', '_')}={{{name[1]}", callback.filename
            )
            callback.auto_insert_metric_name = False
