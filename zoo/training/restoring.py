"""A trial of what a checkpoint restores besides the weights, before a run is made or changed.

Lightning restores a checkpoint within `fit`, where a faulty one would end in a traceback. The checkpoint may come from
a stranger, or from another version of a callback.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.loading import TrainLoader
from zoo.core.classifier import Classifier, EveryStepLR
from zoo.runs import checkpoints
from zoo.runs.checkpoints import Content
from zoo.training.callbacks import optimizer_state

OURS = ("zoo.", "lightning.")
LARGEST = 1e18


def check(path: Path, content: Content, trainer: L.Trainer, model: Classifier, data: ImageDataModule) -> None:
    """Check that training can resume from a checkpoint.

    Args:
        path: of the checkpoint, for messages.
        content: of the checkpoint.
        trainer: with all callbacks.
        model: with its optimizer.
        data: with its images read.

    Raises:
        InputError: names the part that cannot be restored.
    """
    if checkpoints.TRAINED in content:
        _try("the weights of the model", path, partial(_check_averaged, path, content, model))
    _try("the progress of the loops", path, partial(_check_progress, content, trainer, data))
    _try("the metrics", path, partial(_check_metrics, content, model))
    _try("the state of the optimizer", path, partial(check_optimizer, content, model))
    states = content.get("callbacks", {})
    if not isinstance(states, dict):
        raise InputError(f"{path}: the states of the callbacks cannot be restored: expected a dictionary")
    callbacks: list[L.Callback] = getattr(trainer, "callbacks")  # noqa: B009 - which Lightning does not declare
    for callback in callbacks:
        name = f"the state of {type(callback).__name__}"
        _try(name, path, partial(_check_callback, callback, states))


def _try(what: str, path: Path, restore: Callable[[], None]) -> None:
    try:
        restore()
    except InputError:
        raise
    except Exception as error:  # junk, and callbacks of other packages, can raise almost anything
        raise InputError(f"{path}: {what} cannot be restored ({type(error).__name__}: {error})") from error


def _check_averaged(path: Path, content: Content, model: Classifier) -> None:
    checkpoints.check_weights(path, {"state_dict": content[checkpoints.TRAINED]}, model)
    if "averaging_state" in content:  # of Lightning's WeightAveraging
        check_like({"n_averaged": 0}, content["averaging_state"], "averaging_state")


def _check_progress(content: Content, trainer: L.Trainer, data: ImageDataModule) -> None:
    state = content["loops"]["fit_loop"]
    _check_shared(trainer.fit_loop.state_dict(), state, "fit_loop")
    for loader_state in state.get("state_dict", {}).get("combined_loader", []):
        check_like({"batches": 0}, loader_state, "combined_loader")
        if checkpoints.is_mid_epoch(content):
            data.trainer = trainer
            cast(TrainLoader, data.train_dataloader()).load_state_dict(loader_state)


def _check_callback(callback: L.Callback, states: dict[str, Any]) -> None:
    if callback.state_key not in states:
        return
    state = states[callback.state_key]
    # The state of others may have other keys at other times.
    expected = callback.state_dict() if type(callback).__module__.startswith(OURS) else {}
    _check_shared(expected, state, type(callback).__name__)
    try:
        copied = copy.deepcopy(callback)
    except Exception:  # not everything can be copied
        return
    copied.load_state_dict(copy.deepcopy(state))


def _check_metrics(content: Content, model: Classifier) -> None:
    own = model.stage_metrics("train").metric_state
    saved = content.get("train_metrics", {})
    _check_shared(own, saved, "train_metrics")
    if others := saved.keys() - own.keys():
        raise TypeError(f"train_metrics has {min(others)}")
    results = content.get("results", {})
    check_like({}, results, "results")
    for stage, summary in results.items():
        check_like({"acc_per_class": [], "epoch": 0}, summary, f"results.{stage}")
        if len(summary["acc_per_class"]) != model.num_classes or not isinstance(summary["epoch"], int):
            raise ValueError(f"the results on {stage} are of other classes")


def check_optimizer(content: Content, model: Classifier) -> None:
    """Check that the states of optimizer and schedule are like those of the model's own after a step.

    Args:
        content: of a checkpoint; it stays as it is.
        model: with its optimizer; it stays as it is.

    Raises:
        Exception: of any kind, if they differ.
    """
    keys = ("optimizer_states", "lr_schedulers", "optimizer")
    adapted = {key: copy.deepcopy(content[key]) for key in keys if key in content}
    for key in keys[:2]:
        check_like([{}], adapted[key], key)
    model, states = copy.deepcopy(model), adapted["optimizer_states"]
    optimizer_state.adapt(adapted, model)
    (state,), (schedule,) = adapted["optimizer_states"], adapted["lr_schedulers"]
    is_same_optimizer = adapted["optimizer_states"] is states

    optimizer, expected = (model.build_optimizer() for _ in range(2))
    for own, saved in zip(expected.state_dict()["param_groups"], state["param_groups"], strict=True):
        _check_shared(own, saved, "param_groups")
        _check_finite(saved, "param_groups")
    optimizer.load_state_dict(state)
    scheduler = EveryStepLR(expected, [partial(lambda step: 1.0) for _ in expected.param_groups])
    _check_shared(scheduler.state_dict(), schedule, "lr_schedulers")
    if others := schedule.keys() & vars(scheduler).keys() - scheduler.state_dict().keys():
        raise TypeError(f"lr_schedulers has {min(others)}")
    scheduler.load_state_dict(schedule)

    before = model.build_optimizer()
    if is_same_optimizer:  # with other options, perhaps
        for group, saved in zip(before.param_groups, content["optimizer_states"][0]["param_groups"], strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})
    for group in expected.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    try:
        expected.step()
        before.step()
    except Exception:  # a step that needs a closure
        if isinstance(optimizer, torch.optim.LBFGS):
            _try_lbfgs(optimizer)
        return
    for parameter, expected_state in expected.state.items():
        if optimizer.state.get(parameter):
            check_like(expected_state, optimizer.state[parameter], "state")
    if is_same_optimizer:
        _check_filled(before, optimizer, content.get("global_step", 0))


def _try_lbfgs(optimizer: Optimizer) -> None:
    """Make a step with the saved state: junk in it raises."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step(lambda: 0.0)


def _check_filled(expected: Optimizer, saved: Optimizer, steps: int) -> None:
    """Check that an optimizer has the state it needs, except for parameters that never had a gradient."""
    needs_state = [parameter for parameter, state in expected.state.items() if _has_tensors(state)]
    if needs_state and steps > 0 and not saved.state:
        raise ValueError(f"state is empty after {steps} steps")
    if any(parameter in saved.state and not saved.state[parameter] for parameter in needs_state):
        raise ValueError("state is empty for some of the parameters")


def _has_tensors(state: dict[str, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in state.values())


def _check_finite(options: dict[str, Any], where: str) -> None:
    """Raise ValueError unless all numbers among an optimizer's options are finite."""
    for name, value in options.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            is_number = isinstance(number, float) or (isinstance(number, Tensor) and number.numel() == 1)
            if is_number and not math.isfinite(float(number)):
                raise ValueError(f"{where}.{name} is {float(number)}, expected a finite number")


def _check_shared(expected: dict[str, Any], saved: Any, where: str) -> None:
    """Check a state as `check_like` does, for the keys that it has: other versions have other keys."""
    check_like({}, saved, where)
    check_like({key: value for key, value in expected.items() if key in saved}, saved, where)


def check_like(expected: Any, saved: Any, where: str) -> None:
    """Check that a state has the keys, types and shapes of another one; empty containers and None accept any value.

    Raises:
        TypeError: names the difference.
        ValueError: names a number that is NaN or far too large.
    """
    is_free = isinstance(expected, (dict, list)) and not expected and isinstance(saved, type(expected))
    if expected is None or is_free:
        return
    if isinstance(expected, dict) and isinstance(saved, dict):
        for key, value in expected.items():
            if key not in saved:
                raise TypeError(f"{where} lacks {key}")
            check_like(value, saved[key], f"{where}.{key}")
    elif isinstance(expected, (list, tuple)) and isinstance(saved, (list, tuple)):
        if len(expected) != len(saved):
            raise TypeError(f"{where} has {len(saved)} values, expected {len(expected)}")
        for value, other in zip(expected, saved, strict=True):
            check_like(value, other, where)
    elif _shape(expected) != _shape(saved) or isinstance(expected, str) != isinstance(saved, str):
        raise TypeError(f"{where} is {_describe(saved)}, expected {_describe(expected)}")
    elif isinstance(saved, (int, float)) and not abs(saved) <= LARGEST:  # NaN neither
        raise ValueError(f"{where} is {float(saved):g}, expected a number of at most {LARGEST:g}")


def _shape(value: Any) -> Any:
    """Return the shape of a number or a tensor, and the type of any other value."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return () if isinstance(value, (bool, int, float)) else type(value)


def _describe(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
