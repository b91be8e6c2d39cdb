"""Random numbers that are a function of (seed, epoch, sample index): a hash of these, on any device.

So they do not change with the batch, the number of processes or an interruption.
"""

from torch import Tensor

# Streams of `random_bits` that are independent of each other.
AUGMENTATION, ORDER, STEPS, MIXING, BOXES, POLICY, JITTER, ERASING, WRONG_LABELS = range(9)

_MASK64 = (1 << 64) - 1
# The increment and the multipliers of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
# generators", OOPSLA 2014, https://doi.org/10.1145/2714064.2660195; the reference code is in the public domain).
_INCREMENT, _MULTIPLIERS = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _signed(value: int) -> int:
    """Return the 64-bit pattern of `value` as the signed integer that torch.int64 holds."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def mix(bits: Tensor) -> Tensor:
    """Apply SplitMix64's finalizer elementwise to int64: every input bit changes every output bit."""
    for shift, multiplier in _MULTIPLIERS:
        # `>>` of a signed integer copies the sign into the high bits: mask them away.
        bits = (bits ^ ((bits >> shift) & (_MASK64 >> shift))) * _signed(multiplier)
    return bits ^ ((bits >> 31) & (_MASK64 >> 31))


def _key(*numbers: int) -> int:
    """Mix integers into one of 64 bits, as `mix` does."""
    bits = 0
    for number in numbers:
        bits = (bits + (number + 1) * _INCREMENT) & _MASK64
        for shift, multiplier in _MULTIPLIERS:
            bits = ((bits ^ (bits >> shift)) * multiplier) & _MASK64
        bits ^= bits >> 31
    return _signed(bits)


def random_bits(seed: int, epoch: int, indices: Tensor, stream: int) -> Tensor:
    """Return 64 random bits, int64 (n,), for each of the sample indices, int64 (n,); the same on every device.

    Different streams give independent bits. Epochs count from 0.
    """
    return mix((indices + 1) * _signed(_INCREMENT) + _key(stream, seed, epoch))


def integers(bits: Tensor, field: int, n: int | Tensor, width: int = 12) -> Tensor:
    """Return integers uniform over 0..n-1, to n parts in 2^width, from the field of `width` of the 64 bits.

    `n` is one for all, or int64 (n,), one for each.
    """
    return (((bits >> (width * field)) & ((1 << width) - 1)) * n) >> width


def uniform(bits: Tensor, field: int) -> Tensor:
    """Return numbers uniform over 0 to 1, float32 (n,), from 12 of the 64 bits: the middles of 4,096 equal parts."""
    return (integers(bits, field, 4096) + 0.5) / 4096
