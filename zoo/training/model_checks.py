"""Checks that a model can be trained and its checkpoints read, for `fit` and `zoo.testing`.

Checks that could change the model run on a second model, built from the same arguments.
"""

import io
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.errors import InputError, one_line
from datamodules.loading import Batch
from datamodules.mixing import Partners
from zoo.core import torch_optimizers
from zoo.core.classifier import Classifier
from zoo.trained import inference, trained_model

LONGEST = 400  # characters of an error
# Code whose lines do not help the author of a model.
LIBRARIES = (*(str(Path(file).parent) for file in (torch.__file__, L.__file__)), str(Path(__file__).parents[1]))
VIEW = "view size is not compatible"
CONTIGUOUS = (
    "the images lie in channels_last memory: set memory_format = torch.contiguous_format in the class, "
    "or use flatten or reshape in place of view"
)


def check(model: Classifier, mixes_images: bool = False) -> None:
    """Check that a new model on the CPU can classify images, make a training step, and read its state.

    `mixes_images` makes the step one with mixup.

    Raises:
        InputError: names the first check that fails, and the line of the model's code.
    """
    name = type(model).__name__
    if lazy := inference.lazy_layers(model):
        raise InputError(
            f"{name} has layers whose sizes are not known ({', '.join(lazy)}): give them, in place of Lazy modules"
        )
    with isolate_rng(include_cuda=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_logits(model)
        try:
            second = _build_again(model)
        except (Exception, SystemExit) as error:  # a user's code can raise anything
            raise InputError(
                f"{name} cannot be built a second time from its arguments: {cause(error, model)}"
            ) from error
        _check_plain(model)
        shapes = _shapes(second)
        _check_reading(second, model.state_dict())
        _check_step(second, mixes_images)
        _check_optimizer(second, model.make_optimizer)
        _check_shapes(second, shapes)


def _build_again(model: Classifier) -> Classifier:
    """Build a model from another one's arguments, as a checkpoint holds them."""
    arguments = {name: value for name, value in model.hparams.items() if not name.startswith("_")}
    return trained_model.build(type(model), _written_and_read(arguments))


def _written_and_read(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a checkpoint after writing and reading it."""
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def cause(error: BaseException, model: Classifier) -> str:
    """Return the type and the text of an error in one line, with a remedy for the error of `view`."""
    text = one_line(error).partition(" Hint: ")[0]  # autograd's hint names what this module does
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    if VIEW in text and getattr(model, "memory_format", None) is torch.channels_last:
        text = f"{text.rstrip('.')}; {CONTIGUOUS}"
    return f"{type(error).__name__}: {text}"


def _place(frames: list[tuple[str, int]], model: Classifier) -> str:
    """Return " (FILE, line N)" of the innermost frame, (file, line), in the author's code; "" without one."""
    class_file = getattr(sys.modules.get(type(model).__module__), "__file__", None)
    own = [frame for frame in frames if frame[0] == class_file or not frame[0].startswith((*LIBRARIES, "<"))]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""


def _frames(error: BaseException) -> list[tuple[str, int]]:
    return [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]


def _check_logits(model: Classifier) -> None:
    """Check the logits of two images, and of one: the last batch of an evaluation can be that small."""
    name = type(model).__name__
    for n, images in ((2, "two images"), (1, "one image")):
        try:
            logits = inference.black_image_logits(model, n)
        except (Exception, SystemExit) as error:
            place = _place(_frames(error), model)
            told = "an image" if n == 2 else "a batch of one image"
            raise InputError(f"{name} cannot classify {told}{place}: {cause(error, model)}") from error
        if not isinstance(logits, Tensor):
            raise InputError(f"{name} returns a {type(logits).__name__} for {images}, expected a tensor of logits")
        if tuple(logits.shape) != (n, model.num_outputs):
            shape = tuple(logits.shape)
            raise InputError(f"{name} returns {shape} for {images}, expected {(n, model.num_outputs)}")


# A training step.


def _check_step(model: Classifier, mixes_images: bool) -> None:
    """Check that a training step computes a loss that can be differentiated."""
    if not model.automatic_optimization:  # its steps need the optimizers of a trainer
        return
    name = type(model).__name__
    outputs: list[Any] = []
    mixed: list[Batch] = []
    labels = model.training_labels

    def training_labels(batch: Batch) -> Tensor:
        mixed.append(batch)
        return labels(batch)

    vars(model)["training_labels"] = training_labels
    try:
        model.configure_model()
        model.train().register_forward_hook(lambda module, inputs, output: outputs.append(output))
        loss = _loss(model, mixes_images)
    except (Exception, SystemExit) as error:
        if "is not attached to a `Trainer`" in str(error):  # the step needs a trainer
            return
        if outputs and not isinstance(outputs[-1], Tensor):
            raise InputError(
                f"{name}'s forward returns a {type(outputs[-1]).__name__} in training mode, expected logits: "
                f"return them alone, or give the class a training_step of its own ({cause(error, model)})"
            ) from error
        raise InputError(f"{name} cannot be trained: {cause(error, model)}{_place(_frames(error), model)}") from error
    if mixes_images and not mixed:
        fix = "take logits from self.training_logits(batch) and labels from self.training_labels(batch)"
        raise InputError(
            f"--data.mixup and --data.cutmix: {name}'s training_step leaves out what images are mixed with: {fix}"
        )
    if loss is None:
        return
    try:
        loss.backward()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{name} cannot be trained: {cause(error, model)}{_place(_forward_frames(model, mixes_images), model)}"
        ) from error


def _check_optimizer(model: Classifier, make_optimizer: Callable[[Any], Optimizer]) -> None:
    """Check that the optimizer can make a step with the gradients of a training step."""
    optimizer = make_optimizer(model.parameter_groups())
    for group in optimizer.param_groups:
        if group.get("capturable"):  # for GPUs alone, and this step is on the CPU
            group["capturable"] = False
    try:
        if model.automatic_optimization:
            optimizer.step(lambda: 0.0)
        else:
            optimizer.step()  # as the model does
    except Exception as error:
        name = type(optimizer).__name__
        raise torch_optimizers.refusal(
            name, f"{name} cannot train {type(model).__name__}: {one_line(error)}"
        ) from error


def _loss(model: Classifier, mixes_images: bool) -> Tensor | None:
    """Return the loss of a training step; None if the step skips the batch."""
    channels, height, width = model.image_shape
    pixels = torch.arange(2 * channels * height * width).remainder(251).to(torch.uint8)
    pixels = pixels.view(2, height, width, channels)
    batch = Batch(pixels.permute(0, 3, 1, 2), torch.arange(2), torch.arange(2))
    if mixes_images:
        partners = Partners(batch.images.flip(0), batch.labels.flip(0), torch.full((2,), 0.5), torch.zeros(2, 4).long())
        batch = batch._replace(partners=partners)
    output = model.training_step(batch, 0)
    return output["loss"] if isinstance(output, Mapping) else output


def _forward_frames(model: Classifier, mixes_images: bool) -> list[tuple[str, int]]:
    """Return the frames, (file, line), of the operation in a training step that is not differentiable."""
    with warnings.catch_warnings(record=True) as caught, torch.autograd.detect_anomaly(check_nan=False):
        warnings.simplefilter("always")
        try:
            loss = _loss(model, mixes_images)
            assert loss is not None
            loss.backward()
        except Exception:
            told = "\n".join(str(warning.message) for warning in caught)
            return [(file, int(line)) for file, line in re.findall(r'File "(.+)", line (\d+)', told)]
    return []


# Checkpoints.


def is_plain(value: Any) -> bool:
    """Return whether a value of a state_dict is an ordinary tensor, which every checkpoint can hold."""
    return type(value) in (Tensor, nn.Parameter) and value.layout is torch.strided and not value.is_meta


def _check_plain(model: Classifier) -> None:
    """Check that the state holds only ordinary tensors."""
    name = type(model).__name__
    for key, value in model.state_dict().items():
        if not is_plain(value):
            kind = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"{name}'s state_dict holds a {kind} ('{key}'), and checkpoints hold plain tensors alone: "
                "keep numbers in buffers (register_buffer), in place of get_extra_state, and settings in arguments"
            )


def _check_reading(model: Classifier, state: Mapping[str, Any]) -> None:
    """Check that a model can load another one's state from a checkpoint."""
    try:
        model.load_state_dict(_written_and_read(state))
    except (Exception, SystemExit) as error:
        place = _place(_frames(error), model)
        name = type(model).__name__
        raise InputError(f"a checkpoint of {name} could not be read again{place}: {cause(error, model)}") from error


def _shapes(model: Classifier) -> dict[str, str]:
    return {key: str(tuple(value.shape)) for key, value in model.state_dict().items()}


def _check_shapes(model: Classifier, before: Mapping[str, str]) -> None:
    """Check that the shapes of the state are the same after the model has seen images."""
    after = _shapes(model)
    for key in {**before, **after}:
        old, new = before.get(key, "missing"), after.get(key, "missing")
        if old != new:
            raise InputError(
                f"{type(model).__name__} changes '{key}' from {old} to {new} when it sees images, so a new model could "
                "not read its checkpoints: give it the final shape in __init__"
            )
