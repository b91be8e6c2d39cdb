"""Corruptions: exact where they are simple, milder at lower severities, and the same at every call."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from datamodules import synthetic
from zoo.evaluation import corruptions
from zoo.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from zoo.evaluation.robustness import subset

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


def test_every_corruption_is_explained_with_its_name():
    assert set(re.findall(r"^(\w+) {2,}", corruptions.__doc__, re.MULTILINE)) == set(CORRUPTIONS)


def test_brightness_adds_to_every_pixel():
    added = round(255 * CORRUPTIONS["brightness"].parameters[4])
    expected = np.minimum(255, IMAGES.astype(int) + added)
    assert np.abs(corrupt(IMAGES, "brightness", 5) - expected).max() <= 1


def test_contrast_brings_pixels_nearer_to_the_mean_of_their_colour():
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
def test_blur_leaves_one_colour_as_it_is(name):
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
    grey = np.full((50, 3, 32, 32), 0.5)
    assert apply("gaussian_noise", 0.1, grey).std() == pytest.approx(0.1, rel=0.02)
    shot = apply("shot_noise", 100, grey)
    assert shot.mean() == pytest.approx(0.5, rel=0.01)
    assert shot.std() == pytest.approx(np.sqrt(0.5 / 100), rel=0.02)
    impulse = apply("impulse_noise", 0.08, grey)
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
