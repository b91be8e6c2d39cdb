"""Mixup and CutMix against the papers' formulas in plain loops, and the weights against SciPy's distributions."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from datamodules.loading import Batch, EpochSampler
from datamodules.mixing import QUANTILES, Mixing, Partners, beta_quantiles
from datamodules.random_numbers import BOXES, MIXING, random_bits
from tests.helpers import tiny_data

MASK = (1 << 64) - 1
BOTH = {"mixup": 0.4, "cutmix": 1.0}
AUGMENTED = {"crop_padding": 4, "horizontal_flip": True, **BOTH}


def opened(**options) -> CIFAR10DataModule:
    data = tiny_data(**options)
    data.setup("fit")
    return data


def epoch(data: CIFAR10DataModule, number: int = 0) -> list[Batch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def by_index(batches: list[Batch]) -> dict[int, list]:
    """Return each sample's pixels, label, and the fields of its partner, by its index."""
    fields = [[*batch[:2], *batch.partners] for batch in batches]
    indices = torch.cat([batch.indices for batch in batches]).tolist()
    return dict(zip(indices, zip(*(torch.cat(parts) for parts in zip(*fields, strict=True)), strict=True), strict=True))


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2, 1.0, 1.5, 8.0, 1000.0])
def test_quantiles_are_scipys(alpha):
    expected = stats.beta.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, alpha, alpha)
    np.testing.assert_allclose(beta_quantiles(alpha), expected, atol=2e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_hashed_weights_are_of_the_distribution(alpha):
    """Kolmogorov and Smirnov's statistic of n samples exceeds 1.95 / sqrt(n) once in 1,000 times.

    It is of those below 1/2 and, because float32 has no numbers between 1 - 6e-8 and 1, of the others up to there.
    """
    n = 20_000
    _, weights, _ = Mixing(alpha, 0, 32).draw(0, 0, torch.arange(n), 50_000)
    expected = stats.beta(alpha, alpha)
    cdf = np.sort(expected.cdf(weights.double().numpy()))
    lower, upper = cdf[cdf < 0.5] * 2, 2 * cdf[(cdf >= 0.5) & (cdf < 1)] - 1
    for uniform, count in ((lower, len(lower)), (upper, n - len(lower))):
        places = np.arange(len(uniform))
        statistic = max((uniform - places / count).max(), ((places + 1) / count - uniform).max())
        assert statistic < 1.95 / math.sqrt(count)
    assert len(lower) / n == pytest.approx(0.5, abs=0.015)
    assert weights.mean().item() == pytest.approx(0.5, abs=4 * expected.std() / math.sqrt(n))
    assert weights.var().item() == pytest.approx(expected.var(), rel=0.05)


def field(bits: int, number: int, width: int, n: int) -> int:
    return ((bits >> (width * number)) % 2**width * n) >> width


def reference(mixup: float, cutmix: float, side: int, seed: int, number: int, index: int, images: int):
    """Return partner, weight and box of a sample, by the papers, from the hashed numbers."""
    bits, box_bits = (random_bits(seed, number, torch.tensor([index]), s).item() & MASK for s in (MIXING, BOXES))
    partner = field(bits, 1, 32, images)
    level = (field(bits, 0, 16, QUANTILES) + 0.5) / QUANTILES
    if mixup and (not cutmix or field(bits, 1, 16, 2)):
        return partner, stats.beta.ppf(level, mixup, mixup), (0, 0, 0, 0)
    # As in the authors' code, https://github.com/clovaai/CutMix-PyTorch.
    cut = int(side * math.sqrt(1 - stats.beta.ppf(level, cutmix, cutmix)))
    row, column = field(box_bits, 0, 32, side), field(box_bits, 1, 32, side)
    box = [min(max(value, 0), side) for value in (row - cut // 2, column - cut // 2, row + cut // 2, column + cut // 2)]
    weight = 1 - (box[2] - box[0]) * (box[3] - box[1]) / side**2
    return partner, weight, tuple(box)


@pytest.mark.parametrize("side", [32, 28])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.3, 0), (0, 1), (0, 0.2), (0.3, 1)])
def test_every_sample_is_drawn_as_in_the_papers(mixup, cutmix, side):
    indices = torch.tensor([0, 7, 7, 49_999, *range(100, 140)])
    drawn = Mixing(mixup, cutmix, side).draw(5, 3, indices, 1000)
    kinds = set()
    for index, position, weight, box in zip(indices.tolist(), *(part.tolist() for part in drawn), strict=True):
        partner, expected, expected_box = reference(mixup, cutmix, side, 5, 3, index, 1000)
        assert (position, tuple(box)) == (partner, expected_box)
        assert weight == pytest.approx(expected, abs=2e-6)
        kinds.add(any(box))
    assert kinds >= {True} if cutmix else kinds == {False}


def test_half_of_the_samples_take_each_method_and_any_partner():
    """The share's standard deviation is 0.005; each of 100 partners is expected 100 times."""
    positions, weights, boxes = Mixing(1.0, 1.0, 32).draw(0, 0, torch.arange(10_000), 100)
    assert boxes.any(1).float().mean().item() == pytest.approx(0.5, abs=0.02)
    counts = torch.bincount(positions, minlength=100)
    assert len(counts) == 100
    assert counts.min() > 60
    assert counts.max() < 140
    assert abs(np.corrcoef(positions, weights)[0, 1]) < 0.04
    # In other epochs and runs, others.
    for seed, number in ((0, 1), (1, 0)):
        others, *_ = Mixing(1.0, 1.0, 32).draw(seed, number, torch.arange(10_000), 100)
        assert (others == positions).float().mean() < 0.02


def mixed_pixels(own: np.ndarray, other: np.ndarray, weight: float, box: tuple[int, ...]) -> np.ndarray:
    """Mix two images (channels, side, side), pixel by pixel."""
    result = own.astype(np.float64)
    top, left, bottom, right = box
    for row, column in np.ndindex(own.shape[1:]):
        inside = top <= row < bottom and left <= column < right
        if inside:
            result[:, row, column] = other[:, row, column]
        elif top == bottom:
            result[:, row, column] = weight * own[:, row, column] + (1 - weight) * other[:, row, column]
    return result


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}, BOTH])
def test_images_and_labels_are_mixed_pixel_by_pixel(options):
    batch = epoch(opened(**options))[0]
    partners = batch.partners
    found = partners.mix(batch.images.float(), partners.images.float())
    assert found.is_contiguous(memory_format=torch.channels_last)
    labels = partners.soft_labels(batch.labels, 10)
    for place in range(len(found)):
        weight, box = partners.weights[place].item(), tuple(partners.boxes[place].tolist())
        expected = mixed_pixels(batch.images[place].numpy(), partners.images[place].numpy(), weight, box)
        np.testing.assert_allclose(found[place].numpy(), expected, atol=1e-4)
        soft = np.zeros(10)
        soft[batch.labels[place]] += weight
        soft[partners.labels[place]] += 1 - weight
        np.testing.assert_allclose(labels[place].numpy(), soft, atol=1e-6)
        if any(box):
            np.testing.assert_array_equal(found[place].numpy(), expected)


def test_a_box_that_is_empty_leaves_the_image_and_one_of_all_pixels_replaces_it():
    own, other = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    for weight, box, expected in ((1.0, [0, 0, 0, 0], own), (0.0, [0, 0, 8, 8], other), (0.0, [0, 0, 0, 0], other)):
        partners = Partners(other.byte(), torch.tensor([0]), torch.tensor([weight]), torch.tensor([box]))
        assert torch.equal(partners.mix(own.clone(), other), expected)


def test_partners_look_as_the_epoch_shows_them():
    """And are drawn from all training images, not from those of the batch."""
    data = opened(**AUGMENTED)
    batches = epoch(data, 2)
    looks = {index: (sample[0], sample[1]) for index, sample in by_index(batches).items()}
    positions, *_ = data.train._mixing.draw(0, 2, data.train.indices, len(data.train))
    partner_of = dict(zip(data.train.indices.tolist(), data.train.indices[positions].tolist(), strict=True))
    outside = 0
    for batch in batches:
        here = set(batch.indices.tolist())
        for index, image, label in zip(batch.indices.tolist(), *batch.partners[:2], strict=True):
            assert torch.equal(image, looks[partner_of[index]][0])
            assert label == looks[partner_of[index]][1]
            outside += partner_of[index] not in here
    assert outside > 20


def test_a_sample_is_mixed_the_same_in_any_batch_and_process():
    one, other = (by_index(epoch(opened(batch_size=size, **AUGMENTED), 3)) for size in (16, 10))
    data = opened(**AUGMENTED)
    for rank in (0, 1):
        sampler = EpochSampler(data.train, num_replicas=2, rank=rank, seed=0)
        sampler.set_epoch(3)
        shared = by_index([data.train[position] for position in sampler])
        for index, sample in shared.items():
            for found, *expected in zip(sample, one[index], other[index], strict=True):
                assert all(torch.equal(found, value) for value in expected)


def test_an_epoch_goes_on_with_the_same_partners():
    begun = opened(**AUGMENTED).train_dataloader()
    batches = iter(begun)
    next(batches)
    again = opened(**AUGMENTED).train_dataloader()
    again.load_state_dict(begun.state_dict())
    for batch, expected in itertools.zip_longest(again, batches):
        for found, tensor in zip((*batch[:3], *batch.partners), (*expected[:3], *expected.partners), strict=True):
            assert torch.equal(found, tensor)


def test_without_mixing_and_in_evaluation_there_are_no_partners():
    assert all(batch.partners is None for batch in epoch(opened(crop_padding=2)))
    assert all(batch.partners is None for batch in opened(**BOTH).val_dataloader())


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("value", [-0.1, 1001, math.nan])
def test_out_of_range(name, value):
    with pytest.raises(InputError, match=f"--data.{name}={value} is out of range: give a number from 0 to 1000"):
        tiny_data(**{name: value})
