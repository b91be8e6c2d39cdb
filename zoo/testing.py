"""Checks of the contract in `zoo.core.classifier.Classifier`, for the tests of new models.

    from zoo.testing import check_model

    def test_my_net():
        check_model(MyNet, width=8)

A check that fails raises an AssertionError, which says what is wrong and how to fix it.
"""

import copy
import inspect
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import Tensor

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from zoo.catalogue import registry
from zoo.core.classifier import Classifier
from zoo.trained import inference, trained_model
from zoo.training import model_checks

# More than one step: if the last weights start at 0, the first gradient of all others is 0.
STEPS, BATCH_SIZE, VAL_SIZE = 4, 8, 16
SECONDS = 600  # time limit of two processes
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # *args, **kwargs


def check_model(model_class: type[Classifier], **arguments: Any) -> None:
    """Check a model's logits, copies, training and checkpoints on the CPU, for ten classes and for two.

    This takes a second for a small model. `check_two_processes` checks training in several processes.

    Args:
        model_class: the model.
        arguments: of the model, to make it small; without `num_classes`.

    Raises:
        AssertionError: names the first violation of the contract.
    """
    with _quiet(), torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder:
        _check_class(model_class)
        for num_classes in (10, 2):
            torch.manual_seed(0)
            model = _build(model_class, arguments, num_classes)
            _check_hyperparameters(model, arguments)
            _check_seed(model, arguments)
            _check_logits(model)
            _check_copy(model)
            _check_as_fit(model)
            trainer = _check_training(model)
            _check_checkpoint(model, trainer, Path(folder) / f"{num_classes}.ckpt")
        _check_logits(_build(model_class, arguments, 3))


def check_two_processes(*model_classes: type[Classifier], **arguments: Any) -> None:
    """Check that models trained by two processes (strategy "ddp", CPU) have the same weights in both.

    This takes some ten seconds, most of them for imports in two new processes.

    Args:
        model_classes: the models; other processes must be able to import them.
        arguments: of every model, by name; plain values.

    Raises:
        AssertionError: names the first model that violates the contract.
    """
    for model_class in model_classes:
        _demand(
            model_class.__module__ != "__main__" and "<locals>" not in model_class.__qualname__,
            f"{model_class.__name__} cannot be imported by another process: put the class into a module of its own",
        )
    names = [[model_class.__module__, model_class.__qualname__] for model_class in model_classes]
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "zoo.testing", folder, json.dumps(names), json.dumps(arguments)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        error = _run(command, environment)
        for index, model_class in enumerate(model_classes):
            files = [Path(folder) / f"{index}_{rank}.pt" for rank in range(2)]
            cause = (error.strip().splitlines() or ["no word"])[-1]
            _demand(
                all(file.is_file() for file in files),
                f"{model_class.__name__} cannot be trained by two processes (strategy ddp): {cause}",
            )
            first, second = (torch.load(file, weights_only=True) for file in files)
            for name, value in first.items():
                _demand(
                    torch.equal(value, second[name]),
                    f"{model_class.__name__} has other weights ({name}) in each of two processes: what computes "
                    "gradients by itself has to average them over the processes before each step",
                )


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command, and return its stderr; after `SECONDS`, end it with the processes that it started."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        return process.communicate(timeout=SECONDS)[1]
    except subprocess.TimeoutExpired:
        return f"nothing came of it within {SECONDS} seconds: a process waits for the other"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _demand(condition: object, message: str) -> None:
    """Raise an AssertionError unless a condition holds, even if Python runs with -O."""
    if not condition:
        raise AssertionError(message)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an error of a model's code into an AssertionError."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's messages about every trainer and about small data."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings("ignore", module="lightning")
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)


# The model by itself.


def _check_class(model_class: type[Classifier]) -> None:
    name = getattr(model_class, "__name__", str(model_class))
    fault = registry.fault(model_class, name)
    _demand(fault is None, f"{name} {fault}")
    parameters = inspect.signature(model_class).parameters
    _demand(
        "num_classes" in parameters
        or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()),
        f"{name} takes no argument num_classes: add num_classes: int = 10 to its __init__, and hand it on: "
        "super().__init__(num_classes)",
    )
    for parameter in parameters.values():
        _demand(
            parameter.default is not parameter.empty or parameter.kind in VARIABLE,
            f"{name}'s argument {parameter.name} has no default: give it one, so that --model {name} alone is a model",
        )
        _demand(
            parameter.annotation is not parameter.empty or parameter.kind in VARIABLE,
            f"{name}'s argument {parameter.name} has no type: give it one, for the command line to read its value by",
        )


def _build(model_class: type[Classifier], arguments: dict[str, Any], num_classes: int) -> Classifier:
    what = f"{model_class.__name__}(num_classes={num_classes})"
    with _explained(f"{what} cannot be built"):
        model = model_class(**arguments, num_classes=num_classes)
    lazy = ", ".join(inference.lazy_layers(model))
    _demand(not lazy, f"{what} has layers whose sizes are not known ({lazy}): give them, in place of Lazy modules")
    _demand(
        model.num_classes == num_classes,
        f"{what} has num_classes {model.num_classes}: hand it on: super().__init__(num_classes)",
    )
    return model


def _check_hyperparameters(model: Classifier, arguments: dict[str, Any]) -> None:
    name, parameters = type(model).__name__, inspect.signature(type(model)).parameters
    for parameter in parameters.values():
        if parameter.kind in VARIABLE:
            continue
        _demand(
            parameter.name in model.hparams,
            f"{name} does not keep its argument {parameter.name}, without which a checkpoint cannot be read back: "
            "call super().__init__(num_classes) in __init__ itself, and leave save_hyperparameters to it",
        )
    for argument, value in model.hparams.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            kind = type(value).__name__
            _demand(False, f"{name}'s argument {argument} is a {kind}: take numbers, texts, lists, as a config can")
        given = {name: parameter.default for name, parameter in parameters.items()} | arguments
        _demand(
            argument == "num_classes" or argument not in given or value == given[argument],
            f"{name} keeps {argument}={value!r} where it was given {given.get(argument)!r}: "
            "change no argument before super().__init__(num_classes)",
        )


def _check_seed(model: Classifier, arguments: dict[str, Any]) -> None:
    """Check that the initial weights depend only on PyTorch's seed, which was 0 for `model`."""
    torch.manual_seed(0)
    again = _build(type(model), arguments, model.num_classes).state_dict()
    for key, value in model.state_dict().items():
        _demand(
            not model_checks.is_plain(value) or torch.equal(value, again[key]),  # `fit` refuses other values
            f"{type(model).__name__}'s {key} starts with other values each time: draw them from PyTorch's generator, "
            "or from one that it seeds, as NumPyClassifier.rng()",
        )


def _check_logits(model: Classifier) -> None:
    name, images = type(model).__name__, _images()
    try:
        logits, alone = _logits(model, images), _logits(model, images[2:3])
    except (Exception, SystemExit) as error:
        raise AssertionError(
            f"{name} cannot compute the logits of uint8 images {tuple(images.shape)}: "
            f"{model_checks.cause(error, model)}"
        ) from error
    expected = (len(images), model.num_outputs)
    _demand(
        logits.shape == expected,
        f"{name}'s forward returns {tuple(logits.shape)} for {len(images)} images and {model.num_classes} classes, "
        f"expected {expected}: end the network in self.num_outputs logits",
    )
    _demand(logits.is_floating_point(), f"{name}'s forward returns {logits.dtype}: return logits, float")
    _demand(
        logits.isfinite().all(),
        f"{name}'s logits are not finite before any training: images are uint8 pixels, 0 to 255, for self.normalize, "
        "and weights start small",
    )
    _demand(torch.equal(images, _images()), f"{name}'s forward changes the images: compute on a copy")
    _demand(
        _close(alone, logits[2:3]),
        f"{name}'s logits of an image depend on the other images of the batch, or on chance: in evaluation mode they "
        "must not (batch norm and dropout by their modules, which model.eval() switches)",
    )


def _check_as_fit(model: Classifier) -> None:
    """Run the checks of `fit`."""
    try:
        model_checks.check(model)
    except InputError as error:
        raise AssertionError(str(error)) from error


def _check_copy(model: Classifier) -> None:
    name, images = type(model).__name__, _images()
    before = _logits(model, images)
    with _explained(f"{name} cannot be copied by copy.deepcopy"):
        copied = copy.deepcopy(model)
    _demand(
        _close(_logits(copied, images), before),
        f"a copy of {name} (copy.deepcopy) gives other logits: keep what forward needs in parameters and buffers",
    )
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    _demand(
        torch.equal(_logits(model, images), before) and not torch.equal(_logits(copied, images), before),
        f"{name} and its copy (copy.deepcopy) share weights, or a copy does not compute with its own: "
        "forward must reach its weights through self",
    )


def _images() -> Tensor:
    """Return six images, uint8 (6, 3, 32, 32): a black one, a white one, and noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, *CIFAR10.shape), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    return torch.from_numpy(pixels)


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether logits agree up to the order of summation."""
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def _logits(model: Classifier, images: Tensor) -> Tensor:
    return model.eval()(images).clone()


# Training.


class _Gradients(L.Callback):
    """Keeps the largest absolute gradient of each parameter; NaN if one was NaN."""

    def __init__(self) -> None:
        self.largest: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Any) -> None:
        """Compare the gradients of a step with the largest so far."""
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                largest = parameter.grad.abs().max()
                self.largest[name] = torch.maximum(self.largest.get(name, largest), largest)


def _fit(model: Classifier, **options: Any) -> L.Trainer:
    """Train for `STEPS` steps, with a validation at the end."""
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, **quiet, **options)
    data = CIFAR10DataModule(
        source="synthetic",
        task="binary" if model.num_classes == 2 else "multiclass",
        train_size=STEPS * BATCH_SIZE * trainer.world_size,
        val_size=VAL_SIZE,
        batch_size=BATCH_SIZE,
    )
    trainer.fit(model.train(), data)
    return trainer


def _check_training(model: Classifier) -> L.Trainer:
    name, gradients = type(model).__name__, _Gradients()
    trainable = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    before = {key: parameter.detach().clone() for key, parameter in trainable.items()}
    with _explained(f"{name} cannot be trained"):
        trainer = _fit(model, devices=1, callbacks=[gradients])

    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    optimized = {id(parameter) for group in groups for parameter in group["params"]}
    for key, parameter in trainable.items():
        largest = gradients.largest.get(key, torch.zeros(()))
        _demand(largest != 0, f"{name}'s parameter {key} gets no gradient: use it in forward, or freeze it")
        _demand(id(parameter) in optimized, f"{name}'s optimizer lacks {key}: leave configure_optimizers as it is")
        _demand(
            largest.isfinite() and parameter.isfinite().all(),
            f"{name}'s parameter {key}, or its gradient, is not finite within {STEPS} steps: give default_optimizer a "
            "lower learning rate",
        )
    _demand(
        any(not torch.equal(parameter, before[key]) for key, parameter in trainable.items()),
        f"{name}'s weights are the same after {STEPS} steps: training_step returns the loss, as a tensor to "
        "differentiate",
    )
    val = model.results.get("val", {}).get("confusion", [])
    confusions = {"train": cast(Any, model.metrics["train_metrics"]).confusion, "val": torch.tensor(val)}
    for stage, expected in (("train", STEPS * BATCH_SIZE), ("val", VAL_SIZE)):
        counted = int(confusions[stage].sum())
        _demand(
            counted == expected,
            f"{name} counted {counted} of {expected} images ({stage}): training_step calls "
            'self.count("train", logits, labels, loss), and the steps of evaluation stay as they are',
        )
    return trainer


def _check_checkpoint(model: Classifier, trainer: L.Trainer, path: Path) -> None:
    name = type(model).__name__
    with _explained(f"a checkpoint of {name} cannot be read back (weights_only=True)"):
        trainer.save_checkpoint(path)
        again = type(model).load_from_checkpoint(path, map_location="cpu", weights_only=True)
        # From plain values, as in the commands that use a trained model.
        rebuilt = trained_model.build(type(model), json.loads(json.dumps(dict(model.hparams))))
        rebuilt.load_state_dict(again.state_dict())
    for copied in (again, rebuilt):
        _demand(
            _close(_logits(copied, _images()), _logits(model, _images())),
            f"{name} gives other logits once it is read back from a checkpoint: keep what it learns in parameters, and "
            "what it computes with besides in buffers (register_buffer)",
        )


# Two processes.


def _train_in_two_processes(folder: str, names: str, arguments: str) -> None:
    """Train each model and write its parameters to FOLDER/NUMBER_RANK.pt. Lightning starts the second process."""
    for index, (module, name) in enumerate(json.loads(names)):
        L.seed_everything(0, verbose=False)
        model = getattr(import_module(module), name)(**json.loads(arguments))
        trainer = _fit(model, devices=2, strategy="ddp")
        parameters = {key: parameter.detach() for key, parameter in model.named_parameters()}
        torch.save(parameters, Path(folder) / f"{index}_{trainer.global_rank}.pt")


if __name__ == "__main__":
    _train_in_two_processes(*sys.argv[1:])
