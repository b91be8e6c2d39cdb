"""Draw synthetic images in place of CIFAR-10: ten geometric figures on colored, textured backgrounds.

The images have the shape, type and number of classes of CIFAR-10, and need no download. They are meant for trying out
the training code: weak and strong models differ within minutes, but an accuracy on them says nothing about photographs.

Three cues point to the class, and each needs a deeper model than the one before:

1. Half of the backgrounds have a hue chosen by the class. Most of these are bright and have the hue of the class, which
   a linear model can read from the mean color.
2. The rest of these backgrounds are dim and have the opposite hue, so they cancel part of the first cue in the class
   mean. A model needs one hidden layer to separate "bright red or dim cyan" from other colors.
3. The figure is lighter or darker than its background with equal chance, in any hue, and is shifted, scaled and tilted.
   Its shape leaves almost no trace in the class mean; convolutions read it best.

Small dots are clutter, and a band hides part of the figure in a few images, so that no model reaches 100 %.

Accuracies in per cent on 1,000 test images, after 3 epochs on 2,500 training images (seed 0 of both splits, batches of
64, no augmentation, CIFAR-10's mean and standard deviation), for 3 seeds of initialization and batch order:

    ==================================================  =====  ================  ==================
    Model and optimizer                                 Mean   Seeds 0, 1, 2     4,000 images x 4
    ==================================================  =====  ================  ==================
    Linear, AdamW, 3e-4                                 31.8   31.5, 31.8, 32.2  35.2, 37.4, 35.5
    Linear, AdamW, 1e-3                                 27.0   29.7, 28.7, 22.6  34.3, 35.9, 27.9
    3072-64-10 with ReLU, AdamW, 1e-3                   58.5   61.3, 58.1, 56.2  69.8, 68.9, 65.6
    3072-64-10 with ReLU, SGD, momentum 0.9, 1e-2       58.8   55.8, 58.9, 61.8  71.7, 71.9, 72.1
    Six convolutions (64, 64, 128, 128, 256, 256)       91.4   92.0, 89.8, 92.4  96.1 (seed 0 only)
    ==================================================  =====  ================  ==================

The last column is for 4 epochs on 4,000 images. The network of convolutions has batch normalization, ReLU, max pooling
after each pair, and a hidden layer of 512 with dropout 0.5. It was trained by SGD (Nesterov momentum 0.9, peak learning
rate 0.1 after 20 % linear warm-up, cosine decay to 0, weight decay 5e-4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.data_set import DataSet, Split, SplitName
from datamodules.errors import InputError

Floats = NDArray[np.floating]  # float32 throughout; NumPy's type stubs do not track the width

IMAGE_SIZE = 32  # pixels, as in CIFAR-10
MOST_IMAGES = 200_000  # which take a minute and 0.6 GB

# The constants below were chosen by hand for the accuracies in the module docstring. Lengths are in pixels, angles in
# radians; lightness, saturation and contrast are fractions of the pixel range. Pairs bound a uniform distribution.

# The first two cues. A larger CUE_PROBABILITY helps a hidden layer, a larger BRIGHT_SHARE a linear model.
CUE_PROBABILITY = 0.5
BRIGHT_SHARE = 0.88
HUE_SPREAD = (-0.04, 0.04)  # in turns of the colour wheel; neighbouring classes are 0.1 apart

# The backgrounds. A larger step between bright and dim ones hides the contrast of the figures, and makes the early
# training of convolutional networks erratic.
BRIGHT_LIGHTNESS = (0.52, 0.60)
DIM_LIGHTNESS = (0.40, 0.48)
BACKGROUND_SATURATION = (0.35, 0.50)
TEXTURE_CONTRAST = (0.02, 0.10)
TEXTURE_FREQUENCY = (-0.16, 0.16)  # periods per pixel along each axis

# The figures. A larger MAX_SHIFT hinders a hidden layer far more than convolutions. Every figure stays inside its
# image: its farthest point is 1.1 radii from its center.
RADIUS = (8.5, 11.0)
MAX_SHIFT = 3.5
MAX_TILT = 0.16
FIGURE_CONTRAST = (0.32, 0.42)
FIGURE_SATURATION = (0.30, 0.55)

# Clutter. The bands limit the accuracy.
DOTS = 2
DOT_RADIUS = (1.2, 2.4)
BAND_PROBABILITY = 0.08
BAND_LIGHTNESS = (0.30, 0.70)
BAND_HALF_WIDTH = (5.0, 8.0)
MAX_BAND_SHIFT = 4.0
MAX_NOISE = 8  # in steps of the 8-bit pixel range

# Images drawn at once: about 25 MB of temporary arrays. Another size gives other images.
BLOCK_SIZE = 512


# Each figure is a signed distance: negative inside, positive outside, in radii of the figure; x points right, y down.
# This module uses only operations that IEEE 754 rounds exactly (no sin, cos, exp, matrix product or sum over an axis):
# every machine draws the same images.


def _disc(x: Floats, y: Floats) -> Floats:
    return np.sqrt(x * x + y * y) - 0.85


def _ring(x: Floats, y: Floats) -> Floats:
    return np.abs(np.sqrt(x * x + y * y) - 0.72) - 0.2


def _square(x: Floats, y: Floats) -> Floats:
    return np.maximum(np.abs(x), np.abs(y)) - 0.74


def _triangle(x: Floats, y: Floats) -> Floats:
    sides = 0.866 * np.abs(x) - 0.5 * y - 0.5
    base = y - 0.6
    return np.maximum(sides, base)


def _diamond(x: Floats, y: Floats) -> Floats:
    return 0.857 * np.abs(x) + 0.514 * np.abs(y) - 0.53


def _plus(x: Floats, y: Floats) -> Floats:
    across, along = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.maximum(across - 0.28, along - 0.95)


def _star(x: Floats, y: Floats) -> Floats:
    # Five lines bound a pentagon; the star is what lies beyond at most one of them.
    outward = ((0.0, 1.0), (0.9511, 0.3090), (0.5878, -0.8090), (-0.5878, -0.8090), (-0.9511, 0.3090))
    lines = np.stack([normal_x * x + normal_y * y for normal_x, normal_y in outward])
    return np.sort(lines, axis=0)[-2] - 0.32


def _moon(x: Floats, y: Floats) -> Floats:
    shifted = x - 0.42
    disc = np.sqrt(x * x + y * y) - 0.92
    bite = np.sqrt(shifted * shifted + y * y) - 0.72
    return np.maximum(disc, -bite)


def _heart(x: Floats, y: Floats) -> Floats:
    side, below = np.abs(x), y + 0.3
    lobes = np.sqrt((side - 0.42) * (side - 0.42) + below * below) - 0.48
    tip = np.maximum(0.74 * side + 0.67 * below - 0.79, 0.22 - below)
    return np.minimum(lobes, tip)


def _hourglass(x: Floats, y: Floats) -> Floats:
    sides = 0.8 * np.abs(x) - 0.6 * np.abs(y) - 0.1
    ends = np.abs(y) - 0.77
    return np.maximum(sides, ends)


_FIGURES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "plus": _plus,
    "star": _star,
    "moon": _moon,
    "heart": _heart,
    "hourglass": _hourglass,
}

CLASS_NAMES: tuple[str, ...] = tuple(_FIGURES)
"""Names of the figures, in the order of the labels."""


def generate(n: int, *, split: SplitName, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw n labelled images.

    The same arguments give the same arrays on every machine. Each split and each seed has its own random stream. The
    images of a smaller n are not a prefix of those of a larger one.

    Args:
        n: number of images, at least 1. The classes share them as evenly as possible, in random order.
        split: "train" or "test".
        seed: of the random stream, at least 0.

    Returns:
        Images, uint8 (n, 3, 32, 32), and labels 0 to 9, int64 (n,).

    Raises:
        ValueError: if n is below 1, the split is unknown or the seed is negative.
    """
    splits = ("train", "test")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if split not in splits:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(splits.index(split),))))
    shuffled = np.argsort(rng.random(n), kind="stable")
    labels = (shuffled % len(CLASS_NAMES)).astype(np.int64)
    images = np.empty((n, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for start in range(0, n, BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        images[block] = _draw(labels[block], rng)
    return images, labels


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawnDataSet(DataSet):
    """Images that `generate` draws."""

    def find(self, data_dir: str | Path) -> Path:
        """Return `data_dir`: the images need no files."""
        return Path(data_dir)

    def read(
        self, data_dir: str | Path, split: SplitName, *, verify_checksums: bool = True, wanted: int | None = None
    ) -> Split:
        """Draw `wanted` images of a split; None draws as many as CIFAR-10 has."""
        n = wanted or (self.train_images if split == "train" else self.test_images)
        if n > MOST_IMAGES:
            sizes = "--data.train_size and --data.val_size" if split == "train" else "--data.test_size"
            raise InputError(f"{sizes} ask for {n:,} drawn images: lower them to {MOST_IMAGES:,} at the most")
        return Split(*generate(n, split=split), official=True)


class _Dice:
    """Random numbers, one per image: arrays (m, 1, 1) that broadcast over the pixels."""

    def __init__(self, rng: "np.random.Generator", images: int) -> None:
        self._rng = rng
        self._shape = (images, 1, 1)

    def uniform(self, low: float, high: float) -> Floats:
        return low + (high - low) * self._rng.random(self._shape, dtype=np.float32)

    def chance(self, probability: float) -> NDArray[np.bool_]:
        return self.uniform(0, 1) < probability


def _draw(labels: NDArray[np.int64], rng: "np.random.Generator") -> NDArray[np.uint8]:
    """Draw an image for each label: uint8 (m, 3, 32, 32)."""
    dice = _Dice(rng, len(labels))
    centred = np.arange(IMAGE_SIZE, dtype=np.float32) - (IMAGE_SIZE - 1) / 2
    row, column = centred[:, None], centred[None, :]

    lightness, background = _background(labels, dice)
    images = background + _texture(row, column, dice)
    for _ in range(DOTS):
        _paint(images, _dot(row, column, dice), _contrasting_colour(lightness, dice))
    _paint(images, _figure(labels, row, column, dice), _contrasting_colour(lightness, dice))
    band_colour = _colour(dice.uniform(0, 1), dice.uniform(*BACKGROUND_SATURATION), dice.uniform(*BAND_LIGHTNESS))
    _paint(images, _band(row, column, dice), band_colour)

    noise = rng.integers(-MAX_NOISE, MAX_NOISE, size=images.shape, dtype=np.int8, endpoint=True)
    return np.clip(np.rint(images * 255) + noise, 0, 255).astype(np.uint8)


def _background(labels: NDArray[np.int64], dice: _Dice) -> tuple[Floats, Floats]:
    """Return the lightness (m, 1, 1) and the color of each background."""
    cued = dice.chance(CUE_PROBABILITY)
    bright = np.where(cued, dice.chance(BRIGHT_SHARE), dice.chance(0.5))
    class_hue = labels[:, None, None].astype(np.float32) / len(CLASS_NAMES) + dice.uniform(*HUE_SPREAD)
    cue_hue = np.where(bright, class_hue, class_hue + 0.5)
    hue = np.where(cued, cue_hue, dice.uniform(0, 1))
    lightness = np.where(bright, dice.uniform(*BRIGHT_LIGHTNESS), dice.uniform(*DIM_LIGHTNESS))
    return lightness, _colour(hue, dice.uniform(*BACKGROUND_SATURATION), lightness)


def _texture(row: Floats, column: Floats, dice: _Dice) -> Floats:
    """Return stripes or checks in a random direction, to be added to all channels."""
    across, down = dice.uniform(*TEXTURE_FREQUENCY), dice.uniform(*TEXTURE_FREQUENCY)
    stripes = _triangle_wave(across * column + down * row + dice.uniform(0, 1))
    cross_stripes = _triangle_wave(across * row - down * column + dice.uniform(0, 1))
    pattern = np.where(dice.chance(0.5), stripes, stripes * cross_stripes)
    return (dice.uniform(*TEXTURE_CONTRAST) * pattern)[:, None]


def _dot(row: Floats, column: Floats, dice: _Dice) -> Floats:
    """Return the signed distance, in pixels, to a small disc at a random place."""
    reach = IMAGE_SIZE / 2
    dx, dy = column - dice.uniform(-reach, reach), row - dice.uniform(-reach, reach)
    return np.sqrt(dx * dx + dy * dy) - dice.uniform(*DOT_RADIUS)


def _figure(labels: NDArray[np.int64], row: Floats, column: Floats, dice: _Dice) -> Floats:
    """Return the signed distance, in pixels, to the figure of each label, placed at random."""
    radius = dice.uniform(*RADIUS)
    dx = column - dice.uniform(-MAX_SHIFT, MAX_SHIFT)
    dy = row - dice.uniform(-MAX_SHIFT, MAX_SHIFT)
    # Cosine and sine of the tilt from the tangent of half of it, which is nearly half of it for small tilts.
    tangent = dice.uniform(-MAX_TILT / 2, MAX_TILT / 2)
    cosine = (1 - tangent * tangent) / (1 + tangent * tangent)
    sine = 2 * tangent / (1 + tangent * tangent)
    x, y = (cosine * dx + sine * dy) / radius, (cosine * dy - sine * dx) / radius
    distance = np.empty_like(x)
    for label, figure in enumerate(_FIGURES.values()):
        chosen = labels == label
        distance[chosen] = figure(x[chosen], y[chosen])
    return distance * radius


def _band(row: Floats, column: Floats, dice: _Dice) -> Floats:
    """Return the signed distance, in pixels, to a band across the image; most images have none."""
    position = np.where(dice.chance(0.5), row, column) - dice.uniform(-MAX_BAND_SHIFT, MAX_BAND_SHIFT)
    distance = np.abs(position) - dice.uniform(*BAND_HALF_WIDTH)
    return np.where(dice.chance(BAND_PROBABILITY), distance, np.float32(np.inf))


def _contrasting_colour(lightness: Floats, dice: _Dice) -> Floats:
    """Return a color of random hue, lighter or darker than `lightness` with equal chance."""
    contrast = dice.uniform(*FIGURE_CONTRAST)
    lightness = lightness + np.where(dice.chance(0.5), contrast, -contrast)
    return _colour(dice.uniform(0, 1), dice.uniform(*FIGURE_SATURATION), lightness)


def _colour(hue: Floats, saturation: Floats, lightness: Floats) -> Floats:
    """Convert arrays (m, 1, 1), the hue in turns, to red, green and blue, (m, 3, 1, 1); `_draw` clips them to 0..1."""
    channel_offset = np.array([0.5, 0.5 - 1 / 3, 0.5 + 1 / 3], dtype=np.float32)[:, None, None]
    # The trapezoids of the HSV colour model: red peaks at hue 0, green at 1/3, blue at 2/3.
    pure = np.clip(2 - np.abs(_fraction(hue[:, None] + channel_offset) * 6 - 3), 0, 1)
    return lightness[:, None] + saturation[:, None] * (pure - 0.5)


def _paint(images: Floats, distance: Floats, colour: Floats) -> None:
    """Paint a shape over `images` in place, with anti-aliased edges."""
    cover = np.clip(0.5 - distance, 0, 1)[:, None]
    images += cover * (colour - images)


def _triangle_wave(phase: Floats) -> Floats:
    """Return a wave between -1 and 1 with period 1."""
    return np.abs(_fraction(phase) * 4 - 2) - 1


def _fraction(x: Floats) -> Floats:
    return x - np.floor(x)
