"""What several families of networks share: variants by name, checks of arguments, and He initialization."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from datamodules.errors import InputError
from zoo.core.classifier import Classifier

Variant = TypeVar("Variant")


def variant(argument: str, value: Any, variants: Mapping[Any, Variant]) -> Variant:
    """Return the variant that a model's argument names; InputError lists the choices."""
    if value not in variants:
        raise InputError(f"--model.{argument}={value} is unknown: choose one of {', '.join(map(str, variants))}")
    return variants[value]


def check_probability(argument: str, value: float) -> None:
    """Raise InputError unless 0 <= value < 1."""
    if not 0 <= value < 1:
        raise InputError(f"--model.{argument}={value} is out of range: give a number from 0 up to, not including, 1")


def check_at_least_1(argument: str, value: int) -> None:
    """Raise InputError unless value >= 1."""
    if value < 1:
        raise InputError(f"--model.{argument}={value} is out of range: give an integer of at least 1")


def check_image_size(model: Classifier, halvings: int) -> None:
    """Raise InputError if an image that is halved so often, rounded up, has a single pixel left."""
    size, smallest = model.image_size, 2**halvings + 1
    if size < smallest:
        name = type(model).__name__
        raise InputError(
            f"{name} halves an image {halvings} times before its last convolutions, and {size} x {size} pixels are too "
            f"few: it needs at least {smallest} x {smallest}"
        )


def initialize_he(net: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from N(0, 2 / inputs of a unit), and set biases to 0.

    He et al. 2015 (https://arxiv.org/abs/1502.01852), equation 10.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    zero_biases(net)


def zero_biases(net: nn.Module) -> None:
    """Set the biases of convolutions and linear layers to 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def check_patches(patch_size: int, image_size: int, smallest: int = 1) -> None:
    """Raise InputError unless square patches divide an image into at least `smallest` x `smallest` of them."""
    fitting = [side for side in range(1, image_size // smallest + 1) if image_size % side == 0]
    if patch_size not in fitting:
        many = f"at least {smallest} x {smallest} " if smallest > 1 else ""
        fix = f"choose {', '.join(map(str, fitting))}" if fitting else f"images need at least {smallest} pixels a side"
        problem = f"does not divide {image_size} x {image_size} pixels into {many}patches"
        raise InputError(f"--model.patch_size={patch_size} {problem}: {fix}")


def rising(highest: float, count: int) -> list[float]:
    """Return `count` probabilities that rise linearly from 0 to `highest`, for stochastic depth in each block.

    Huang et al. 2016 (https://arxiv.org/abs/1603.09382), equation 4.
    """
    return [highest * place / max(1, count - 1) for place in range(count)]
