"""The augmentation of whole batches of uint8 images: crops, flips, policies, color jitter, cutout and random erasing.

`datamodules.mixing` has mixup and CutMix.

How a sample is augmented in an epoch is a function of (seed, epoch, sample index) alone, see
`datamodules.random_numbers`.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from datamodules import policies
from datamodules.checks import in_range, number_in_range, one_of
from datamodules.data_set import DataSet
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.image_operations import constants, take_rows
from datamodules.policies import POLICIES, Policy
from datamodules.random_numbers import AUGMENTATION, ERASING, JITTER, POLICY, integers, mix, random_bits, uniform

Border = Literal["zeros", "reflect"]
Flip = bool | Literal["alternating"]
LARGEST_ALPHA = 1000  # of mixup and CutMix: all weights are within 0.1 of 1/2

# Random erasing as in torchvision: the rectangle's share of the image (in the paper up to 0.4), and its height / width.
ERASED_SHARE, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
# How often a rectangle is drawn: of 32 x 32 pixels, one in 200 is too long, so that one image in 6 million stays whole.
ERASING_DRAWS = 3


class Augmentation(NamedTuple):
    """Changes to training images, in the order of the attributes; the default values change nothing.

    Attributes:
        crop_padding: pixels of border around an image, of which a random crop of the image's own size is taken.
        crop_border: content of the border: "zeros" for black, "reflect" for the image mirrored at its edge, as in
            PyTorch's `F.pad`.
        horizontal_flip: mirror half of the images, drawn anew in each epoch. "alternating": mirror half of them in the
            first epoch, the other half in the next, and so on, so that two epochs show each image both ways (Jordan
            2024, https://arxiv.org/abs/2404.00498).
        policy: random operations for each image: "randaugment", "trivialaugment" or "autoaugment" (the policy for
            CIFAR-10), see `datamodules.policies`. What comes from outside of an image has the mean color, where
            torchvision has black by default.
        color_jitter: change brightness, contrast and saturation, in a random order, by random factors from
            1 - `color_jitter` to 1 + `color_jitter`.
        cutout: side, in pixels, of a square at a random place that is filled with the mean color (DeVries and Taylor
            2017, https://arxiv.org/abs/1708.04552); part of the square may be outside of the image.
        random_erasing: the share of the images of which a random rectangle is filled with the mean color, which
            normalization turns into the zeros of torchvision's default (Zhong et al. 2017,
            https://arxiv.org/abs/1708.04896). Steps of 1/4096 count.
        mixup: the alpha of mixup, see `datamodules.mixing.Mixing`; 0 is off.
        cutmix: the alpha of CutMix, likewise.
        mean_color: of the data set, in bytes; normalization turns it into (nearly) zero.
    """

    crop_padding: int = 0
    crop_border: Border = "zeros"
    horizontal_flip: Flip = False
    policy: Policy | None = None
    color_jitter: float = 0.0
    cutout: int = 0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mean_color: tuple[int, ...] = CIFAR10.mean_color

    @property
    def changes_images(self) -> bool:
        return self._replace(crop_border=UNCHANGED.crop_border, mean_color=UNCHANGED.mean_color) != UNCHANGED

    @property
    def mixes_images(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def checked(self, data_set: DataSet) -> "Augmentation":
        """Return the augmentation of a data set's images; raise InputError if a value is out of its range."""
        in_range("crop_padding", self.crop_padding, 0, data_set.image_size // 2)
        one_of("crop_border", self.crop_border, get_args(Border))
        one_of("horizontal_flip", self.horizontal_flip, (False, True, "alternating"))
        if self.policy is not None:
            one_of("policy", self.policy, get_args(Policy))
        number_in_range("color_jitter", self.color_jitter, 0, 1)
        in_range("cutout", self.cutout, 0, data_set.image_size)
        number_in_range("random_erasing", self.random_erasing, 0, 1)
        number_in_range("mixup", self.mixup, 0, LARGEST_ALPHA)
        number_in_range("cutmix", self.cutmix, 0, LARGEST_ALPHA)
        if data_set.channels not in (1, 3) and (self.policy or self.color_jitter):
            option = f"policy={self.policy}" if self.policy else f"color_jitter={self.color_jitter}"
            channels = f"{data_set.title} has images of {data_set.channels} channels"
            raise InputError(f"--data.{option} is for gray and color images, and {channels}: leave it out")
        return self._replace(mean_color=data_set.mean_color)

    def describe(self) -> str:
        """Return a short text such as "crop 2 (reflect), mirror (alternating), cutout 8", or "none"."""
        parts = [f"crop {self.crop_padding}" + " (reflect)" * (self.crop_border == "reflect")] * bool(self.crop_padding)
        parts += ["mirror" + " (alternating)" * (self.horizontal_flip == "alternating")] * bool(self.horizontal_flip)
        parts += [str(self.policy)] * bool(self.policy)
        for name in ("color_jitter", "cutout", "random_erasing"):
            parts += [f"{name.replace('_', ' ')} {getattr(self, name)}"] * bool(getattr(self, name))
        parts += [f"mixup {self.mixup:g}"] * bool(self.mixup) + [f"CutMix {self.cutmix:g}"] * bool(self.cutmix)
        return ", ".join(parts) or "none"


UNCHANGED = Augmentation()


def pad(images: Tensor, padding: int, border: Border = "zeros") -> Tensor:
    """Put a border around images, uint8 (n, side, side, channels), in any memory order (see `Augmentation`).

    Returns:
        uint8 (n, side + 2 padding, side + 2 padding, channels), a new contiguous tensor; `padding` is less than `side`.
    """
    n, height, width, channels = images.shape
    bottom, right = padding + height, padding + width
    padded = images.new_zeros(n, height + 2 * padding, width + 2 * padding, channels)
    padded[:, padding:bottom, padding:right] = images
    if border == "reflect":
        # Columns first: the rows then include the corners.
        padded[:, :, :padding] = padded[:, :, padding + 1 : 2 * padding + 1].flip(2)
        padded[:, :, right:] = padded[:, :, width - 1 : right - 1].flip(2)
        padded[:, :padding] = padded[:, padding + 1 : 2 * padding + 1].flip(1)
        padded[:, bottom:] = padded[:, height - 1 : bottom - 1].flip(1)
    return padded


def augment(
    padded: Tensor, positions: Tensor, indices: Tensor, augmentation: Augmentation, seed: int, epoch: int
) -> Tensor:
    """Gather a batch, uint8 (b, side, side, channels), from padded images and augment it; never wait for the device.

    Args:
        padded: all images with their border (see `pad`), uint8 (n, side + 2p, side + 2p, channels), contiguous.
        positions: of the batch's images in `padded`, int64 (b,).
        indices: the samples' indices, which decide their random numbers, int64 (b,).
        augmentation: the changes; its `crop_padding` is the p of `padded`.
    """
    bits = random_bits(seed, epoch, indices, AUGMENTATION)
    _, padded_side, _, channels = padded.shape
    side = padded_side - 2 * augmentation.crop_padding
    choices = 2 * augmentation.crop_padding + 1
    top, left = integers(bits, 0, choices), integers(bits, 1, choices)

    # The pixels of a row are adjacent bytes, so a crop is `side` rows of bytes.
    first = ((positions * padded_side + top) * padded_side + left) * channels
    starts = first[:, None] + torch.arange(side, device=padded.device) * (padded_side * channels)
    images = take_rows(padded, starts.view(-1), side * channels).view(-1, side, side, channels)

    if augmentation.horizontal_flip:
        mirror = mirror_chosen if padded.device.type == "cpu" else mirror_without_waiting
        if augmentation.horizontal_flip == "alternating":
            in_first_epoch = integers(random_bits(seed, 0, indices, AUGMENTATION), 2, 2)
            mirrored = (in_first_epoch + epoch) % 2
        else:
            mirrored = integers(bits, 2, 2)
        mirror(images, mirrored.bool())
    color = augmentation.mean_color
    fill = constants(color, images.device, torch.uint8)
    if augmentation.policy:
        drawn = POLICIES[augmentation.policy](random_bits(seed, epoch, indices, POLICY), side)
        images = policies.apply(images, *drawn, fill)
    if augmentation.color_jitter:
        drawn = policies.color_jitter(random_bits(seed, epoch, indices, JITTER), augmentation.color_jitter)
        images = policies.apply(images, *drawn, fill)
    if augmentation.cutout:
        top, left = (integers(bits, field, side) - augmentation.cutout // 2 for field in (3, 4))
        length = torch.full_like(bits, augmentation.cutout)
        cover(images, Box(top, left, length, length), color)
    if augmentation.random_erasing:
        boxes = erased_boxes(random_bits(seed, epoch, indices, ERASING), augmentation.random_erasing, side)
        cover(images, boxes, color)
    return images


class Box(NamedTuple):
    """A rectangle in each image, in pixels, int64 (b,) each; it may reach over the edge or be empty."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def erased_boxes(bits: Tensor, probability: float, side: int) -> Box:
    """Draw the rectangles of random erasing from 64 bits for each image, int64 (b,); they are empty in the others."""
    height = width = torch.zeros_like(bits)
    draw, (least, most), (flat, tall) = bits, ERASED_SHARE, map(math.log, ERASED_RATIO)
    for _ in range(ERASING_DRAWS):
        draw = mix(draw)
        area = side**2 * (least + (most - least) * uniform(draw, 0))
        root_of_ratio = (0.5 * (flat + (tall - flat) * uniform(draw, 1))).exp()
        drawn = [(area.sqrt() * root_of_ratio).round().long(), (area.sqrt() / root_of_ratio).round().long()]
        fits = (drawn[0] < side) & (drawn[1] < side)
        height, width = (torch.where(fits, new, old) for new, old in zip(drawn, (height, width), strict=True))
    erased = uniform(bits, 0) < probability
    top, left = (integers(bits, field, side - length + 1) for field, length in ((1, height), (2, width)))
    return Box(top, left, height * erased, width * erased)


def cover(images: Tensor, box: Box, color: Sequence[int]) -> None:
    """Fill a rectangle in each of the images, uint8 (b, side, side, channels), with a color, in place."""
    places = torch.arange(images.shape[1], device=images.device)
    rows, columns = (
        (places >= first[:, None]) & (places < (first + length)[:, None])
        for first, length in ((box.top, box.height), (box.left, box.width))
    )
    inside = rows[:, :, None] & columns[:, None, :]
    # Channel by channel, which is faster than all channels of a pixel at once.
    for channel, value in enumerate(color):
        images[..., channel].masked_fill_(inside, value)


def mirror_chosen(images: Tensor, chosen: Tensor) -> None:
    """Mirror the chosen images, bool (b,), of uint8 (b, side, side, channels) in place."""
    positions = chosen.nonzero().squeeze(1)
    mirrored = images.index_select(0, positions).flip(2)
    _words(images).index_copy_(0, positions, _words(mirrored))


def mirror_without_waiting(images: Tensor, chosen: Tensor) -> None:
    """Do the same on a GPU: mirror all images and select, because counting the chosen ones would wait for the GPU."""
    words = _words(images)
    torch.where(chosen[:, None], _words(images.flip(2)), words, out=words)


def _words(images: Tensor) -> Tensor:
    """View uint8 images (b, side, side, channels) as int64 (b, bytes / 8), if 8 divides them: copies take a fifth."""
    flat = images.view(len(images), math.prod(images.shape[1:]))
    return flat if flat.shape[1] % 8 else flat.view(torch.int64)
