"""The operations of the policies against torchvision's, image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as F
from torchvision.transforms.v2._auto_augment import _AutoAugmentBase

from datamodules.image_operations import OPERATIONS, constants

# Levels of the magnitudes, both signs; torchvision's policies go as far.
HIGHEST = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32, "TranslateY": 32, "Rotate": 135}
ADJUSTMENTS = ("Brightness", "Color", "Contrast", "Sharpness")
# Operations that add in another order than torchvision: a value may round to the next gray level.
ROUNDED = ("Color", "Contrast", "Sharpness")
COUNT = 62  # images


def torchvision_image(name: str, image: torch.Tensor, magnitude: float, fill: list[float]) -> torch.Tensor:
    """Return what torchvision's policies make of an image, uint8 (channels, side, side)."""
    if name == "Solarize":
        return F.solarize(image, magnitude)  # the policies give shares of 255
    return _AutoAugmentBase()._apply_image_or_video_transform(image, name, magnitude, "nearest", {torch.Tensor: fill})


def magnitudes_of(name: str) -> torch.Tensor:
    if name == "Posterize":
        return torch.arange(COUNT) % 9 * 1.0
    if name == "Solarize":
        return torch.linspace(0, 255, COUNT)
    return torch.cat([torch.linspace(0, HIGHEST.get(name, 0.99), COUNT // 2)] * 2) * torch.tensor([1, -1]).repeat(
        COUNT // 2
    )


def pictures(side: int, channels: int) -> torch.Tensor:
    """Return images: noise, noise of few levels, and images of one color or of two."""
    generator = torch.Generator().manual_seed(side)
    images = torch.randint(0, 256, (COUNT, side, side, channels), dtype=torch.uint8, generator=generator)
    images[10:30] = images[10:30] // 8 + 60
    images[30:36] = images[30:36, :1, :1]
    images[36:42] = torch.where(images[36:42] > 250, 9, 3)
    return images


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (28, 1), (9, 3), (2, 3), (1, 1)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_image_is_torchvisions(name, side, channels):
    images, magnitudes = pictures(side, channels), magnitudes_of(name)
    fill = torch.tensor([125, 123, 114][:channels], dtype=torch.uint8)
    before = images.clone()
    found = OPERATIONS[name](images, magnitudes, fill)
    assert torch.equal(images, before), "the given images stay as they are"
    assert found.dtype == torch.uint8
    planes = before.permute(0, 3, 1, 2)
    pairs = zip(planes, magnitudes.tolist(), strict=True)
    expected = torch.stack([torchvision_image(name, image, value, fill.tolist()) for image, value in pairs])
    differences = (found.permute(0, 3, 1, 2).int() - expected.int()).abs()
    assert differences.max() <= (name in ROUNDED)
    assert (differences > 0).float().mean() < 0.01


@pytest.mark.parametrize("name", sorted({*OPERATIONS} - {"Identity"}))
def test_an_operation_changes_images(name):
    images, high = pictures(32, 3)[:10], {"Posterize": 4, "Solarize": 128}.get(name, HIGHEST.get(name, 0.99))
    changed = OPERATIONS[name](images, torch.full((10,), float(high)), torch.zeros(3, dtype=torch.uint8))
    if name in ("AutoContrast", "Equalize"):  # noise has all values already
        images = images // 2
        changed = OPERATIONS[name](images, torch.zeros(10), torch.zeros(3, dtype=torch.uint8))
    assert (changed != images).flatten(1).any(1).all()


def test_constants_are_made_where_they_are_used():
    made = constants((1, 2, 5), torch.device("cpu"), torch.uint8)
    assert torch.equal(made, torch.tensor([1, 2, 5], dtype=torch.uint8))
