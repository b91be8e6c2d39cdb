"""Policies against torchvision's, image by image; what they draw comes from hashed bits."""

from typing import get_args

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from datamodules import policies
from datamodules.image_operations import OPERATIONS
from datamodules.policies import POLICIES, Policy
from datamodules.random_numbers import JITTER, POLICY, random_bits
from tests.datamodules.test_augmentation import MASK, MEAN_COLOR, field
from tests.datamodules.test_image_operations import ROUNDED, torchvision_image

FILL = torch.tensor(MEAN_COLOR, dtype=torch.uint8)
Steps = list[tuple[str, float]]  # names of operations and magnitudes


@pytest.fixture
def images() -> torch.Tensor:
    """Smooth images with some noise, uint8 (400, 32, 32, 3)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 200, (400, 3, 4, 4), generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    noise = torch.randint(0, 40, (400, 3, 32, 32), generator=generator)
    return (smooth + noise).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def uniform(bits: int, k: int) -> float:
    return (field(bits, k, 4096) + 0.5) / 4096


def magnitude(transform, name: str, bins: int, chosen: int, negative: int, side: int) -> float:
    """Return a magnitude of torchvision's tables."""
    magnitudes, signed = transform._AUGMENTATION_SPACE[name]
    values = magnitudes(bins, side, side)
    return 0.0 if values is None else float(values[chosen]) * (-1 if signed and negative else 1)


def randaugment(bits: int, side: int) -> Steps:
    transform = v2.RandAugment()
    names = list(transform._AUGMENTATION_SPACE)
    drawn = [(names[field(bits, k, 14)], field(bits, k + 1, 2)) for k in (0, 2)]
    return [(name, magnitude(transform, name, 31, 9, negative, side)) for name, negative in drawn]


def trivialaugment(bits: int, side: int) -> Steps:
    transform = v2.TrivialAugmentWide()
    name = list(transform._AUGMENTATION_SPACE)[field(bits, 0, 14)]
    return [(name, magnitude(transform, name, 31, field(bits, 1, 31), field(bits, 2, 2), side))]


def autoaugment(bits: int, side: int) -> Steps:
    transform = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    sub_policy = transform._policies[field(bits, 0, 25)]
    return [
        (name, magnitude(transform, name, 10, chosen, field(bits, 3 + k, 2), side))
        if uniform(bits, 1 + k) < probability
        else ("Identity", 0.0)
        for k, (name, probability, chosen) in enumerate(sub_policy)
    ]


REFERENCES = {"randaugment": randaugment, "trivialaugment": trivialaugment, "autoaugment": autoaugment}


def bits_of(count: int, stream: int) -> tuple[torch.Tensor, list[int]]:
    """Return the random bits of samples, as a tensor and as positive integers."""
    bits = random_bits(5, 2, torch.arange(count), stream)
    return bits, [value & MASK for value in bits.tolist()]


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (28, 1)])
@pytest.mark.parametrize("name", get_args(Policy))
def test_each_image_is_torchvisions(images, name, side, channels):
    """Of as many images as it takes for every operation to occur, round by round.

    A value that rounds to the next gray level can make a second operation, such as Equalize, another one.
    """
    images = images[:, :side, :side, :channels].contiguous()
    bits, integers = bits_of(len(images), POLICY)
    ranges, rounds = POLICIES[name](bits, side)
    steps = [REFERENCES[name](number, side) for number in integers]
    found, color = images, FILL[:channels]
    for this, operations in zip(rounds, zip(*steps, strict=True), strict=True):
        before, found = found, policies.apply(found, ranges, [this], color)
        for image, result, step in zip(before.permute(0, 3, 1, 2), found.permute(0, 3, 1, 2), operations, strict=True):
            # Torchvision's table of magnitudes rounds in another order, so that a product may be just below an integer.
            is_rounded = step[0] in (*ROUNDED, "Brightness")
            operation, value = without_rounding(*step)
            expected = torchvision_image(operation, image, value, color.tolist())
            assert (result.int() - expected.int()).abs().max() <= is_rounded, step
    assert torch.equal(policies.apply(images, ranges, rounds, color), found)
    seen = {operation for image in steps for operation, _ in image}
    assert seen == {*OPERATIONS} - ({"Invert"} if name != "autoaugment" else {"ShearX"})


def without_rounding(operation: str, value: float) -> tuple[str, float]:
    """Some of torchvision's thresholds, which are shares of 255, and of its shifts just miss their integer."""
    if operation in ("Solarize", "TranslateX", "TranslateY"):
        value = round(255 * value if operation == "Solarize" else value, 3)
    return operation, value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_color_jitter_is_torchvisions(images, strength, channels):
    images = images[:100, ..., :channels].contiguous()
    bits, integers = bits_of(100, JITTER)
    found = policies.apply(images, *policies.color_jitter(bits, strength), FILL[:channels])
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    expected, used = [], set()
    for image, number in zip(images.permute(0, 3, 1, 2), integers, strict=True):
        order = orders[field(number, 0, 6)]
        used.add(order)
        for k in order:
            image = adjust[k](image, 1 + strength * (2 * uniform(number, 1 + k) - 1))
        expected.append(image)
    assert used == set(orders)
    differences = (found.permute(0, 3, 1, 2).int() - torch.stack(expected).int()).abs()
    assert (differences > 0).float().mean() < 0.01
    assert differences.max() <= 3, "of three roundings, each by a gray level"


@pytest.mark.parametrize("name", get_args(Policy))
def test_on_every_device_each_image_gets_its_operations(images, monkeypatch, name):
    """A GPU applies all operations to parts of the images, which are 7 images here, and selects."""
    drawn = POLICIES[name](bits_of(len(images), POLICY)[0], 32)
    expected = policies.apply(images, *drawn, FILL)
    monkeypatch.setattr(policies, "_apply_to_groups", policies._apply_without_waiting)
    monkeypatch.setattr(policies, "BYTES_ON_GPU", 7 * 3072)
    assert torch.equal(policies.apply(images, *drawn, FILL), expected)


@pytest.mark.parametrize("name", get_args(Policy))
def test_operations_are_drawn_equally_often(name):
    """Of AutoAugment, the sub-policies: as often as their operations occur in torchvision's table."""
    count = 28_000
    ranges, rounds = POLICIES[name](bits_of(count, POLICY)[0], 32)
    expected = [dict.fromkeys(ranges, 1 / 14)] * len(rounds)
    if name == "autoaugment":
        for k in (0, 1):
            shares = dict.fromkeys(ranges, 0.0)
            for sub_policy in v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)._policies:
                operation, probability, _ = sub_policy[k]
                shares[operation] += probability / 25
            expected[k] = shares | {"Identity": 1 - sum(shares.values())}
    for this, shares in zip(rounds, expected, strict=True):
        counts = torch.bincount(this.operations, minlength=len(ranges)) / count
        assert counts.tolist() == pytest.approx(list(shares.values()), abs=0.01)
        assert this.negative.float().mean().item() == pytest.approx(0.5, abs=0.015)


def test_no_images():
    empty = torch.zeros(0, 32, 32, 3, dtype=torch.uint8)
    for draw in POLICIES.values():
        assert policies.apply(empty, *draw(torch.zeros(0, dtype=torch.int64), 32), FILL).shape == empty.shape
