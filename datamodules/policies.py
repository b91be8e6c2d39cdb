"""Augmentation policies: which operations each image gets, in which order and how strongly.

A policy draws from the random bits of each sample, and applies the operations of `datamodules.image_operations` to
whole groups of images.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from datamodules.image_operations import OPERATIONS, constants
from datamodules.random_numbers import integers, uniform

Policy = Literal["randaugment", "trivialaugment", "autoaugment"]

# Bytes of the images that an operation gets at once; its numbers take up to 8 times as much. On the CPU they stay in a
# cache, and memory is reused: for 512 images at once, the operations take 20 times as long. A GPU has fewer kernels.
BYTES_AT_ONCE, BYTES_ON_GPU = 256 << 10, 16 << 20


class Range(NamedTuple):
    """The magnitudes of an operation at levels 0 and 1. If `signed`, `low` is 0 and half of them are negated."""

    low: float = 0.0
    high: float = 0.0
    signed: bool = False

    def magnitudes(self, levels: Tensor, signed_levels: Tensor) -> Tensor:
        return self.low + (signed_levels if self.signed else levels) * (self.high - self.low)


class Round(NamedTuple):
    """One operation for each image."""

    operations: Tensor  # int64 (n,), positions in the policy's `Ranges`
    levels: Tensor  # float32 (n,), 0 to 1
    negative: Tensor  # bool (n,), whether a signed magnitude is negated

    @property
    def signed_levels(self) -> Tensor:
        return torch.where(self.negative, -self.levels, self.levels)


Ranges = dict[str, Range]  # by the names of the operations
WITHOUT_MAGNITUDE = {"AutoContrast": Range(), "Equalize": Range()}
# The choices of torchvision, which are those of AutoAugment's authors.
ADJUSTMENTS = ("Brightness", "Color", "Contrast", "Sharpness")

# The sub-policies for CIFAR-10: two operations, each with its probability in tenths and its magnitude from 0 to 9
# (AutoAugment, table 7; the operations without a magnitude have a 0).
SUB_POLICIES = (
    (("Invert", 1, 0), ("Contrast", 2, 6)),
    (("Rotate", 7, 2), ("TranslateX", 3, 9)),
    (("Sharpness", 8, 1), ("Sharpness", 9, 3)),
    (("ShearY", 5, 8), ("TranslateY", 7, 9)),
    (("AutoContrast", 5, 0), ("Equalize", 9, 0)),
    (("ShearY", 2, 7), ("Posterize", 3, 7)),
    (("Color", 4, 3), ("Brightness", 6, 7)),
    (("Sharpness", 3, 9), ("Brightness", 7, 9)),
    (("Equalize", 6, 0), ("Equalize", 5, 0)),
    (("Contrast", 6, 7), ("Sharpness", 6, 5)),
    (("Color", 7, 7), ("TranslateX", 5, 8)),
    (("Equalize", 3, 0), ("AutoContrast", 4, 0)),
    (("TranslateY", 4, 3), ("Sharpness", 2, 6)),
    (("Brightness", 9, 6), ("Color", 2, 8)),
    (("Solarize", 5, 2), ("Invert", 0, 0)),
    (("Equalize", 2, 0), ("AutoContrast", 6, 0)),
    (("Equalize", 2, 0), ("Equalize", 6, 0)),
    (("Color", 9, 9), ("Equalize", 6, 0)),
    (("AutoContrast", 8, 0), ("Solarize", 2, 8)),
    (("Brightness", 1, 3), ("Color", 7, 0)),
    (("Solarize", 4, 5), ("AutoContrast", 9, 0)),
    (("TranslateY", 9, 9), ("TranslateY", 7, 9)),
    (("AutoContrast", 9, 0), ("Solarize", 8, 3)),
    (("Equalize", 8, 0), ("Invert", 1, 0)),
    (("TranslateY", 7, 9), ("AutoContrast", 9, 0)),
)


def narrow_ranges(side: int) -> Ranges:
    """Return the magnitudes of RandAugment and AutoAugment for images of a side, in torchvision's form."""
    shear, shift = Range(0, 0.3, signed=True), Range(0, 150 / 331 * side, signed=True)
    return {
        "Identity": Range(),
        **{"ShearX": shear, "ShearY": shear, "TranslateX": shift, "TranslateY": shift},
        "Rotate": Range(0, 30, signed=True),
        **dict.fromkeys(ADJUSTMENTS, Range(0, 0.9, signed=True)),
        "Posterize": Range(8, 4),
        "Solarize": Range(255, 0),
        **WITHOUT_MAGNITUDE,
    }


def wide_ranges(side: int) -> Ranges:
    """Return the magnitudes of TrivialAugment, which shifts by up to 32 pixels, whatever the side."""
    shear, shift = Range(0, 0.99, signed=True), Range(0, 32, signed=True)
    return narrow_ranges(side) | {
        **{"ShearX": shear, "ShearY": shear, "TranslateX": shift, "TranslateY": shift},
        "Rotate": Range(0, 135, signed=True),
        **dict.fromkeys(ADJUSTMENTS, Range(0, 0.99, signed=True)),
        "Posterize": Range(8, 2),
    }


def randaugment(bits: Tensor, side: int) -> tuple[Ranges, list[Round]]:
    """Draw two of 14 operations for each image, at magnitude 9 of 30.

    Cubuk, Zoph, Shlens and Le 2019, https://arxiv.org/abs/1909.13719; the numbers are torchvision's defaults.
    """
    ranges, levels = narrow_ranges(side), torch.full(bits.shape, 9 / 30, device=bits.device)
    draws = [(integers(bits, field, len(ranges)), integers(bits, field + 1, 2).bool()) for field in (0, 2)]
    return ranges, [Round(operations, levels, negative) for operations, negative in draws]


def trivialaugment(bits: Tensor, side: int) -> tuple[Ranges, list[Round]]:
    """Draw one of 14 operations for each image, at one of 31 magnitudes.

    TrivialAugment (wide): Müller and Hutter 2021, https://arxiv.org/abs/2103.10158.
    """
    ranges = wide_ranges(side)
    return ranges, [Round(integers(bits, 0, len(ranges)), integers(bits, 1, 31) / 30, integers(bits, 2, 2).bool())]


def autoaugment(bits: Tensor, side: int) -> tuple[Ranges, list[Round]]:
    """Draw one of the 25 sub-policies for each image; whether it takes each of the two operations is drawn, too.

    The policy that was found for CIFAR-10: Cubuk, Zoph, Mané, Vasudevan and Le 2018, https://arxiv.org/abs/1805.09501.
    """
    ranges = narrow_ranges(side) | {"Invert": Range()}
    names, drawn = list(ranges), integers(bits, 0, len(SUB_POLICIES))
    rounds = []
    for part, column in enumerate(zip(*SUB_POLICIES, strict=True)):
        rows = [(names.index(name), tenths, magnitude) for name, tenths, magnitude in column]
        columns = (constants(values, bits.device) for values in zip(*rows, strict=True))
        operations, tenths, magnitudes = (values.index_select(0, drawn) for values in columns)
        takes = uniform(bits, 1 + part) < tenths / 10
        # The operation at position 0 is Identity.
        rounds.append(Round((operations * takes).long(), magnitudes / 9, integers(bits, 3 + part, 2).bool()))
    return ranges, rounds


# The six orders of three operations, of each as a digit.
_ORDERS = (0o012, 0o021, 0o102, 0o120, 0o201, 0o210)


def color_jitter(bits: Tensor, strength: float) -> tuple[Ranges, list[Round]]:
    """Change brightness, contrast and saturation of each image by factors of 1 - strength to 1 + strength.

    Their order is random, too, as in torchvision's `ColorJitter`. The hue stays the same.
    """
    ranges = dict.fromkeys(("Brightness", "Contrast", "Color"), Range(-strength, strength))
    order = constants(_ORDERS, bits.device, torch.int64).index_select(0, integers(bits, 0, len(_ORDERS)))
    levels = torch.stack([uniform(bits, field) for field in (1, 2, 3)], 1)
    rounds = []
    for digit in (2, 1, 0):
        operations = order >> 3 * digit & 7
        negative = torch.zeros_like(operations, dtype=torch.bool)
        rounds.append(Round(operations, levels.gather(1, operations[:, None]).squeeze(1), negative))
    return ranges, rounds


POLICIES: dict[str, Callable[[Tensor, int], tuple[Ranges, list[Round]]]] = {
    "randaugment": randaugment,
    "trivialaugment": trivialaugment,
    "autoaugment": autoaugment,
}


def apply(images: Tensor, ranges: Ranges, rounds: Iterable[Round], fill: Tensor) -> Tensor:
    """Apply the operations of all rounds to images, uint8 (n, side, side, channels), and return new ones.

    `fill` is the color, uint8 (channels,), of what comes from outside of an image.
    """
    if not len(images):
        return images
    apply_round = _apply_to_groups if images.device.type == "cpu" else _apply_without_waiting
    for this in rounds:
        images = apply_round(images, ranges, this, fill)
    return images


def _apply_to_groups(images: Tensor, ranges: Ranges, this: Round, fill: Tensor) -> Tensor:
    """Sort the images by their operations, and apply each operation to its group."""
    order = this.operations.argsort()
    sizes = torch.bincount(this.operations, minlength=len(ranges)).tolist()
    grouped = images.index_select(0, order)
    groups = (tensor.split(sizes) for tensor in (grouped, this.levels[order], this.signed_levels[order]))
    for (name, chosen), *group in zip(ranges.items(), *groups, strict=True):
        if name != "Identity" and len(group[0]):
            for part, *levels in _parts(BYTES_AT_ONCE, *group):
                part.copy_(OPERATIONS[name](part, chosen.magnitudes(*levels), fill))
    return grouped.index_select(0, order.argsort())


def _apply_without_waiting(images: Tensor, ranges: Ranges, this: Round, fill: Tensor) -> Tensor:
    """Do the same on a GPU: apply all operations to all images and select, because sizes of groups are not known."""
    done = []
    for part, operations, *levels in _parts(BYTES_ON_GPU, images, this.operations, this.levels, this.signed_levels):
        result = part
        for position, (name, chosen) in enumerate(ranges.items()):
            changed = OPERATIONS[name](part, chosen.magnitudes(*levels), fill)
            result = torch.where((operations == position)[:, None, None, None], changed, result)
        done.append(result)
    return torch.cat(done)


def _parts(size: int, images: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield images, at most `size` bytes at once or one image, with the rows of other tensors."""
    count = max(1, size // math.prod(images.shape[1:]))
    return zip(*(tensor.split(count) for tensor in (images, *others)), strict=True)
