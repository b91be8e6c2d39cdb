"""Random crops, flips and cutout for whole batches of uint8 images. `datamodules.mixing` has mixup and CutMix.

How a sample is augmented in an epoch is a function of (seed, epoch, sample index) alone, see
`datamodules.random_numbers`.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from datamodules.checks import in_range, number_in_range, one_of
from datamodules.data_set import DataSet
from datamodules.data_sets import CIFAR10
from datamodules.random_numbers import AUGMENTATION, integers, random_bits

Border = Literal["zeros", "reflect"]
Flip = bool | Literal["alternating"]
LARGEST_ALPHA = 1000  # of mixup and CutMix: all weights are within 0.1 of 1/2


class Augmentation(NamedTuple):
    """Changes to training images; the default values change nothing.

    Attributes:
        crop_padding: pixels of border around an image, of which a random crop of the image's own size is taken.
        crop_border: content of the border: "zeros" for black, "reflect" for the image mirrored at its edge, as in
            PyTorch's `F.pad`.
        horizontal_flip: mirror half of the images, drawn anew in each epoch. "alternating": mirror half of them in the
            first epoch, the other half in the next, and so on, so that two epochs show each image both ways (Jordan
            2024, https://arxiv.org/abs/2404.00498).
        cutout: side, in pixels, of a square at a random place that is filled with the mean color (DeVries and Taylor
            2017, https://arxiv.org/abs/1708.04552); part of the square may be outside of the image.
        mixup: the alpha of mixup, see `datamodules.mixing.Mixing`; 0 is off.
        cutmix: the alpha of CutMix, likewise.
        mean_color: of the data set, in bytes; normalization turns it into (nearly) zero.
    """

    crop_padding: int = 0
    crop_border: Border = "zeros"
    horizontal_flip: Flip = False
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    mean_color: tuple[int, ...] = CIFAR10.mean_color

    @property
    def changes_images(self) -> bool:
        return bool(self.crop_padding or self.horizontal_flip or self.cutout) or self.mixes_images

    @property
    def mixes_images(self) -> bool:
        return bool(self.mixup or self.cutmix)

    def checked(self, data_set: DataSet) -> "Augmentation":
        """Return the augmentation of a data set's images; raise InputError if a value is out of its range."""
        in_range("crop_padding", self.crop_padding, 0, data_set.image_size // 2)
        one_of("crop_border", self.crop_border, get_args(Border))
        one_of("horizontal_flip", self.horizontal_flip, (False, True, "alternating"))
        in_range("cutout", self.cutout, 0, data_set.image_size)
        number_in_range("mixup", self.mixup, 0, LARGEST_ALPHA)
        number_in_range("cutmix", self.cutmix, 0, LARGEST_ALPHA)
        return self._replace(mean_color=data_set.mean_color)

    def describe(self) -> str:
        """Return a short text such as "crop 2 (reflect), mirror (alternating), cutout 8", or "none"."""
        parts = [f"crop {self.crop_padding}" + " (reflect)" * (self.crop_border == "reflect")] * bool(self.crop_padding)
        parts += ["mirror" + " (alternating)" * (self.horizontal_flip == "alternating")] * bool(self.horizontal_flip)
        parts += [f"cutout {self.cutout}"] * bool(self.cutout)
        parts += [f"mixup {self.mixup:g}"] * bool(self.mixup) + [f"CutMix {self.cutmix:g}"] * bool(self.cutmix)
        return ", ".join(parts) or "none"


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

    # The pixels of a row are adjacent bytes, so a crop is `side` rows of an (overlapping) view of the bytes: one
    # index_select, several times faster than indexing with three index tensors or cropping image by image.
    row_bytes = side * channels
    rows = padded.view(-1).as_strided((padded.numel() - row_bytes + 1, row_bytes), (1, 1))
    first = ((positions * padded_side + top) * padded_side + left) * channels
    starts = first[:, None] + torch.arange(side, device=padded.device) * (padded_side * channels)
    images = rows.index_select(0, starts.view(-1)).view(-1, side, side, channels)

    if augmentation.horizontal_flip:
        mirror = mirror_chosen if padded.device.type == "cpu" else mirror_without_waiting
        if augmentation.horizontal_flip == "alternating":
            in_first_epoch = integers(random_bits(seed, 0, indices, AUGMENTATION), 2, 2)
            mirrored = (in_first_epoch + epoch) % 2
        else:
            mirrored = integers(bits, 2, 2)
        mirror(images, mirrored.bool())
    if augmentation.cutout:
        # Which rows, field 3 of the bits, and columns, field 4, are inside of the square: bool (b, side).
        offsets = torch.arange(side, device=padded.device) + augmentation.cutout // 2
        distances = (offsets - integers(bits, field, side)[:, None] for field in (3, 4))
        rows_inside, columns_inside = ((d >= 0) & (d < augmentation.cutout) for d in distances)
        inside = rows_inside[:, :, None] & columns_inside[:, None, :]
        # Channel by channel: a tensor of the color would have to be copied to the device.
        for channel, value in enumerate(augmentation.mean_color):
            images[..., channel].masked_fill_(inside, value)
    return images


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
