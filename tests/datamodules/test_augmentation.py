"""Augmentation against a plain reference, image by image."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datamodules import policies
from datamodules.augmentation import (
    ERASING_DRAWS,
    Augmentation,
    augment,
    erased_boxes,
    mirror_chosen,
    mirror_without_waiting,
    pad,
)
from datamodules.random_numbers import ERASING, JITTER, POLICY, mix, random_bits

MASK = (1 << 64) - 1
MEAN_COLOR = (125, 123, 114)  # of CIFAR-10


def field(bits: int, k: int, n: int) -> int:
    return ((bits >> (12 * k)) & 0xFFF) * n >> 12


def reference_image(image: np.ndarray, index: int, augmentation: Augmentation, seed: int, epoch: int) -> np.ndarray:
    """What becomes of one image, uint8 (32, 32, 3), by slices and loops."""
    bits, first_bits = (random_bits(seed, number, torch.tensor([index]), 0).item() & MASK for number in (epoch, 0))

    p = augmentation.crop_padding
    mode = {"zeros": "constant", "reflect": "reflect"}[augmentation.crop_border]
    padded = np.pad(image, ((p, p), (p, p), (0, 0)), mode=mode)
    top, left = field(bits, 0, 2 * p + 1), field(bits, 1, 2 * p + 1)
    out = padded[top : top + 32, left : left + 32].copy()
    if augmentation.horizontal_flip == "alternating":
        mirrored = bool(field(first_bits, 2, 2)) if epoch % 2 == 0 else not field(first_bits, 2, 2)
    else:
        mirrored = augmentation.horizontal_flip and bool(field(bits, 2, 2))
    if mirrored:
        out = out[:, ::-1].copy()
    if augmentation.cutout:
        row, column = (field(bits, k, 32) - augmentation.cutout // 2 for k in (3, 4))
        for r in range(max(0, row), min(32, row + augmentation.cutout)):
            for c in range(max(0, column), min(32, column + augmentation.cutout)):
                out[r, c] = MEAN_COLOR
    bits = random_bits(seed, epoch, torch.tensor([index]), ERASING).item()
    if (field(bits & MASK, 0, 4096) + 0.5) / 4096 < augmentation.random_erasing:
        top, left, height, width = reference_rectangle(bits)
        out[top : top + height, left : left + width] = MEAN_COLOR
    return out


def reference_rectangle(bits: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the rectangle of random erasing, by the paper's formula (algorithm 1)."""
    height = width = 0
    draw = bits
    for _ in range(ERASING_DRAWS):
        draw = mix(torch.tensor([draw])).item()
        share, log_ratio = ((field(draw & MASK, k, 4096) + 0.5) / 4096 for k in (0, 1))
        area = (0.02 + (0.33 - 0.02) * share) * 32 * 32
        ratio = math.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * log_ratio)
        if (h := round(math.sqrt(area * ratio))) < 32 and (w := round(math.sqrt(area / ratio))) < 32:
            height, width = h, w
    return field(bits & MASK, 1, 32 - height + 1), field(bits & MASK, 2, 32 - width + 1), height, width


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("epoch", [0, 2, 3])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(crop_padding=4),
        Augmentation(crop_padding=4, crop_border="reflect"),
        Augmentation(crop_padding=16, crop_border="reflect"),
        Augmentation(horizontal_flip=True),
        Augmentation(horizontal_flip="alternating"),
        Augmentation(cutout=8),
        Augmentation(cutout=7),
        Augmentation(random_erasing=1.0),
        Augmentation(random_erasing=0.5),
        Augmentation(crop_padding=2, horizontal_flip=True, cutout=16, random_erasing=0.5),
        Augmentation(crop_padding=2, crop_border="reflect", horizontal_flip="alternating", cutout=16),
    ],
)
def test_augment_equals_reference(images, augmentation, epoch):
    positions = torch.tensor([3, 0, 39, 3, 17, 21])
    indices = torch.tensor([3, 1000, 7, 8, 49_999, 0])
    padded = pad(images, augmentation.crop_padding, augmentation.crop_border)
    batch = augment(padded, positions, indices, augmentation, seed=5, epoch=epoch)
    for image, position, index in zip(batch.numpy(), positions.tolist(), indices.tolist(), strict=True):
        expected = reference_image(images[position].numpy(), index, augmentation, seed=5, epoch=epoch)
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("padding", [0, 1, 4, 16])
def test_borders_are_those_of_pytorch(images, padding):
    """Of images in another order of memory, too."""
    planes = images.permute(0, 3, 1, 2).contiguous()
    for border, mode in (("zeros", "constant"), ("reflect", "reflect")):
        expected = F.pad(planes.float(), (padding,) * 4, mode=mode)
        padded = pad(planes.permute(0, 2, 3, 1), padding, border)
        assert torch.equal(padded.permute(0, 3, 1, 2).float(), expected)
        assert padded.is_contiguous()


def test_rectangles_of_random_erasing():
    """Shares and ratios are those of the paper's ranges, and the rectangles lie inside of the images."""
    n = 20_000
    bits = random_bits(0, 0, torch.arange(n), ERASING)
    top, left, height, width = erased_boxes(bits, 1.0, 32)
    assert (height > 0).all(), "one in 6 million stays whole"
    first = [list(reference_rectangle(value)) for value in bits[:200].tolist()]
    assert torch.stack([top, left, height, width], 1)[:200].tolist() == first
    assert min(top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == 32
    share = (height * width / 1024).mean().item()
    assert share == pytest.approx(0.174, abs=0.005), "nearly the middle of 0.02 and 0.33: long ones are drawn anew"
    assert (height > width).float().mean().item() == pytest.approx(0.5, abs=0.03)
    erased = (erased_boxes(bits, 0.25, 32).width > 0).float().mean().item()
    assert erased == pytest.approx(0.25, abs=0.015)


def test_policy_and_jitter_come_after_crop_and_flip_and_before_the_squares(images):
    positions, indices = torch.arange(40), torch.arange(40) + 7
    first = Augmentation(crop_padding=4, horizontal_flip=True)
    padded = pad(images, 4)
    expected = augment(padded, positions, indices, first, seed=5, epoch=2)
    fill = torch.tensor(MEAN_COLOR, dtype=torch.uint8)
    draws = policies.trivialaugment(random_bits(5, 2, indices, POLICY), 32)
    expected = policies.apply(expected, *draws, fill)
    expected = policies.apply(expected, *policies.color_jitter(random_bits(5, 2, indices, JITTER), 0.4), fill)
    squares = Augmentation(cutout=8, random_erasing=0.5)
    expected = augment(expected, positions, indices, squares, seed=5, epoch=2)
    together = first._replace(policy="trivialaugment", color_jitter=0.4, cutout=8, random_erasing=0.5)
    assert torch.equal(augment(padded, positions, indices, together, seed=5, epoch=2), expected)


def mirrored(horizontal_flip, seed: int, epoch: int) -> torch.Tensor:
    """Which of 10,000 samples are mirrored: bool (10000,)."""
    left_is_bright = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    left_is_bright[:, :, :16] = 255
    positions, augmentation = torch.zeros(10_000, dtype=torch.long), Augmentation(horizontal_flip=horizontal_flip)
    return augment(left_is_bright, positions, torch.arange(10_000), augmentation, seed, epoch)[:, 0, 0, 0] == 0


@pytest.mark.parametrize("mirror", [mirror_chosen, mirror_without_waiting])
@pytest.mark.parametrize("chosen", [[True, False, True], [False] * 3, [True] * 3])
def test_on_every_device_those_that_are_chosen_are_mirrored(mirror, chosen):
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    pairs = zip(images.clone().numpy(), chosen, strict=True)
    expected = [np.fliplr(image) if flips else image for image, flips in pairs]
    mirror(images, torch.tensor(chosen))
    np.testing.assert_array_equal(images.numpy(), expected)


def test_alternating_flips():
    """Half of the images, then the other half; which ones, another seed decides anew. The share's sd is 0.005."""
    epochs = [mirrored("alternating", 0, epoch) for epoch in range(4)]
    for one, following in itertools.pairwise(epochs):
        assert torch.equal(one, ~following)
    assert 0.48 < epochs[0].float().mean() < 0.52
    assert 0.48 < (epochs[0] == mirrored("alternating", 1, 0)).float().mean() < 0.52


def test_random_flips_are_drawn_anew_in_each_epoch():
    epochs = [mirrored(True, 0, epoch) for epoch in range(4)]
    for one, other in itertools.combinations(epochs, 2):
        assert 0.48 < (one == other).float().mean() < 0.52


def test_every_offset_occurs(images):
    """All 81 crops of padding 4 appear, each about as often as the others."""
    marked = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    marked[0, 16, 16] = 255
    n = 81 * 200
    batch = augment(pad(marked, 4), torch.zeros(n, dtype=torch.long), torch.arange(n), Augmentation(4), 0, 0)
    place = batch[..., 0].flatten(1).argmax(1)
    counts = torch.bincount(place)
    counts = counts[counts > 0]
    assert len(counts) == 81
    assert counts.min() > 130
    assert counts.max() < 280
