"""Augmentation against a plain reference, image by image."""

import numpy as np
import pytest
import torch

from datamodules.augmentation import MEAN_COLOUR, Augmentation, _mix, augment, pad, random_bits

MASK = (1 << 64) - 1


def reference_image(image: np.ndarray, bits: int, augmentation: Augmentation) -> np.ndarray:
    """What becomes of one image, uint8 (32, 32, 3), by slices and loops."""

    def field(k: int, n: int) -> int:
        return ((bits >> (12 * k)) & 0xFFF) * n >> 12

    p = augmentation.crop_padding
    padded = np.pad(image, ((p, p), (p, p), (0, 0)))
    top, left = field(0, 2 * p + 1), field(1, 2 * p + 1)
    out = padded[top : top + 32, left : left + 32].copy()
    if augmentation.horizontal_flip and field(2, 2):
        out = out[:, ::-1].copy()
    if augmentation.cutout:
        row, column = (field(k, 32) - augmentation.cutout // 2 for k in (3, 4))
        for r in range(max(0, row), min(32, row + augmentation.cutout)):
            for c in range(max(0, column), min(32, column + augmentation.cutout)):
                out[r, c] = MEAN_COLOUR
    return out


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))


def test_mix_is_splitmix64s():
    """The generator's first outputs for seed 0, as published with its reference implementation."""
    increment = 0x9E3779B97F4A7C15
    states = torch.tensor([((k * increment + 2**63) & MASK) - 2**63 for k in (1, 2, 3)])
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [value & MASK for value in _mix(states).tolist()] == published


def test_bits_are_balanced_and_independent():
    chosen = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)]
    bits = torch.stack([random_bits(seed, epoch, torch.arange(20_000), stream) for seed, epoch, stream in chosen])
    binary = ((bits[:, :, None] >> torch.arange(64)) & 1).double() * 2 - 1
    # The mean of 20,000 fair coins has a standard deviation of 0.007.
    assert binary.mean(1).abs().max() < 0.035
    for a in range(len(chosen)):
        for b in range(a):
            assert (binary[a] * binary[b]).mean(0).abs().max() < 0.035, f"{chosen[a]} and {chosen[b]} are correlated"
    assert (binary[:, 1:] * binary[:, :-1]).mean(1).abs().max() < 0.035, "neighbours are correlated"


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(crop_padding=4),
        Augmentation(horizontal_flip=True),
        Augmentation(cutout=8),
        Augmentation(cutout=7),
        Augmentation(crop_padding=2, horizontal_flip=True, cutout=16),
    ],
)
def test_augment_equals_reference(images, augmentation):
    positions = torch.tensor([3, 0, 39, 3, 17, 21])
    bits = random_bits(5, 2, torch.arange(6))
    batch = augment(pad(images, augmentation.crop_padding), positions, bits, augmentation)
    for image, position, sample in zip(batch.numpy(), positions.tolist(), bits.tolist(), strict=True):
        expected = reference_image(images[position].numpy(), sample & MASK, augmentation)
        np.testing.assert_array_equal(image, expected)


def test_every_offset_occurs(images):
    """All 81 crops of padding 4 appear, each about as often as the others."""
    marked = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    marked[0, 16, 16] = 255
    n = 81 * 200
    batch = augment(
        pad(marked, 4), torch.zeros(n, dtype=torch.long), random_bits(0, 0, torch.arange(n)), Augmentation(4)
    )
    place = batch[..., 0].flatten(1).argmax(1)
    counts = torch.bincount(place)
    counts = counts[counts > 0]
    assert len(counts) == 81
    assert counts.min() > 130
    assert counts.max() < 280
