"""Checks of a model's inputs: images before they are normalized, and batches of any data loader."""

from typing import Any, cast

import torch
from lightning import LightningModule
from torch import Tensor
from torch.fx import Proxy

from datamodules.errors import InputError
from datamodules.loading import Batch

Shape = tuple[int, int, int]  # of an image: channels, height, width
UNKNOWN = -1  # label or index that a data loader does not provide


def check_images(images: Tensor, shape: Shape, differentiable: bool = True) -> None:
    """Raise InputError, which says how to convert the images, unless they are uint8 (n, *shape).

    `differentiable` accepts floating-point pixels of 0 to 255 that require a gradient, for attribution.
    """
    if torch.jit.is_tracing() or isinstance(images, Proxy):  # while a graph is recorded, sizes are no numbers
        return
    if (
        isinstance(images, Tensor)
        and images.shape[1:] == shape
        and (images.dtype is torch.uint8 or (differentiable and images.requires_grad))
    ):
        return
    raise InputError(f"the images are {_describe(images)}; expected {_expected(shape)}: {_remedy(images, shape)}")


def black_images(model: LightningModule, n: int = 1) -> Tensor:
    """Return n black images of the shape that a model takes, uint8, on its device."""
    shape = cast(Tensor, model.example_input_array).shape[1:]
    return torch.zeros(n, *shape, dtype=torch.uint8, device=model.device)


def _expected(shape: Shape) -> str:
    return f"uint8 (n, {', '.join(map(str, shape))}), plain pixels of 0 to 255"


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    shape = getattr(value, "shape", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"a {kind}" if shape is None else f"a {kind} of shape {tuple(shape)}"


def _remedy(images: Any, expected: Shape) -> str:
    if not isinstance(images, Tensor):
        return "torch.as_tensor converts an array"
    shape = tuple(images.shape)
    channels, height, width = expected
    if shape == expected:
        return "add the dimension of the batch, images[None]"
    if len(shape) == 4 and shape[1:] == (height, width, channels):
        return "move the channels to the front, images.permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1] == channels and shape[2:] != (height, width):
        return f"resize them to {height} x {width} pixels, as datamodules.readers.image_files.read does"
    if len(shape) == 4 and shape[1:] == (1, height, width):
        return f"repeat the gray channel, images.expand(-1, {channels}, -1, -1)"
    if shape[1:] != expected:
        colors = "red, green and blue" if channels == 3 else f"{channels} channel{'s' * (channels != 1)}"
        return f"give {colors} of {height} x {width} pixels for each image"
    if images.is_floating_point():
        return (
            "the model normalizes pixels itself; leave ToTensor and Normalize out of the data set, or turn 0..1 into "
            "bytes, (images * 255).round().to(torch.uint8)"
        )
    return "convert them, images.to(torch.uint8)"


def as_batch(batch: Any, shape: Shape, needs_labels: bool = True) -> Batch:
    """Return a data loader's batch as a `Batch`, with int64 labels; missing labels and indices are `UNKNOWN`.

    Args:
        batch: a `Batch`, or a tuple or list of images, labels and, optionally, indices; else InputError is raised.
        shape: of an image, for the message of an error.
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
            f"images {_expected(shape)} and labels int64 (n,)"
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
