"""`--data.label_noise` and `--data.imbalance`."""

import numpy as np
import pytest
import torch

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_set import SPLIT_SEED
from datamodules.difficulties import imbalanced, with_wrong_labels


def opened(**options) -> CIFAR10DataModule:
    sizes = {"train_size": 3000, "val_size": 100, "test_size": 100}
    data = CIFAR10DataModule(source="synthetic", **sizes | options)
    data.setup()
    return data


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_wrong_labels_are_those_of_other_classes_equally_often(classes, share):
    labels, indices = torch.arange(40_000) % classes, torch.arange(40_000)
    found = with_wrong_labels(labels, indices, share, classes, seed=0)
    wrong = found != labels
    assert wrong.float().mean().item() == pytest.approx(share, abs=0.01)
    steps = torch.bincount((found - labels)[wrong] % classes, minlength=classes) / max(1, wrong.sum())
    assert steps[0] == 0
    if share:
        assert steps[1:].tolist() == pytest.approx([1 / (classes - 1)] * (classes - 1), abs=0.02)
        assert not torch.equal(found, with_wrong_labels(labels, indices, share, classes, seed=1)) or classes == 2


def test_the_same_training_images_are_wrong_in_every_run_and_no_others():
    plain, noisy = opened(), opened(label_noise=0.2, seed=5, batch_size=16)
    wrong = plain.train.labels != noisy.train.labels
    assert wrong.float().mean().item() == pytest.approx(0.2, abs=0.03)
    some = torch.arange(0, 3000, 7)
    alone = with_wrong_labels(plain.train.labels[some], plain.train.indices[some], 0.2, 10, SPLIT_SEED)
    assert torch.equal(alone, noisy.train.labels[some]), "whichever images are chosen with them"
    for before, after in ((plain.val, noisy.val), (plain.test, noisy.test)):
        assert torch.equal(before.labels, after.labels)
    assert "label noise 0.2" in noisy.describe()
    assert "label noise" not in plain.describe()


def test_in_the_binary_task_a_wrong_label_is_the_other_one():
    plain, noisy = opened(task="binary"), opened(task="binary", label_noise=1.0)
    assert torch.equal(noisy.train.labels, 1 - plain.train.labels)


def test_classes_fall_by_equal_factors():
    """The counts of the paper: n r^(-k / (K - 1)); those of each class are its first ones."""
    labels = np.repeat(np.arange(10), 500)
    order = np.random.default_rng(0).permutation(len(labels))
    found = imbalanced(labels, order, 100)
    counts = np.bincount(labels[found])
    assert counts.tolist() == [round(500 * 0.01 ** (k / 9)) for k in range(10)]
    assert counts[0] == 500
    assert counts[9] == 5
    position = {image: place for place, image in enumerate(order.tolist())}
    assert [position[image] for image in found.tolist()] == sorted(position[image] for image in found.tolist())
    rarest = [image for image in order.tolist() if labels[image] == 9][:5]
    assert [image for image in found.tolist() if labels[image] == 9] == rarest
    assert np.array_equal(imbalanced(labels, order, 1), order)
    assert np.bincount(labels[imbalanced(labels, order, 1e6)])[9] == 1


def test_only_training_images_are_unequal():
    plain, data = opened(), opened(imbalance=10)
    counts = torch.bincount(data.train.labels)
    assert counts[0] == torch.bincount(plain.train.labels)[0]
    assert counts[0].item() / counts[9].item() == pytest.approx(10, rel=0.05)
    assert torch.equal(data.val.labels, plain.val.labels)
    assert torch.equal(data.test.labels, plain.test.labels)
    assert set(data.train.indices.tolist()) < set(plain.train.indices.tolist())
