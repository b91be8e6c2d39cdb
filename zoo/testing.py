"""Checks of the contract in `zoo.core.classifier.Classifier`, for the tests of new models.

    from zoo.testing import check_model

    def test_my_net():
        check_model(MyNet, width=8)

A check that fails raises an AssertionError, which says what is wrong and how to fix it.
"""

import copy
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from zoo.catalogue import registry
from zoo.core.about import FROM_DATA
from zoo.core.classifier import Classifier
from zoo.trained import inference, trained_model
from zoo.training import model_checks
from zoo.training.quiet import quiet

# More than one step: if the last weights start at 0, the first gradient of all others is 0.
STEPS, BATCH_SIZE, VAL_SIZE = 4, 8, 16
SECONDS = 600  # time limit of two processes


def check_model(model_class: type[Classifier], **arguments: Any) -> None:
    """Check a model's logits, copies, training and checkpoints on the CPU, for ten classes and for two.

    This takes a second for a small model. `check_two_processes` checks training in several processes.

    Args:
        model_class: the model.
        arguments: of the model, to make it small; without `num_classes`.

    Raises:
        AssertionError: names the first violation of the contract.
    """
    with quiet(), torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder:
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
        _check_other_images(model_class, arguments)


def check_two_processes(*model_classes: type[Classifier], **arguments: Any) -> None:
    """Check that models trained by two processes (strategy "ddp", CPU) have the same weights in both.

    This takes some ten seconds, most of them for imports in two new processes.

    Args:
        model_classes: the models, which other processes can import.
        arguments: of every model; plain values.

    Raises:
        AssertionError: names the first model that violates the contract.
    """
    for model_class in model_classes:
        if model_class.__module__ == "__main__" or "<locals>" in model_class.__qualname__:
            problem = f"{model_class.__name__} cannot be imported by another process"
            _fail(f"{problem}: put the class into a module of its own")
    names = [[model_class.__module__, model_class.__qualname__] for model_class in model_classes]
    with TemporaryDirectory() as folder:
        error = _run([sys.executable, "-m", "zoo.testing", folder, json.dumps(names), json.dumps(arguments)])
        for index, model_class in enumerate(model_classes):
            files = [Path(folder) / f"{index}_{rank}.pt" for rank in range(2)]
            if not all(file.is_file() for file in files):
                cause = (error.strip().splitlines() or ["no word"])[-1]
                _fail(f"{model_class.__name__} cannot be trained by two processes (strategy ddp): {cause}")
            first, second = (torch.load(file, weights_only=True) for file in files)
            for name, value in first.items():
                if not torch.equal(value, second[name]):
                    problem = f"{model_class.__name__} has other weights ({name}) in each of two processes"
                    fix = "what computes gradients by itself has to average them over the processes before each step"
                    _fail(f"{problem}: {fix}")


def _run(command: list[str]) -> str:
    """Run a command, and return its stderr; after `SECONDS`, end it with the processes that it started."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
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


def _fail(message: str) -> NoReturn:
    """Raise an AssertionError, even if Python runs with -O."""
    raise AssertionError(message)


@contextmanager
def _explained(what: str, model: Any) -> Iterator[None]:
    """Turn an error of a model's code into an AssertionError."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise AssertionError(f"{what}: {model_checks.cause(error, model)}") from error


def _check_class(model_class: type[Classifier]) -> None:
    name = getattr(model_class, "__name__", str(model_class))
    if fault := registry.fault(model_class, name):
        _fail(f"{name} {fault}")
    parameters = inspect.signature(model_class).parameters
    if "num_classes" not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        fix = "add num_classes: int = 10 to its __init__, and hand it on: super().__init__(num_classes)"
        _fail(f"{name} takes no argument num_classes: {fix}")
    for parameter in _named(model_class):
        what = f"{name}'s argument {parameter.name}"
        if parameter.default is parameter.empty:
            _fail(f"{what} has no default: give it one, so that --model {name} alone is a model")
        if parameter.annotation is parameter.empty:
            _fail(f"{what} has no type: give it one, for the command line to read its value by")


def _named(model_class: type[Classifier]) -> list[inspect.Parameter]:
    """Return the arguments of a class, without *args and **kwargs."""
    return [p for p in inspect.signature(model_class).parameters.values() if not str(p).startswith("*")]


def _build(model_class: type[Classifier], arguments: dict[str, Any], num_classes: int) -> Classifier:
    what = f"{model_class.__name__}(num_classes={num_classes})"
    with _explained(f"{what} cannot be built", model_class):
        model = model_class(**arguments, num_classes=num_classes)
    if lazy := ", ".join(inference.lazy_layers(model)):
        _fail(f"{what} has layers whose sizes are not known ({lazy}): give them, in place of Lazy modules")
    if model.num_classes != num_classes:
        _fail(f"{what} has num_classes {model.num_classes}: hand it on: super().__init__(num_classes)")
    return model


def _check_hyperparameters(model: Classifier, arguments: dict[str, Any]) -> None:
    name, given = type(model).__name__, {}
    for parameter in _named(type(model)):
        given[parameter.name] = parameter.default
        if parameter.name not in model.hparams:
            fix = "call super().__init__(num_classes) in __init__ itself, and leave save_hyperparameters to it"
            what = f"{name} does not keep its argument {parameter.name}"
            _fail(f"{what}, without which a checkpoint cannot be read back: {fix}")
    given |= arguments
    for argument, value in model.hparams.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            what = f"{name}'s argument {argument} is a {type(value).__name__}"
            _fail(f"{what}: take numbers, texts, lists, as a config can")
        if argument in given and argument != "num_classes" and value != given[argument]:
            problem = f"{name} keeps {argument}={value!r} where it was given {given[argument]!r}"
            _fail(f"{problem}: change no argument before super().__init__(num_classes)")


def _check_seed(model: Classifier, arguments: dict[str, Any]) -> None:
    """Check that the initial weights depend only on PyTorch's seed, which was 0 for `model`."""
    torch.manual_seed(0)
    again = _build(type(model), arguments, model.num_classes).state_dict()
    for key, value in model.state_dict().items():
        if model_checks.is_plain(value) and not torch.equal(value, again[key]):  # `fit` refuses other values
            fix = "draw them from PyTorch's generator, or from one that it seeds, as NumPyClassifier.rng()"
            _fail(f"{type(model).__name__}'s {key} starts with other values each time: {fix}")


def _check_logits(model: Classifier) -> None:
    name, images = type(model).__name__, _images(model)
    with _explained(f"{name} cannot compute the logits of uint8 images {tuple(images.shape)}", model):
        logits, alone = _logits(model, images), _logits(model, images[2:3])
    expected = (len(images), model.num_outputs)
    if logits.shape != expected:
        problem = f"{tuple(logits.shape)} for {len(images)} images and {model.num_classes} classes, expected {expected}"
        _fail(f"{name}'s forward returns {problem}: end the network in self.num_outputs logits")
    if not logits.is_floating_point():
        _fail(f"{name}'s forward returns {logits.dtype}: return logits, float")
    if not logits.isfinite().all():
        fix = "images are uint8 pixels, 0 to 255, for self.normalize, and weights start small"
        _fail(f"{name}'s logits are not finite before any training: {fix}")
    if not torch.equal(images, _images(model)):
        _fail(f"{name}'s forward changes the images: compute on a copy")
    if not _close(alone, logits[2:3]):
        fix = "in evaluation mode they must not (batch norm and dropout by their modules, which model.eval() switches)"
        _fail(f"{name}'s logits of an image depend on the other images of the batch, or on chance: {fix}")


def _check_other_images(model_class: type[Classifier], arguments: dict[str, Any]) -> None:
    """Check the logits of gray images of 28 x 28 pixels, unless the model is for color images of 32 x 32 alone."""
    if inspect.signature(model_class).parameters.keys() >= set(FROM_DATA):
        with suppress(InputError):  # the model says that it cannot
            _check_logits(model_class(**arguments | {"channels": 1, "image_size": 28}, num_classes=10))


def _check_as_fit(model: Classifier) -> None:
    """Run the checks of `fit`."""
    try:
        model_checks.check(model)
    except InputError as error:
        raise AssertionError(str(error)) from error


def _check_copy(model: Classifier) -> None:
    name, images = type(model).__name__, _images(model)
    before = _logits(model, images)
    with _explained(f"{name} cannot be copied by copy.deepcopy", model):
        copied = copy.deepcopy(model)
    if not _close(_logits(copied, images), before):
        _fail(f"a copy of {name} (copy.deepcopy) gives other logits: keep what forward needs in parameters and buffers")
    for parameter in copied.parameters():
        parameter.data.add_(1)
    if not torch.equal(_logits(model, images), before) or torch.equal(_logits(copied, images), before):
        problem = f"{name} and its copy (copy.deepcopy) share weights, or a copy does not compute with its own"
        _fail(f"{problem}: forward must reach its weights through self")


def _images(model: Classifier) -> Tensor:
    """Return six images, uint8 (6, c, h, w): a black one, a white one, and noise."""
    images = torch.randint(256, (6, *model.image_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[0], images[1] = 0, 255
    return images


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether logits agree up to the order of summation."""
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def _logits(model: Classifier, images: Tensor) -> Tensor:
    return model.eval()(images).clone()


def _fit(model: Classifier, **options: Any) -> L.Trainer:
    """Train for `STEPS` steps, with a validation at the end."""
    off: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, **off, **options)
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
    name = type(model).__name__
    trainable = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    before = {key: parameter.detach().clone() for key, parameter in trainable.items()}
    largest = {key: torch.zeros(()) for key in trainable}  # absolute gradients; NaN if one was NaN

    def keep_largest(*_: Any) -> None:
        for key, parameter in trainable.items():
            if parameter.grad is not None:
                largest[key] = torch.maximum(largest[key], parameter.grad.abs().max())

    with _explained(f"{name} cannot be trained", model):
        trainer = _fit(model, devices=1, callbacks=[LambdaCallback(on_before_optimizer_step=keep_largest)])
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    optimized = {id(parameter) for group in groups for parameter in group["params"]}
    for key, parameter in trainable.items():
        if largest[key] == 0:
            _fail(f"{name}'s parameter {key} gets no gradient: use it in forward, or freeze it")
        if id(parameter) not in optimized:
            _fail(f"{name}'s optimizer lacks {key}: leave configure_optimizers as it is")
        if not (largest[key].isfinite() and parameter.isfinite().all()):
            problem = f"{name}'s parameter {key}, or its gradient, is not finite within {STEPS} steps"
            _fail(f"{problem}: give default_optimizer a lower learning rate")
    if all(torch.equal(parameter, before[key]) for key, parameter in trainable.items()):
        problem = f"{name}'s weights are the same after {STEPS} steps"
        _fail(f"{problem}: training_step returns the loss, as a tensor to differentiate")
    train = cast(Any, model.metrics["train_metrics"]).confusion
    val = torch.tensor(model.results.get("val", {}).get("confusion", []))
    for stage, confusion, expected in (("train", train, STEPS * BATCH_SIZE), ("val", val, VAL_SIZE)):
        if (counted := int(confusion.sum())) != expected:
            fix = 'calls self.count("train", logits, labels, loss), and the steps of evaluation stay as they are'
            _fail(f"{name} counted {counted} of {expected} images ({stage}): training_step {fix}")
    return trainer


def _check_checkpoint(model: Classifier, trainer: L.Trainer, path: Path) -> None:
    name = type(model).__name__
    with _explained(f"a checkpoint of {name} cannot be read back (weights_only=True)", model):
        trainer.save_checkpoint(path)
        again = type(model).load_from_checkpoint(path, map_location="cpu", weights_only=True)
        # From plain values, as in the commands that use a trained model.
        rebuilt = trained_model.build(type(model), json.loads(json.dumps(dict(model.hparams))))
        rebuilt.load_state_dict(again.state_dict())
    for copied in (again, rebuilt):
        if not _close(_logits(copied, _images(model)), _logits(model, _images(model))):
            fix = "keep what it learns in parameters, and what it computes with besides in buffers (register_buffer)"
            _fail(f"{name} gives other logits once it is read back from a checkpoint: {fix}")


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
