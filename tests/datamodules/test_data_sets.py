"""Data sets as descriptions: what follows from one, and what importing them costs."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

import datamodules
from datamodules.augmentation import Augmentation, augment, pad
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10, SOURCES, Source
from datamodules.tasks import task_classes


def test_the_command_line_knows_every_data_set():
    assert get_args(Source) == tuple(SOURCES)


@pytest.mark.parametrize("data_set", SOURCES.values(), ids=SOURCES)
def test_a_description_fits_its_images(data_set):
    assert len(data_set.mean) == len(data_set.std) == len(data_set.mean_color) == data_set.channels
    assert len(set(data_set.class_names)) == len(data_set.class_names) >= 2
    assert data_set.shape == (data_set.channels, data_set.image_size, data_set.image_size)


def test_tasks():
    assert task_classes(CIFAR10.class_names, "multiclass") == CIFAR10.class_names
    assert task_classes(CIFAR10.class_names, "binary") == ("airplane", "not airplane")


def test_the_package_brings_no_torch_before_the_data_module_is_asked_for():
    code = """
import sys, datamodules, datamodules.data_sets
assert not {"torch", "lightning"} & set(sys.modules)
from datamodules import CIFAR10DataModule
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(datamodules.__file__).parents[1])
    assert datamodules.CIFAR10DataModule is CIFAR10DataModule
    with pytest.raises(AttributeError, match="'CIFAR100DataModule'"):
        getattr(datamodules, "CIFAR100DataModule")  # noqa: B009


def test_other_files_of_the_same_format_need_a_description_alone(tmp_path):
    """A hundred classes in one file a split, as CIFAR-100 has them."""
    hundred = replace(
        CIFAR10,
        name="hundred",
        class_names=tuple(f"class {k}" for k in range(100)),
        train_images=300,
        test_images=100,
        folder="hundred-python",
        batches={"train": {"train": "training batch 1 of 1"}, "test": {"test": "testing batch 1 of 1"}},
        meta="meta",
        labels_key="fine_labels",
        names_key="fine_label_names",
        md5=dict.fromkeys(("train", "test", "meta"), ""),
    )
    (tmp_path / "hundred-python").mkdir()
    labels = {"train": np.arange(300) % 100, "test": np.arange(100)}
    for name in ("train", "test"):
        data = np.tile(labels[name].astype(np.uint8)[:, None], (1, 3072))
        content = {"data": data, "fine_labels": labels[name].tolist()}
        (tmp_path / "hundred-python" / name).write_bytes(pickle.dumps(content, protocol=2))
    (tmp_path / "hundred-python" / "meta").write_bytes(
        pickle.dumps({"fine_label_names": list(hundred.class_names)}, protocol=2)
    )
    for name in ("train", "test"):
        images, read, official = hundred.read(tmp_path, name, verify_checksums=False)
        np.testing.assert_array_equal(read, labels[name])
        np.testing.assert_array_equal(images[:, 2, 31, 31], read)
        assert not official
    assert [verdict.problem for verdict in hundred.check(tmp_path / "hundred-python")] == [""] * 3


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (9, 3)])
def test_augmentation_of_images_of_other_shapes(side, channels):
    images = torch.randint(0, 256, (20, side, side, channels), dtype=torch.uint8)
    everything, every = torch.arange(20), Augmentation(3, "reflect", True, cutout=4, mean_color=(7,) * channels)
    changed = augment(pad(images, 3, "reflect"), everything, everything, every, seed=0, epoch=0)
    assert changed.shape == images.shape
    assert (changed == 7).flatten(1).sum(1).min() >= 4 * channels, "a quarter of the square, at the least"
    mirrored = augment(images, everything, everything, Augmentation(horizontal_flip=True), seed=0, epoch=0)
    same = (mirrored == images).flatten(1).all(1)
    assert torch.equal(mirrored[~same], images[~same].flip(2))
    assert 0 < same.sum() < 20
