"""Checks of a model's inputs: images before they are normalized, and batches of any data loader."""

from typing import Any, cast

import torch
from lightning import LightningModule
from torch import Tensor
from torch.fx import Proxy

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.loading import Batch

IMAGE = CIFAR10.shape
CHANNELS, SIDE, _ = IMAGE
EXPECTED = f"uint8 (n, {CHANNELS}, {SIDE}, {SIDE}), plain pixels of 0 to 255"
UNKNOWN = -1  # label or index that a data loader does not provide


def check_images(images: Tensor, differentiable: bool = True) -> None:
    """Raise InputError, which says how to convert the images, unless they are uint8 (n, 3, 32, 32).

    `differentiable` accepts floating-point pixels of 0 to 255 that require a gradient, for attribution.
    """
    if torch.jit.is_tracing() or isinstance(images, Proxy):  # while a graph is recorded, sizes are no numbers
        return
    if (
        isinstance(images, Tensor)
        and images.shape[1:] == IMAGE
        and (images.dtype is torch.uint8 or (differentiable and images.requires_grad))
    ):
        return
    raise InputError(f"the images are {_describe(images)}; expected {EXPECTED}: {_remedy(images)}")


def black_images(model: LightningModule, n: int = 1) -> Tensor:
    """Return n black images of the shape that a model takes, uint8 (n, 3, 32, 32), on its device."""
    shape = cast(Tensor, model.example_input_array).shape[1:]
    return torch.zeros(n, *shape, dtype=torch.uint8, device=model.device)


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    shape = getattr(value, "shape", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"a {kind}" if shape is None else f"a {kind} of shape {tuple(shape)}"


def _remedy(images: Any) -> str:
    if not isinstance(images, Tensor):
        return "torch.as_tensor converts an array"
    shape = tuple(images.shape)
    if shape == IMAGE:
        return "add the dimension of the batch, images[None]"
    if len(shape) == 4 and shape[1:] == (SIDE, SIDE, CHANNELS):
        return "move the channels to the front, images.permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1] == CHANNELS and shape[2:] != (SIDE, SIDE):
        return f"resize them to {SIDE} x {SIDE} pixels, as zoo.trained.image_files.read does"
    if len(shape) == 4 and shape[1:] == (1, SIDE, SIDE):
        return f"repeat the grey channel, images.expand(-1, {CHANNELS}, -1, -1)"
    if shape[1:] != IMAGE:
        return f"give red, green and blue of {SIDE} x {SIDE} pixels for each image"
    if images.is_floating_point():
        return (
            "the model normalizes pixels itself; leave ToTensor and Normalize out of the data set, or turn 0..1 into "
            "bytes, (images * 255).round().to(torch.uint8)"
        )
    return "convert them, images.to(torch.uint8)"


def as_batch(batch: Any, needs_labels: bool = True) -> Batch:
    """Return a data loader's batch as a `Batch`, with int64 labels; missing labels and indices are `UNKNOWN`.

    Args:
        batch: a `Batch`, or a tuple or list of images, labels and, optionally, indices; else InputError is raised.
        needs_labels: False for predictions, which images alone suffice for.
    """
    if isinstance(batch, Batch):
        return batch
    parts = (batch,) if isinstance(batch, Tensor) else batch
    fewest = 2 if needs_labels else 1
    if (
        not isinstance(parts, (tuple, list))
        or not fewest <= len(parts) <= 3
        or not all(isinstance(part, Tensor) for part in parts)
    ):
        raise InputError(
            f"a batch of the data loader is {_contents(batch)}; expected (images, labels), "
            f"images {EXPECTED} and labels int64 (n,)"
        )
    images, *others = parts
    unknown = torch.full((len(images),), UNKNOWN, device=images.device)
    labels, indices = [*others, unknown, unknown][:2]
    if needs_labels and (labels.shape != unknown.shape or labels.is_floating_point() or labels.dtype is torch.bool):
        raise InputError(
            f"the labels of a batch of {len(images)} images are {_describe(labels)}; expected class indices, int64 "
            f"({len(images)},)"
        )
    return Batch(images, labels.long(), indices)


def _contents(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        return f"({', '.join(map(_describe, batch[:3]))}{', ...' * (len(batch) > 3)})"
    if isinstance(batch, dict):
        return f"a dict of {', '.join(map(repr, list(batch)[:5]))}"
    return _describe(batch)
