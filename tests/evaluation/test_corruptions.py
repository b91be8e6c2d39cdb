"""Corruptions: exact where they are simple, milder at lower severities, and the same at every call."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from datamodules import synthetic
from zoo.evaluation import corruptions
from zoo.evaluation.corrupted_images import subset
from zoo.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt

IMAGES = synthetic.generate(20, split="test")[0]
RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog"}
RNG = np.random.default_rng(0)


def apply(name: str, c: float, pixels: np.ndarray) -> np.ndarray:
    return CORRUPTIONS[name].apply(pixels.astype(np.float32), c, np.random.default_rng(0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_is_worse_than_the_one_before(name):
    found = [corrupt(IMAGES, name, severity) for severity in SEVERITIES]
    assert all(images.dtype == np.uint8 and images.shape == IMAGES.shape for images in found)
    changes = [np.abs(images.astype(int) - IMAGES).mean() for images in found]
    assert changes[0] > 0
    assert changes == sorted(changes)
    assert changes[-1] > 1.5 * changes[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_decides_every_pixel(name):
    before = IMAGES.copy()
    first, again, other = (corrupt(IMAGES, name, 3, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.array_equal(IMAGES, before)
    assert np.array_equal(first, other) == (name not in RANDOM)


# Every 769th byte of `COLORFUL`, corrupted with severity 1 to 5.
GOLDEN = {
    "gaussian_noise": [
        "6479f7445eaf1bdf70ede9f85b9913f7", "318ae42e88970bd270c9e9f3668f1af7", "5fa2ff2f59b604c34ff4eef05f890ae7",
        "776de651649529ff8cc2ffb5539f25f3", "9d9fdc4b5dd721e388eeb0cf70bb00ff",
    ],
    "shot_noise": [
        "6270ff355ca80dda5ee9e4ff60a711f5", "6574ce3461a50ed553f9eec873a71cff", "6a64ff37519706ce7593e1f06ca217c6",
        "7c8ff23046cf0dd976b2dcd9608916cf", "475ce0526b800fd66bccffb2709405ff",
    ],
    "impulse_noise": [
        "5f7fff3866a50dd66dd7f1f1689a13f8", "5f7ff03866a50dd66dd7f1f1689a13f8", "5f7ff03866a50dd66dd7f1f1689a13f8",
        "5f00f03866a50dd66dd7f1f1689a13f8", "5f7ff03866a50dd600d7f1ff689a13f8",
    ],
    "defocus_blur": [
        "5f7ae93360a914c570c8e0ef769317d5", "5f75e3315bac1ab673bbd3ee828d1bbb", "5f72de3257ae1faa75b1c8ed8c881ea7",
        "5f70dd3356af21a576adc2ec8f86219f", "5f6ed93454af269e77abb9ec95842c94",
    ],
    "gaussian_blur": [
        "5f7ded3664a610d06ed1ebf06d9715eb", "5f77e5335dab18bb72c0d7ee7e8f1ac5", "5f73e03359ad1eae74b5caed898a20ae",
        "5f70dc3456ad22a676b1c2ec8f8628a1", "5f6ed83554a9269e77aeb9eb95813595",
    ],
    "motion_blur": [
        "5f77e63661ac1ac774d0eaee7b9019cc", "5f70dd2f54a50d9f75bcd4ed91921ac6", "5f71dc4359b024b278cee0ec7682219d",
        "5f6cd72c5fb227c377a6c1ed9a903aa0", "5f6bd04e508d2390739cb1ed9a7e2d9b",
    ],
    "fog": [
        "7488e14770a627d479d0e4e27aa129ed", "7e97e1557ca141d07cc7d1d38bb94cd4", "8d90d27884c449c48ec8e1e895b652cc",
        "88ade3868ad067c3a0b0d6eaa1ba7ce6", "a2bde4899ba17bebb8d1d3e3a5b169c5",
    ],
    "brightness": [
        "6c8cfd4573b21ae37ae4fefe75a720ff", "7898ff5280bf26f086f1ffff82b42cff", "85a5ff5e8ccb33fc93fdffff8ec039ff",
        "92b2ff6b99d840ffa0ffffff9bcd46ff", "acccff84b3f25affbaffffffb5e760ff",
    ],
    "contrast": [
        "677fd8466d9c27be70c0d5d26e942fd9", "7080c055739340a573a8b9b3748d4abb", "7380b65a768f4a9c749fada7778b55ae",
        "7680ad60798c55927695a29b798860a2", "7b809e697d866483778791887d847190",
    ],
    "saturation": [
        "6b7fdc4561a618c861c1e8dd769c29d5", "7780c8515da624bb55abdfc8859d40b1", "8080b85b59a72db04c9ad8b8909f5295",
        "8780ac6357a833a8458dd3ac99a05f7f", "8e80a06a54a83aa03e7fcea0a1a16d6a",
    ],
    "pixelate": [
        "5f7ff0254ca50dd66dd7f1eaa99a13f8", "5f7ff03866a50dd66dd7f1f1689a13f8", "5f7ff0254ca50dd66dd7f1eaa99a13f8",
        "5f7ff03866a50dd66dd7f1f1689a13f8", "5f7ff0254ca50dd66dd7f1eaa99a13f8",
    ],
    "jpeg": [
        "5389dd2944ab0cd56ac6f9fd8e9c289f", "837eeb194faa0bd353c5e2ff6fa31ab0", "5375d4274fac00d04fc2f7eb809b20d2",
        "5a7cf517149d11df8edbf2ff9f932bb4", "5ca6e62649c419de4bccf3ff86a82d82",
    ],
}  # fmt: skip
COLORFUL = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8).repeat(4, 2).repeat(4, 3)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pixels_are_the_same_in_every_version(name):
    """Reports compare models that were evaluated at different times. A rounding error may move a byte by one."""
    expected = np.array([list(bytes.fromhex(of_severity)) for of_severity in GOLDEN[name]])
    found = [corrupt(COLORFUL, name, severity).ravel()[::769] for severity in SEVERITIES]
    np.testing.assert_allclose(np.array(found, dtype=int), expected, rtol=0, atol=1)


GREY = [name for name in CORRUPTIONS if name != "saturation"]


def test_grey_images_have_all_corruptions_but_that_of_colors():
    assert corruptions.names_for(1) == GREY
    assert corruptions.names_for(3) == [*CORRUPTIONS]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48), (1, 64, 64), (3, 9, 9)])
@pytest.mark.parametrize("name", GREY)
def test_images_of_any_shape(name, shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    before = images.copy()
    found = [corrupt(images, name, severity) for severity in SEVERITIES]
    assert all(one.dtype == np.uint8 and one.shape == images.shape for one in found)
    assert (found[-1] != images).any()
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "motion_blur"])
def test_lengths_grow_with_the_side(name):
    """An image of twice the side, blurred and made smaller, is about the smaller image, blurred."""
    small = gaussian_filter(RNG.random((20, 1, 32, 32)), 3, axes=(2, 3)) * 8 - 3.5
    small = (small.clip(0, 1) * 255).astype(np.uint8)
    large = corrupt(small.repeat(2, 2).repeat(2, 3), name, 5)
    shrunk = large.reshape(20, 1, 32, 2, 32, 2).mean((3, 5))
    expected = corrupt(small, name, 5).astype(float)
    changed = np.abs(expected - small).mean()
    assert np.abs(shrunk - expected).mean() < 0.5 * changed


@pytest.mark.parametrize(
    ("size", "sides"), [(32, [28, 24, 20, 16, 12]), (64, [56, 48, 40, 32, 24]), (16, [14, 12, 10, 8, 6])]
)
def test_pixelate_leaves_a_share_of_the_side(size, sides):
    images = RNG.integers(0, 256, (1, 1, size, size), dtype=np.uint8)
    found = [len(np.unique(corrupt(images, "pixelate", severity)[0, 0], axis=0)) for severity in SEVERITIES]
    assert found == sides


def test_every_corruption_is_explained_with_its_name():
    assert set(re.findall(r"^(\w+) {2,}", corruptions.__doc__, re.MULTILINE)) == set(CORRUPTIONS)


def test_brightness_adds_to_every_pixel():
    added = round(255 * CORRUPTIONS["brightness"].parameters[4])
    expected = np.minimum(255, IMAGES.astype(int) + added)
    assert np.abs(corrupt(IMAGES, "brightness", 5) - expected).max() <= 1


def test_contrast_brings_pixels_nearer_to_the_mean_of_their_color():
    found = corrupt(IMAGES, "contrast", 2).astype(float)
    mean = IMAGES.mean((2, 3), keepdims=True)
    assert np.abs(found - (mean + 0.5 * (IMAGES - mean))).max() <= 0.51


def test_the_last_saturation_is_grey():
    found = corrupt(IMAGES, "saturation", 5)
    assert np.array_equal(found[:, 0], found[:, 1])
    assert np.array_equal(found[:, 0], found[:, 2])
    expected = np.tensordot([0.299, 0.587, 0.114], IMAGES, (0, 1))
    assert np.abs(found[:, 0] - expected).max() <= 0.51


@pytest.mark.parametrize("name", ["contrast", "saturation"])
def test_a_factor_of_one_changes_nothing(name):
    pixels = RNG.random((2, 3, 32, 32))
    np.testing.assert_allclose(apply(name, 1, pixels), pixels, atol=1e-6)


@pytest.mark.parametrize("c", [0.4, 1.3])
def test_gaussian_blur_is_scipys(c):
    pixels = RNG.random((2, 3, 32, 32))
    expected = gaussian_filter(pixels, c, radius=int(np.ceil(3 * c)), mode="mirror", axes=(2, 3))
    np.testing.assert_allclose(apply("gaussian_blur", c, pixels), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "motion_blur", "pixelate"])
def test_blur_leaves_one_color_as_it_is(name):
    images = np.full((2, 3, 32, 32), 100, dtype=np.uint8)
    assert np.array_equal(corrupt(images, name, 5), images)


def test_blurs_spread_one_pixel_over_a_disk_and_along_a_line():
    pixels = np.zeros((30, 3, 32, 32))
    pixels[:, :, 16, 16] = 1
    disk = apply("defocus_blur", 2.0, pixels)
    np.testing.assert_allclose(disk.sum((2, 3)), 1, atol=1e-5)
    rows, columns = np.nonzero(disk[0, 0] > 1e-6)
    assert np.hypot(rows - 16, columns - 16).max() <= 2.5
    assert len(rows) == 21
    np.testing.assert_allclose(disk[0, 0], disk[0, 0].T)
    for line in apply("motion_blur", 7, pixels)[:, 0]:
        assert line.sum() == pytest.approx(1, abs=1e-5)
        rows, columns = np.nonzero(line > 1e-6)
        axes = np.linalg.svd(np.stack([rows, columns]) - 16.0)[1]
        assert axes[0] > 3 * axes[1]  # long and thin


def test_noise_is_as_strong_as_it_says():
    gray = np.full((50, 3, 32, 32), 0.5)
    assert apply("gaussian_noise", 0.1, gray).std() == pytest.approx(0.1, rel=0.02)
    shot = apply("shot_noise", 100, gray)
    assert shot.mean() == pytest.approx(0.5, rel=0.01)
    assert shot.std() == pytest.approx(np.sqrt(0.5 / 100), rel=0.02)
    impulse = apply("impulse_noise", 0.08, gray)
    assert (impulse != 0.5).mean() == pytest.approx(0.08, rel=0.05)
    assert set(np.unique(impulse)) == {0, 0.5, 1}


def test_fog_takes_contrast_away_and_is_smooth():
    black = np.zeros((10, 3, 32, 32))
    fog = apply("fog", 1.0, black)
    assert fog.min() == pytest.approx(0.25)
    assert fog.max() == pytest.approx(0.5)
    assert np.abs(np.diff(fog, axis=3)).mean() < 0.02


@pytest.mark.parametrize("side", [12, 28])
def test_pixelate_has_as_few_pixels_as_it_says(side):
    found = apply("pixelate", side, RNG.random((1, 3, 32, 32)))[0, 0]
    assert len(np.unique(found, axis=0)) == side
    assert len(np.unique(found, axis=1).T) == side


def test_a_subset_has_the_classes_in_proportion_and_is_always_the_same():
    labels = np.random.default_rng(1).permutation(np.arange(500) % 10)
    chosen = subset(labels, 100)
    assert chosen[:8].tolist() == [2, 5, 15, 18, 27, 39, 41, 54]
    assert np.bincount(labels[chosen]).tolist() == [10] * 10
    assert np.array_equal(subset(labels, 10_000), np.arange(500))
