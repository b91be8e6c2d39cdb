"""A check that PyTorch can differentiate a model's logits with respect to the pixels."""

import torch
from torch import Tensor

from datamodules.errors import InputError, one_line
from zoo.core.classifier import Classifier
from zoo.trained import inference

TOLERANCE = 1e-3  # between the logits of floating-point pixels and of bytes, as a fraction of the largest logit


def check(model: Classifier, images: Tensor) -> None:
    """Raise InputError unless the logits for floating-point pixels are those for bytes, and can be differentiated.

    A model of another package may accept bytes only, or expect floating-point pixels from 0 to 1. One image, uint8
    (n, c, h, w), is enough.
    """
    name = type(model).__name__
    try:
        with inference.evaluating(model), torch.enable_grad():
            pixels = images.to(model.device, torch.float32).requires_grad_()
            logits = model.torch_module()(pixels)
            torch.autograd.grad(logits.sum(), pixels)
    except Exception as error:  # the code of another package can raise anything
        raise InputError(f"{name} cannot be differentiated with respect to its pixels: {one_line(error)}") from error
    expected = inference.logits(model, images)
    difference = (logits.detach().float().cpu() - expected).abs().max()
    if not difference <= TOLERANCE * expected.abs().max():
        raise InputError(f"{name} gives other logits for pixels as floating-point numbers than for bytes")
