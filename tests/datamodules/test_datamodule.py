"""The data module: splits, subsets, order, batches."""

import functools
import itertools
import re
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from datamodules import loading
from datamodules.augmentation import Augmentation, augment, pad
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.image_data_module import SPLIT_SEED, ImageDataModule, stratified_order
from datamodules.image_operations import constants
from datamodules.loading import EpochSampler, ImageDataset, TrainLoader
from datamodules.policies import Policy
from datamodules.random_numbers import random_bits
from datamodules.readers.cifar import CIFARDataSet
from tests.other_data import GRAY

read_once = functools.cache(CIFARDataSet.read)


@pytest.fixture(autouse=True)
def _read_once(monkeypatch):
    """Read each of the files once for all tests of this module."""
    monkeypatch.setattr(CIFARDataSet, "read", read_once)


def module(root=None, **options) -> CIFAR10DataModule:
    source = {"data_dir": str(root), "verify_checksums": False} if root else {"source": "synthetic"}
    return CIFAR10DataModule(**source | {"val_size": 100, "train_size": 300, "test_size": 50} | options)


def open_module(*args, stage=None, **options) -> CIFAR10DataModule:
    data = module(*args, **options)
    data.prepare_data()
    data.setup(stage)
    return data


def epoch(data: CIFAR10DataModule, number: int) -> list:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def joined(batches, field):
    return torch.cat([getattr(batch, field) for batch in batches])


def test_default_split(official_layout):
    data = open_module(official_layout, val_size=5_000, train_size=None, test_size=None)
    assert (len(data.train), len(data.val), len(data.test)) == (45_000, 5_000, 10_000)
    assert torch.bincount(data.val.labels).tolist() == [500] * 10
    everything = torch.cat([data.train.indices, data.val.indices]).sort().values
    assert torch.equal(everything, torch.arange(50_000)), "every image is in train or in val, none in both"


def test_samples_keep_their_labels_and_pixels(official_layout):
    data = open_module(official_layout)
    whole = CIFAR10.read(official_layout, "train", verify_checksums=False)
    for dataset in (data.train, data.val):
        batch = dataset.__getitems__(list(range(len(dataset))))
        np.testing.assert_array_equal(batch.labels, whole.labels[batch.indices])
        np.testing.assert_array_equal(batch.images, whole.images[batch.indices])


@pytest.mark.parametrize("options", [{"seed": 1, "batch_size": 7}, {"seed": 2, "task": "binary"}], ids=str)
def test_hold_out_and_subsets_do_not_depend_on_the_run(monkeypatch, options):
    """They are the first ones of the stratified order of seed 10, which the next test pins."""
    labels = np.arange(500) % 10
    images = np.zeros((500, 3, 32, 32), np.uint8)
    monkeypatch.setattr(CIFARDataSet, "read", lambda *args, **kwargs: (images, labels, True))
    data = module("anywhere", **options)
    data.setup()
    order = stratified_order(labels, np.random.default_rng(10))
    for part, start, end in ((data.val, 0, 100), (data.train, 100, 400), (data.test, 0, 50)):
        assert part.indices.tolist() == sorted(order[start:end])


def test_the_hold_out_is_the_same_for_ever():
    """Another one would have validation images of old checkpoints among those that they were trained on."""
    order = stratified_order(np.arange(50_000) % 10, np.random.default_rng(SPLIT_SEED))
    assert order[:8].tolist() == [11665, 20671, 9913, 29952, 35090, 44734, 13299, 10897]


def test_subsets_are_stratified_and_nested(official_layout):
    small, large = (open_module(official_layout, train_size=n, stage="fit").train for n in (200, 400))
    assert torch.bincount(small.labels).tolist() == [20] * 10
    assert set(small.indices.tolist()) < set(large.indices.tolist())


def test_stratified_order_of_uneven_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    order = stratified_order(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(1000))
    for k in (10, 50, 100, 500):
        assert np.abs(np.bincount(labels[order[:k]], minlength=3) - np.array([0.6, 0.3, 0.1]) * k).max() <= 1


def test_val_size_0_trains_on_everything(official_layout):
    data = open_module(official_layout, val_size=0, train_size=None)
    assert len(data.train) == 50_000
    assert data.val is None
    assert data.val_dataloader() == []
    assert "no val" in data.describe()


def test_a_copy_of_one_split_makes_a_copy(official_layout, monkeypatch):
    def read(self, root, split, **options):
        return original(self, root, split, verify_checksums=False)._replace(official=split == "test")

    original = CIFARDataSet.read
    monkeypatch.setattr(CIFARDataSet, "read", read)
    data = module(official_layout)
    data.setup("test")
    assert data.source_name == "CIFAR-10"
    data.setup("fit")
    assert data.source_name == "CIFAR-10 copy (not the official files)"
    assert open_module(official_layout).source_name == "CIFAR-10 copy (not the official files)"


def test_sizes_and_source_are_told(official_layout):
    assert open_module(official_layout).describe() == (
        "Data: CIFAR-10 copy (not the official files), multiclass: 300 train, 100 val, 50 test"
    )
    assert "synthetic" in open_module().describe()


def test_binary_task_is_airplane_against_the_rest(official_layout):
    ten, two = open_module(official_layout), open_module(official_layout, task="binary")
    assert torch.equal(two.train.labels, (ten.train.labels != 0).long())
    assert two.class_names == ("airplane", "not airplane")


def test_setup_twice_or_for_one_stage_is_harmless(official_layout):
    data = module(official_layout)
    data.setup("fit")
    train = data.train
    assert data.test is None
    data.setup("fit")
    data.setup("test")
    data.setup()
    assert data.train is train
    assert len(data.test) == 50


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_setup_of_the_test_images_alone(stage):
    data = open_module(stage=stage)
    assert (data.train, data.val, len(data.test)) == (None, None, 50)
    assert len(joined(data.predict_dataloader(), "indices")) == 50


def test_batches_are_whole_bytes_with_indices(official_layout):
    data = open_module(official_layout, batch_size=64)
    batches = epoch(data, 0)
    assert isinstance(data.train_dataloader(), DataLoader)
    assert [len(batch.labels) for batch in batches] == [64, 64, 64, 64, 44]
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].images.shape == (64, 3, 32, 32)
    assert batches[0].images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(joined(batches, "indices").sort().values, data.train.indices)
    assert [len(batch.labels) for batch in epoch(open_module(official_layout, batch_size=64, drop_last=True), 0)] == [
        64
    ] * 4


def test_order_depends_on_seed_and_epoch_alone():
    orders = {
        (seed, number, size): joined(epoch(open_module(seed=seed, batch_size=size), number), "indices")
        for seed, number, size in itertools.product((0, 1), (0, 1), (32, 50))
    }
    for seed, number in itertools.product((0, 1), (0, 1)):
        assert torch.equal(orders[seed, number, 32], orders[seed, number, 50])
    for a, b in itertools.combinations([(0, 0), (0, 1), (1, 0), (1, 1)], 2):
        assert not torch.equal(orders[*a, 32], orders[*b, 32])


def test_order_is_a_hash_of_its_own():
    """It is that of stream 1: cutout and crops follow from stream 0, and dropout from stream 2."""
    data = open_module(seed=3)
    order = random_bits(3, 2, torch.arange(300), stream=1).argsort()
    assert torch.equal(joined(epoch(data, 2), "indices"), data.train.indices[order])


@pytest.mark.parametrize(("images", "processes"), [(300, 2), (301, 2), (301, 4), (1, 3)])
def test_processes_share_the_order(images, processes):
    dataset = ImageDataset(torch.zeros(images, 32, 32, 3), torch.zeros(images), torch.arange(images))

    def order(count, rank):
        sampler = EpochSampler(dataset, num_replicas=count, rank=rank, seed=7)
        sampler.set_epoch(2)
        assert len(list(sampler)) == len(sampler)
        return list(sampler)

    alone, shares = order(1, 0), [order(processes, rank) for rank in range(processes)]
    together = [position for turn in zip(*shares, strict=True) for position in turn]
    assert sorted(alone) == list(range(images))
    assert together[:images] == alone
    assert set(together) == set(alone)


AUGMENTED = {
    "crop_padding": 4, "horizontal_flip": True, "policy": "randaugment", "color_jitter": 0.4, "cutout": 8,
    "random_erasing": 0.5, "mixup": 0.4, "cutmix": 1.0,
}  # fmt: skip


def tensors(batch) -> list[torch.Tensor]:
    return [*batch[:3], *(batch.partners or ())]


def looks(data, number):
    batches = epoch(data, number)
    return dict(zip(joined(batches, "indices").tolist(), joined(batches, "images"), strict=True))


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_sample_looks_the_same_in_any_batch_and_process(policy):
    options = AUGMENTED | {"policy": policy}
    one = looks(open_module(batch_size=32, **options), 3)
    other = looks(open_module(batch_size=50, **options), 3)
    assert all(torch.equal(one[index], other[index]) for index in one)

    data = open_module(**options)
    for rank in (0, 1):
        sampler = EpochSampler(data.train, num_replicas=2, rank=rank, seed=0)
        sampler.set_epoch(3)
        for position in sampler:
            batch = data.train[position]
            assert torch.equal(batch.images[0], one[batch.indices.item()])


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("at_once", [1, 64, 130, 10_000])
def test_batches_fetched_together(monkeypatch, at_once, busy):
    """In a thread of their own or not, and however many: the batches that a user asked for."""
    data = open_module(batch_size=32, **AUGMENTED)
    loader = data.train_dataloader()
    expected = [data.train.fetch(positions) for positions in loader.sampler.order().split(32)]
    monkeypatch.setattr("datamodules.loading.FETCHED_IMAGES", at_once)
    monkeypatch.setattr("os.cpu_count", lambda: torch.get_num_threads() + (not busy))
    makers = set()
    monkeypatch.setattr(ImageDataset, "fetch", watched(ImageDataset.fetch, makers))
    for batch, other in zip(loader, expected, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(tensors(batch), tensors(other), strict=True))
        assert loader.state_dict()["batches"] > 0
    assert (threading.current_thread() in makers) == busy

    threads = threading.active_count()
    batches = iter(loader)
    next(batches)
    batches.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize(("device", "fetches"), [("cpu", 5), ("meta", 2)])
def test_more_is_fetched_at_once_on_a_gpu(monkeypatch, device, fetches):
    """300 images: 64 at once on the processor; where others hold them, 192, in whole batches of 32."""
    monkeypatch.setattr("datamodules.loading.FETCHED_IMAGES", 64)
    monkeypatch.setattr("datamodules.loading.FETCHED_ON_GPU", 200)
    loader, fetched, fetch = open_module(batch_size=32).train_dataloader(), [], ImageDataset.fetch
    loader.dataset.to(torch.device(device))
    monkeypatch.setattr(ImageDataset, "fetch", lambda *args: fetched.append(len(args[1])) or fetch(*args))
    assert len(list(loader)) == 10
    assert len(fetched) == fetches
    assert max(fetched) == {"cpu": 64, "meta": 192}[device]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"batch_size": 16}, "batch_size 32, and cannot go on with 16"),
        ({"train_size": 299}, "images 300, and cannot go on with 299"),
        ({"seed": 1}, "seed 0, and cannot go on with 1"),
        ({"world_size": 2}, "processes 1, and cannot go on with 2"),
        ({}, None),
    ],
    ids=str,
)
def test_an_epoch_goes_on_with_the_same_batches_alone(changes, problem):
    def loader(world_size=1, **options):
        data = open_module(**{"batch_size": 32, "stage": "fit"} | options)
        data.trainer = SimpleNamespace(world_size=world_size, global_rank=0, lightning_module=None)
        return data.train_dataloader()

    begun = loader()
    batches = iter(begun)
    next(batches), next(batches)
    state = begun.state_dict()
    if problem:
        with pytest.raises(InputError, match=problem):
            loader(**changes).load_state_dict(state)
        return
    again = loader()
    again.load_state_dict(state)
    assert torch.equal(joined(again, "indices"), joined(batches, "indices"))


def watched(fetch, makers):
    def watched_fetch(*args):
        makers.add(threading.current_thread())
        return fetch(*args)

    return watched_fetch


def test_no_thread_waits_for_a_loop_that_was_left(monkeypatch):
    """The iterator is still referenced, as by the traceback of an error in the loop."""
    monkeypatch.setattr("datamodules.loading.FETCHED_IMAGES", 16)
    monkeypatch.setattr("os.cpu_count", lambda: torch.get_num_threads() + 1)
    before = set(threading.enumerate())
    iterator = iter(open_module().train_dataloader())
    next(iterator)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_what_fails_in_a_thread_is_told(monkeypatch):
    def fail(*args):
        raise MemoryError("no room")

    loader = open_module().train_dataloader()
    monkeypatch.setattr("os.cpu_count", lambda: torch.get_num_threads() + 1)
    monkeypatch.setattr(ImageDataset, "fetch", fail)
    with pytest.raises(MemoryError, match="no room"):
        next(iter(loader))


def test_a_sample_looks_as_its_number_says():
    """Its number in the split, not its position in the subset that is trained on."""
    data = open_module(seed=5, **AUGMENTED)
    found = looks(data, 3)
    everything = torch.arange(300)
    expected = augment(data.train.images, everything, data.train.indices, data.train.augmentation, seed=5, epoch=3)
    for index, image in zip(data.train.indices.tolist(), expected.permute(0, 3, 1, 2), strict=True):
        assert torch.equal(found[index], image)


def test_a_sample_looks_different_in_another_epoch_or_run():
    one, next_epoch = (looks(open_module(**AUGMENTED), number) for number in (0, 1))
    another_seed = looks(open_module(seed=1, **AUGMENTED), 0)
    for other in (next_epoch, another_seed):
        same = sum(torch.equal(one[index], other[index]) for index in one)
        assert same < len(one) / 4


def test_evaluation_is_never_augmented():
    plain, augmented = open_module(), open_module(**AUGMENTED)
    for loader in ("val_dataloader", "test_dataloader"):
        for a, b in zip(getattr(plain, loader)(), getattr(augmented, loader)(), strict=True):
            assert torch.equal(a.images, b.images)


def test_no_augmentation_keeps_no_border():
    plain, cut = open_module().train, open_module(cutout=8).train
    assert plain.images.shape == cut.images.shape == (300, 32, 32, 3)
    assert plain.augmentation is None
    assert cut.augmentation == Augmentation(cutout=8)


@pytest.mark.parametrize(("padding", "border"), [(0, "zeros"), (4, "zeros"), (4, "reflect")])
def test_images_are_copied_part_by_part(monkeypatch, padding, border):
    """Into the same as at once: 300 images are 2 parts of 128 and one of 44."""
    at_once = open_module(crop_padding=padding, crop_border=border, horizontal_flip=True).train
    monkeypatch.setattr("datamodules.image_data_module.COPIED_IMAGES", 128)
    parts = open_module(crop_padding=padding, crop_border=border, horizontal_flip=True).train
    plain = open_module().train.images
    assert torch.equal(parts.images, pad(plain, padding, border))
    assert torch.equal(parts.images, at_once.images)


def test_border_alone_changes_nothing():
    assert open_module(crop_border="reflect").train.augmentation is None


# Images on a GPU. There need not be one: a fake tensor has a device that need not exist, and all but its numbers. What
# needs to see them, and so to wait for the GPU, raises.


class Waited(Exception):
    """The processor waited for a copy from one device to another."""


class NoCopies(TorchDispatchMode):
    """Raises where a tensor goes from one device to another."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if len({value.device for value in (*args, result) if isinstance(value, torch.Tensor)}) > 1:
            raise Waited(func)
        return result


def fake_dataset(augmentation) -> ImageDataset:
    constants.cache_clear()  # of another mode's fake tensors
    images = pad(torch.zeros(300, 32, 32, 3, dtype=torch.uint8), augmentation.crop_padding if augmentation else 0)
    dataset = ImageDataset(images, torch.zeros(300, dtype=torch.long), torch.arange(300), augmentation)
    dataset.to(torch.device("cuda"))
    return dataset


@pytest.mark.parametrize("fetched", [64, 1000])
@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        Augmentation(crop_padding=4, horizontal_flip=True, cutout=8),
        Augmentation(crop_padding=2, crop_border="reflect", horizontal_flip="alternating"),
        Augmentation(crop_padding=2, mixup=0.4, cutmix=1.0),
        Augmentation(policy="randaugment", color_jitter=0.4, random_erasing=0.5),
        Augmentation(policy="trivialaugment"),
        Augmentation(policy="autoaugment"),
    ],
)
def test_an_epoch_on_a_gpu_waits_for_nothing(monkeypatch, augmentation, fetched):
    monkeypatch.setattr("datamodules.loading.FETCHED_ON_GPU", fetched)
    with FakeTensorMode():
        dataset = fake_dataset(augmentation)
        sampler = EpochSampler(dataset, num_replicas=1, rank=0, seed=0)
        loader = TrainLoader(dataset=dataset, batch_size=64, sampler=sampler)
        with NoCopies():
            batches = list(loader)
        assert [len(batch.labels) for batch in batches] == [64, 64, 64, 64, 44]
        assert {tensor.device.type for batch in batches for tensor in tensors(batch)} == {"cuda"}
        assert batches[0].images.shape == (64, 3, 32, 32)


@pytest.mark.parametrize(
    "wait",
    [
        lambda tensor: tensor.sum().item(),
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor[tensor > 0],
        lambda tensor: tensor.cpu(),
        lambda tensor: bool(tensor.any()),
        lambda tensor: torch.tensor([1, 2, 3], device=tensor.device),
    ],
)
def test_what_waits_raises(wait):
    with FakeTensorMode():
        tensor = torch.ones(3, device="cuda")
        with NoCopies(), pytest.raises((DataDependentOutputException, DynamicOutputShapeException, Waited)):
            wait(tensor)


def test_device_of_the_training_images():
    """That of the model which learns, unless it has no memory of its own; what is evaluated stays where it is."""

    def devices(model_device, **options):
        data = open_module(**options, **AUGMENTED)
        model = SimpleNamespace(device=torch.device(model_device))
        data.trainer = SimpleNamespace(world_size=1, global_rank=0, lightning_module=model)
        first = next(iter(data.train_dataloader()))
        assert {tensor.device for tensor in tensors(first)} == {data.train.device}
        assert {data.val.device.type, data.test.device.type} == {"cpu"}
        return data.train.device.type

    assert devices("meta") == "meta"
    assert devices("meta", device="cpu") == "cpu"
    assert devices("cpu") == devices("mps") == "cpu"


def test_a_fetch_has_one_thread_and_leaves_them_as_before(monkeypatch):
    seen, before = [], torch.get_num_threads()

    def seeing(function):
        return lambda *args, **options: seen.append(torch.get_num_threads()) or function(*args, **options)

    for name in ("augment", "random_bits"):  # images and partners of a batch, and an epoch's order
        monkeypatch.setattr(f"datamodules.loading.{name}", seeing(getattr(loading, name)))
    data = open_module(**AUGMENTED)
    torch.set_num_threads(3)
    try:
        epoch(data, 0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 1]


def test_source_is_never_replaced(tmp_path):
    """Without CIFAR-10 there is an error, not a quiet change to the synthetic images."""
    with pytest.raises(InputError, match="synthetic"):
        open_module(tmp_path / "nowhere", download=False)


def test_data_dir_from_the_environment(official_layout, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    data = CIFAR10DataModule(verify_checksums=False, train_size=10, val_size=10)
    data.setup("fit")
    assert len(data.train) == 10


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"eval_batch_size": -1}, "eval_batch_size=-1"),
        ({"val_size": -1}, "val_size=-1"),
        ({"train_size": 0}, "train_size=0"),
        ({"test_size": 0}, "test_size=0"),
        ({"crop_padding": 17}, "crop_padding=17"),
        ({"cutout": 33}, "cutout=33"),
        ({"policy": "randaugmnt"}, "policy=randaugmnt is unknown. Did you mean 'randaugment'?"),
        ({"color_jitter": 1.5}, "color_jitter=1.5 is out of range: give a number from 0 to 1"),
        ({"color_jitter": float("nan")}, "color_jitter=nan is out of range"),
        ({"random_erasing": -0.1}, "random_erasing=-0.1 is out of range: give a number from 0 to 1"),
        ({"random_erasing": True}, "random_erasing=True is out of range"),
        ({"label_noise": 1.1}, "label_noise=1.1 is out of range: give a number from 0 to 1"),
        ({"imbalance": 0.5}, "imbalance=0.5 is out of range: give a number from 1 to 1000000"),
        ({"batch_size": 1.5}, "batch_size=1.5: give a whole number"),
        ({"val_size": True}, "val_size=True: give a whole number"),
        ({"crop_padding": "4"}, "crop_padding=4: give a whole number"),
        ({"source": "synthetc"}, "source=synthetc is unknown. Did you mean 'synthetic'?"),
        ({"task": "binray"}, "task=binray is unknown. Did you mean 'binary'? There are: multiclass, binary"),
        ({"crop_border": "refelct"}, "crop_border=refelct is unknown. Did you mean 'reflect'?"),
        (
            {"horizontal_flip": "alternate"},
            "horizontal_flip=alternate is unknown. Did you mean 'alternating'? There are: False, ",
        ),
        ({"device": "gpu"}, "device=gpu is unknown."),
    ],
)
def test_out_of_range(options, culprit):
    with pytest.raises(InputError, match=re.escape(f"--data.{culprit}")):
        module(**options)


@pytest.mark.parametrize("option", ["policy=autoaugment", "color_jitter=0.4"])
def test_what_needs_colors(option):
    name, value = option.split("=")
    infrared = replace(GRAY, title="Infrared", channels=4)
    with pytest.raises(InputError, match=f"--data.{option} is for gray and color images, and Infrared has .* 4 "):
        ImageDataModule(infrared, **{name: 0.4 if name == "color_jitter" else value})


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"val_size": 50_000, "train_size": None}, "val_size=50000"),
        ({"val_size": 49_000, "train_size": 1_001}, "train_size=1001"),
        ({"test_size": 10_001}, "test_size=10001"),
    ],
)
def test_more_than_there_is(official_layout, options, culprit):
    with pytest.raises(InputError, match=culprit):
        open_module(official_layout, **options)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a",), "Gray has one class, 'a'"),
        (("a", "b", "a"), "Gray has two classes with the name 'a'"),
        (("a", "\x1b[31m"), r"Gray has a class with the name '\x1b[31m'"),
        (("a", ""), "Gray has a class with the name ''"),
        (("a", "b" * 101), "1 to 100 printable characters"),
    ],
)
def test_names_of_classes_that_a_checkpoint_could_not_keep(names, told):
    with pytest.raises(InputError, match=re.escape(told)):
        ImageDataModule(replace(GRAY, title="Gray", class_names=names))


@pytest.mark.real_data
def test_real_data(real_data):
    data = open_module(real_data, val_size=5_000, train_size=None, test_size=None)
    assert torch.bincount(data.val.labels).tolist() == [500] * 10
    pixels = data.train.images.float() / 255
    # The constants of the zoo's normalization, on a JPEG copy too.
    assert pixels.mean((0, 1, 2)).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
    assert pixels.std((0, 1, 2)).tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=3e-3)
