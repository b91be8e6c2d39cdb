"""Random crops, flips and cutout for whole batches of uint8 images.

What a sample looks like in an epoch is a function of (seed, epoch, sample index) and of nothing else: neither the
batch that it comes in, nor the number of processes, nor an interruption changes it. The random numbers therefore come
from a hash of these three, not from a generator that is drawn from in some order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
# The increment and the multipliers of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
# generators", OOPSLA 2014, https://doi.org/10.1145/2714064.2660195; the reference code is in the public domain).
_INCREMENT, _MULTIPLIERS = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_FIELD_BITS = 12

# CIFAR-10's mean colour (0.4914, 0.4822, 0.4465) in bytes: after normalization a cut-out square is (nearly) zero.
MEAN_COLOUR = (125, 123, 114)


class Augmentation(NamedTuple):
    """What is done to training images; the zeros and False of a default do nothing.

    Attributes:
        crop_padding: pixels of black border put around an image before a random 32 x 32 crop of it.
        horizontal_flip: whether half of the images are mirrored.
        cutout: side, in pixels, of a square at a random place filled with the mean colour (DeVries and Taylor 2017,
            https://arxiv.org/abs/1708.04552); it may hang over the edge.
    """

    crop_padding: int = 0
    horizontal_flip: bool = False
    cutout: int = 0


def _signed(value: int) -> int:
    """The 64-bit pattern of `value` as the signed integer that torch.int64 holds."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def _mix(bits: Tensor) -> Tensor:
    """SplitMix64's finalizer, elementwise on int64: every input bit changes every output bit."""
    for shift, multiplier in _MULTIPLIERS:
        # `>>` of a signed integer copies the sign into the high bits: mask them away.
        bits = (bits ^ ((bits >> shift) & (_MASK64 >> shift))) * _signed(multiplier)
    return bits ^ ((bits >> 31) & (_MASK64 >> 31))


def random_bits(seed: int, epoch: int, indices: Tensor, stream: int = 0) -> Tensor:
    """Return 64 random bits for each sample.

    Args:
        seed: of the run.
        epoch: number of the epoch, from 0.
        indices: sample indices, int64 (n,).
        stream: another one gives bits that have nothing to do with these.

    Returns:
        int64 (n,), on the device of `indices`.
    """
    bits = torch.zeros(1, dtype=torch.int64, device=indices.device)
    for number in (stream, seed, epoch):
        bits = _mix(bits + _signed((number + 1) * _INCREMENT))
    return _mix(bits + (indices + 1) * _signed(_INCREMENT))


def _uniform(bits: Tensor, field: int, n: int) -> Tensor:
    """Integers uniform over 0..n-1 (n <= 64, to one part in 64), from the given 12 of the 64 bits."""
    return (((bits >> (_FIELD_BITS * field)) & ((1 << _FIELD_BITS) - 1)) * n) >> _FIELD_BITS


def pad(images: Tensor, padding: int) -> Tensor:
    """Put a black border around images: uint8 (n, 32, 32, 3) -> (n, 32 + 2 padding, 32 + 2 padding, 3)."""
    n, height, width, channels = images.shape
    padded = images.new_zeros(n, height + 2 * padding, width + 2 * padding, channels)
    padded[:, padding : padding + height, padding : padding + width] = images
    return padded


def augment(padded: Tensor, positions: Tensor, bits: Tensor, augmentation: Augmentation) -> Tensor:
    """Gather a batch out of padded images and augment it.

    Args:
        padded: all images with their border (see `pad`), uint8 (n, 32 + 2p, 32 + 2p, 3), contiguous.
        positions: which images, int64 (b,).
        bits: their random bits (see `random_bits`), int64 (b,).
        augmentation: what to do; its `crop_padding` is the p of `padded`.

    Returns:
        uint8 (b, 32, 32, 3), a new tensor.
    """
    side = padded.shape[1]
    choices = 2 * augmentation.crop_padding + 1
    top, left = _uniform(bits, 0, choices), _uniform(bits, 1, choices)

    # Thirty-two pixels of a row are 96 bytes that lie together, so a crop is 32 rows of an (overlapping) view of the
    # bytes: one index_select, several times faster than indexing with three index tensors or cutting image by image.
    row_bytes = 32 * 3
    rows = padded.view(-1).as_strided((padded.numel() - row_bytes + 1, row_bytes), (1, 1))
    first = ((positions * side + top) * side + left) * 3
    starts = first[:, None] + torch.arange(32, device=padded.device) * (side * 3)
    images = rows.index_select(0, starts.view(-1)).view(-1, 32, 32, 3)

    if augmentation.horizontal_flip:
        flipped = _uniform(bits, 2, 2).bool()
        images = torch.where(flipped[:, None, None, None], images.flip(2), images)
    if augmentation.cutout:
        start_row = _uniform(bits, 3, 32) - augmentation.cutout // 2
        start_column = _uniform(bits, 4, 32) - augmentation.cutout // 2
        rows_inside, columns_inside = (_between(start, augmentation.cutout) for start in (start_row, start_column))
        inside = rows_inside[:, :, None] & columns_inside[:, None, :]
        colour = torch.tensor(MEAN_COLOUR, dtype=torch.uint8, device=padded.device)
        images = torch.where(inside[..., None], colour, images)
    return images


def _between(start: Tensor, length: int) -> Tensor:
    """Which of the coordinates 0..31 lie in [start, start + length): bool (b, 32)."""
    coordinates = torch.arange(32, device=start.device)
    return (coordinates >= start[:, None]) & (coordinates < start[:, None] + length)
