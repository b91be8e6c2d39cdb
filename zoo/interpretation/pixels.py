"""A model's logits as a function of the pixels that PyTorch differentiates, whatever computes them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from datamodules.errors import InputError, one_line
from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.scratch.network import Network
from zoo.trained import inference

TOLERANCE = 1e-3  # of the logits' largest, between those of floating-point pixels and those of bytes


def logits(model: Classifier, pixels: Tensor) -> Tensor:
    """Return the logits, float (n, `num_outputs`), of pixels of 0 to 255, float32 (n, 3, 32, 32) on the model's device.

    They can be differentiated with respect to the pixels. Those of a NumPy network overwrite the gradients of its
    parameters when they are, which the next step of training computes anew.
    """
    if isinstance(model, NumPyClassifier):
        rows = pixels.permute(0, 2, 3, 1).flatten(1) * model.pixel_scale + model.pixel_shift
        return _OfNetwork.apply(rows, model.network)
    return model(pixels)


def check(model: Classifier, images: Tensor) -> None:
    """Check that `logits` are those of the model, and can be differentiated.

    A model of another package may take bytes alone, or take floating-point pixels for numbers of 0 to 1.

    Args:
        model: any of the zoo.
        images: uint8 (n, 3, 32, 32); one will do.

    Raises:
        InputError: where they are not, or cannot.
    """
    name = type(model).__name__
    try:
        with inference.evaluating(model), torch.enable_grad():
            pixels = images.to(model.device, torch.float32).requires_grad_()
            found = logits(model, pixels)
            torch.autograd.grad(found.sum(), pixels)
    except Exception as error:  # the code of another package can raise anything
        raise InputError(f"{name} cannot be differentiated with respect to its pixels: {one_line(error)}") from error
    expected = inference.logits(model, images)
    difference = (found.detach().float().cpu() - expected).abs().max()
    if not difference <= TOLERANCE * expected.abs().max():
        raise InputError(f"{name} gives other logits for pixels as floating-point numbers than for bytes")


class _OfNetwork(torch.autograd.Function):
    """A network of `zoo.scratch` as a function of its inputs, float32 (n, 3072)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, network: Network) -> Tensor:
        ctx.network = network
        ctx.save_for_backward(inputs)
        return torch.from_numpy(_forward(network, inputs).copy())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (inputs,) = ctx.saved_tensors
        _forward(ctx.network, inputs)  # once more: another call may have used the network's memory since
        found = ctx.network.backward(gradient.numpy(), input_gradient=True)
        return torch.from_numpy(found.copy()), None


@np.errstate(over="ignore", invalid="ignore")  # of a diverged network: its answers tell
def _forward(network: Network, inputs: Tensor) -> np.ndarray:
    return network.forward(inputs.detach().numpy())
