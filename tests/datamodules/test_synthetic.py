import hashlib

import numpy as np
import pytest

from datamodules import synthetic
from datamodules.synthetic import CLASS_NAMES, generate


def test_shapes_types_and_ranges():
    images, labels = generate(300, split="train")
    assert images.shape == (300, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.shape == (300,)
    assert labels.dtype == np.int64
    assert set(labels) == set(range(10))
    # The pixels use the full range, and few of them are clipped.
    assert images.min() == 0
    assert images.max() == 255
    assert np.isin(images, (0, 255)).mean() < 0.1


def test_class_names():
    assert len(set(CLASS_NAMES)) == 10
    assert all(name == name.lower() and len(name) <= 10 for name in CLASS_NAMES)


def test_same_arguments_give_the_same_arrays():
    first, second = generate(30, split="test", seed=4), generate(30, split="test", seed=4)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_checksum():
    # Pins the images across machines and NumPy versions. Whoever changes the drawing on purpose measures the
    # accuracies in the module docstring anew, and then renews the checksum.
    digest = hashlib.sha256()
    for split in ("train", "test"):
        images, labels = generate(600, split=split)
        digest.update(images.tobytes())
        digest.update(labels.astype("<i8").tobytes())
    assert digest.hexdigest() == "fb197c34feeac05db177da4092567a1eac7f83ee3daedf5c4e0890605ba92a9f"


@pytest.mark.parametrize("n", [1, 9, 10, 25, 1000, 1003])
def test_classes_are_balanced(n):
    _, labels = generate(n, split="train")
    counts = np.bincount(labels, minlength=10)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_labels_are_shuffled():
    _, labels = generate(1000, split="train")
    assert 0.02 < np.mean(labels[1:] == labels[:-1]) < 0.2
    assert 0.02 < np.mean(labels == np.arange(1000) % 10) < 0.2


def test_splits_seeds_and_blocks_share_no_image(monkeypatch):
    monkeypatch.setattr(synthetic, "BLOCK_SIZE", 50)
    parts = [generate(150, split=split, seed=seed)[0] for split in ("train", "test") for seed in (0, 1)]
    assert len({image.tobytes() for part in parts for image in part}) == 4 * 150


@pytest.mark.parametrize("label", range(10), ids=CLASS_NAMES)
def test_figures_stay_inside_the_image(label):
    # Coordinates in radii, up to 1.5; the constants allow a figure to reach 1.1 radii.
    axis = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    x, y = np.broadcast_to(axis[None, :], (301, 301)), np.broadcast_to(axis[:, None], (301, 301))
    distance = synthetic._FIGURES[label](x, y)
    inside = distance < 0
    assert distance.dtype == np.float32
    assert 0.1 < inside.mean() * 9 / np.pi < 0.8
    assert np.sqrt(x * x + y * y)[inside].max() < 1.1
    assert 1.1 * synthetic.RADIUS[1] + synthetic.MAX_SHIFT < synthetic.IMAGE_SIZE / 2


def test_figures_are_as_often_lighter_as_darker_than_the_background(monkeypatch):
    monkeypatch.setattr(synthetic, "BAND_PROBABILITY", 0.0)
    images, labels = generate(1500, split="train")
    squares = images[labels == CLASS_NAMES.index("square")].mean(axis=1)
    lighter = squares[:, 14:18, 14:18].mean(axis=(1, 2)) > np.median(squares, axis=(1, 2))
    assert 0.4 < lighter.mean() < 0.6


def nearest_mean_accuracy(train, test):
    (images, labels), (test_images, test_labels) = train, test
    means = np.stack([images[labels == label].mean(axis=0) for label in range(10)])
    # The squared distance to each mean, less the part that all means share.
    squared_distances = (means**2).sum(axis=1) - 2 * test_images @ means.T
    return np.mean(squared_distances.argmin(axis=1) == test_labels)


def flat(n, split):
    images, labels = generate(n, split=split)
    return images.reshape(n, -1).astype(np.float32) / 255, labels


def test_class_means_tell_a_little_about_the_class():
    accuracy = nearest_mean_accuracy(flat(1500, "train"), flat(400, "test"))
    assert 0.25 < accuracy < 0.5


def test_class_means_without_the_hue_cue_tell_next_to_nothing(monkeypatch):
    monkeypatch.setattr(synthetic, "CUE_PROBABILITY", 0.0)
    accuracy = nearest_mean_accuracy(flat(1500, "train"), flat(400, "test"))
    assert accuracy < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0, "split": "train"}, "n must be at least 1, not 0"),
        ({"n": -3, "split": "test"}, "n must be at least 1, not -3"),
        ({"n": 5, "split": "valid"}, "split must be 'train' or 'test', not 'valid'"),
        ({"n": 5, "split": "train", "seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        generate(**arguments)
