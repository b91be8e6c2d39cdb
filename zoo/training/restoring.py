"""What a checkpoint restores beside the weights, tried out before a run is made or changed.

Lightning restores a checkpoint in the middle of `fit`, where whatever is wrong with it ends in a traceback. The
checkpoint may come from a stranger, or from another version of a callback.
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

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from datamodules.loading import TrainLoader
from zoo.core.classifier import Classifier, EveryStepLR
from zoo.runs import checkpoints
from zoo.runs.checkpoints import Content
from zoo.training.callbacks import optimizer_state

OURS = ("zoo.", "lightning.")
LARGEST = 1e18


def check(path: Path, content: Content, trainer: L.Trainer, model: Classifier, data: CIFAR10DataModule) -> None:
    """Check that a training can go on from a checkpoint.

    Args:
        path: of the checkpoint, for messages.
        content: what it holds.
        trainer: with all callbacks.
        model: with its optimizer.
        data: that has read its images.

    Raises:
        InputError: names what cannot be restored.
    """
    if "current_model_state" in content:  # of a callback that averages weights
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
    except Exception as error:  # junk can raise almost anything, and so can a callback of the user's own
        raise InputError(f"{path}: {what} cannot be restored ({type(error).__name__}: {error})") from error


def _check_averaged(path: Path, content: Content, model: Classifier) -> None:
    checkpoints.check_weights(path, {"state_dict": content["current_model_state"]}, model)
    check_like({"n_averaged": 0}, content["averaging_state"], "averaging_state")


def _check_progress(content: Content, trainer: L.Trainer, data: CIFAR10DataModule) -> None:
    state = content["loops"]["fit_loop"]
    check_like(_shared(trainer.fit_loop.state_dict(), state), state, "fit_loop")
    for of_loader in state.get("state_dict", {}).get("combined_loader", []):
        check_like({"batches": 0}, of_loader, "combined_loader")
        if checkpoints.is_mid_epoch(content):
            data.trainer = trainer
            cast(TrainLoader, data.train_dataloader()).load_state_dict(of_loader)


def _check_callback(callback: L.Callback, states: dict[str, Any]) -> None:
    if callback.state_key not in states:
        return
    state = states[callback.state_key]
    check_like({}, state, type(callback).__name__)
    if type(callback).__module__.startswith(OURS):  # another may keep other things at other times
        check_like(_shared(callback.state_dict(), state), state, type(callback).__name__)
    try:
        copied = copy.deepcopy(callback)
    except Exception:  # not everything can be copied
        return
    copied.load_state_dict(copy.deepcopy(state))


def _check_metrics(content: Content, model: Classifier) -> None:
    ours = model.metrics["train_metrics"].metric_state
    check_like(ours, content.get("train_metrics", ours), "train_metrics")
    results = content.get("results", {})
    check_like({}, results, "results")
    for stage, summary in results.items():
        check_like({"acc_per_class": [], "epoch": 0}, summary, f"results.{stage}")
        if len(summary["acc_per_class"]) != model.num_classes or not isinstance(summary["epoch"], int):
            raise ValueError(f"the results on {stage} are of other classes")


def check_optimizer(content: Content, model: Classifier) -> None:
    """Check the states of optimizer and schedule: that they are of the kind that the model's own have after a step.

    Args:
        content: of a checkpoint.
        model: with its optimizer; it is left as it is.

    Raises:
        Exception: of any kind, where they are not.
    """
    told = {key: copy.deepcopy(content[key]) for key in ("optimizer_states", "lr_schedulers")}
    for key in told:
        check_like([{}], told[key], key)
    model, states = copy.deepcopy(model), told["optimizer_states"]
    if "optimizer" in content:
        told["optimizer"] = copy.deepcopy(content["optimizer"])
        optimizer_state.adapt(told, model)
    (state,), (schedule,) = told["optimizer_states"], told["lr_schedulers"]

    optimizer, expected = (model.make_optimizer(model.parameter_groups()) for _ in range(2))
    for ours, theirs in zip(expected.state_dict()["param_groups"], state["param_groups"], strict=True):
        check_like(_shared(ours, theirs), theirs, "param_groups")
        _check_finite(theirs, "param_groups")
    optimizer.load_state_dict(state)
    scheduler = EveryStepLR(expected, [partial(lambda step: 1.0) for _ in expected.param_groups])
    check_like(_shared(scheduler.state_dict(), schedule), schedule, "lr_schedulers")
    if others := schedule.keys() & vars(scheduler).keys() - scheduler.state_dict().keys():
        raise TypeError(f"lr_schedulers has {min(others)}")
    scheduler.load_state_dict(schedule)

    before = model.make_optimizer(model.parameter_groups())
    if told["optimizer_states"] is states:  # of the same optimizer, which may have had other options
        for group, theirs in zip(before.param_groups, content["optimizer_states"][0]["param_groups"], strict=True):
            group.update({name: value for name, value in theirs.items() if name != "params"})
    for group in expected.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    try:
        expected.step()
        before.step()
    except Exception:  # it wants a closure: its state is not known before the training
        return
    for parameter, of_parameter in expected.state.items():
        if optimizer.state.get(parameter):
            check_like(of_parameter, optimizer.state[parameter], "state")
    if told["optimizer_states"] is states:
        _check_filled(before, optimizer, content.get("global_step", 0))


def _check_filled(expected: Optimizer, found: Optimizer, steps: int) -> None:
    """Check that an optimizer has a state where it needs one, but for parameters that never got a gradient."""
    needs_state = [parameter for parameter, state in expected.state.items() if _has_tensors(state)]
    if needs_state and steps > 0 and not found.state:
        raise ValueError(f"state is empty after {steps} steps")
    if any(parameter in found.state and not found.state[parameter] for parameter in needs_state):
        raise ValueError("state is empty for some of the parameters")


def _has_tensors(state: dict[str, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in state.values())


def _check_finite(options: dict[str, Any], where: str) -> None:
    """Check that the numbers among an optimizer's options are finite.

    Raises:
        ValueError: names the first that is not.
    """
    for name, value in options.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            is_number = isinstance(number, float) or (isinstance(number, Tensor) and number.numel() == 1)
            if is_number and not math.isfinite(float(number)):
                raise ValueError(f"{where}.{name} is {float(number)}, expected a finite number")


def _shared(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return what is expected of the keys that there are: other versions keep other things."""
    return {key: value for key, value in expected.items() if key in found}


def check_like(expected: Any, found: Any, where: str) -> None:
    """Check that a state has the keys, the kinds of values and the shapes of another one.

    Empty dictionaries and lists, and None, stand for any value.

    Raises:
        TypeError: names what differs.
        ValueError: names a number that is NaN or far too large.
    """
    is_free = isinstance(expected, (dict, list)) and not expected and isinstance(found, type(expected))
    if expected is None or is_free:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                raise TypeError(f"{where} lacks {key}")
            check_like(value, found[key], f"{where}.{key}")
    elif isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(expected) != len(found):
            raise TypeError(f"{where} has {len(found)} values, expected {len(expected)}")
        for value, other in zip(expected, found, strict=True):
            check_like(value, other, where)
    elif _shape(expected) != _shape(found) or isinstance(expected, str) != isinstance(found, str):
        raise TypeError(f"{where} is {_describe(found)}, expected {_describe(expected)}")
    elif isinstance(found, (int, float)) and not abs(found) <= LARGEST:  # NaN neither
        raise ValueError(f"{where} is {float(found):g}, expected a number of at most {LARGEST:g}")


def _shape(value: Any) -> Any:
    """Return the shape of a number or a tensor; of all else, its type."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return () if isinstance(value, (bool, int, float)) else type(value)


def _describe(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
