"""The benchmark of the data path: that it measures what it says. No time is asserted."""

import itertools
import json
import multiprocessing.util
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import cli
from datamodules.augmentation import Augmentation
from datamodules.errors import InputError
from datamodules.loading import ImageDataset
from tests.benchmarks import data_path
from tests.benchmarks.command import main as benchmark
from zoo.models.cnn import CNN


def numbered(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of one gray each, their number; labels."""
    pixels = np.broadcast_to(np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None], (n, 32, 32, 3)).copy()
    return pixels, np.arange(n)


@pytest.fixture
def few(monkeypatch):
    """Torchvision's turns are short."""
    monkeypatch.setattr(data_path, "TORCHVISION_IMAGES", 24)


def test_the_command_shows_every_comparison(few, capsys):
    assert cli.reporting_errors(benchmark, ["data", "--rounds=2", "--images=512", "--json=speed.json"]) == 0
    printed, content = capsys.readouterr().out, json.loads(Path("speed.json").read_text())
    for name, other in data_path.COMPARISONS:
        assert f"{name} / {other}" in printed
        assert len(content["seconds"][name]) == len(content["seconds"][other]) == 2
    assert "not measured" not in printed
    assert content["benchmark"] == "data"
    assert content["versions"]["torch"] in content["machine"]


def watch(monkeypatch, benchmark, *spies) -> None:
    """Replace what a benchmark makes for its turns, on the CPU alone, and the clock by one that counts its readings."""
    for spy in spies:
        monkeypatch.setattr(benchmark, spy.__name__, spy)
    monkeypatch.setattr(benchmark, "DEVICES", ("cpu",))
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)


def test_what_takes_turns_is_what_its_name_says(monkeypatch):
    """And seconds are for all images: every turn takes a second of a clock that counts its readings."""
    made = {}

    def torchvision_loader(pixels, labels, batch_size, workers, mix=None):
        kind = {"": "", "MixUp": " with mixup", "CutMix": " with CutMix"}[type(mix).__name__ if mix else ""]
        made[f"torchvision{kind}, batch {batch_size}, {workers} workers"] = len(pixels)
        return nullcontext(lambda: 256)

    def loader_of_fit(dataset, batch_size):
        augmentation = dataset.augmentation
        kind = " with mixup" * bool(augmentation.mixup) + " with CutMix" * bool(augmentation.cutmix)
        made[f"loader of fit{kind}, batch {batch_size}, {dataset.device}"] = (len(dataset), augmentation)
        return lambda: 512

    def steps(model, images, labels, count):
        made[f"step of {type(model).__name__}, batch {len(labels)}, {images.device}"] = (tuple(images.shape), count)
        return lambda: 64

    watch(monkeypatch, data_path, torchvision_loader, loader_of_fit, steps)
    seconds = data_path.measure(rounds=3, images=512).seconds
    whole = (512, Augmentation(crop_padding=4, horizontal_flip=True))
    assert made == {
        **{f"torchvision, batch {size}, {workers} workers": 512 for size in (128, 512) for workers in (0, 1, 2)},
        **{f"torchvision with {kind}, batch 128, 2 workers": 512 for kind in ("mixup", "CutMix")},
        **{f"loader of fit, batch {size}, cpu": whole for size in (64, 128, 512)},
        **{f"loader of fit with mixup, batch {n}, cpu": (512, whole[1]._replace(mixup=0.2)) for n in (64, 128)},
        **{f"loader of fit with CutMix, batch {n}, cpu": (512, whole[1]._replace(cutmix=1.0)) for n in (64, 128)},
        "step of ImprovedCNN, batch 64, cpu": ((64, 3, 32, 32), 2),
        "step of CNN, batch 128, cpu": ((128, 3, 32, 32), 2),
    }
    of_kind = {"torchvision": [2, 2, 2], "loader": [1, 1, 1], "step": [8, 8, 8]}
    assert seconds == {name: of_kind[name.split(",")[0].split(" ")[0]] for name in made}


@pytest.mark.parametrize("workers", [0, 1])
def test_torchvision_does_the_same_work(monkeypatch, few, workers):
    """Whole batches of bytes, random crops with a black border, half of them mirrored, of a turn's images."""
    pixels, labels = numbered(40)
    pixels[:, :, :16] //= 2  # the left half is the darker one
    seen = []
    collate = torch.utils.data._utils.collate.default_collate
    monkeypatch.setattr(
        torch.utils.data._utils.collate, "default_collate", lambda samples: seen.append(collate(samples)) or seen[-1]
    )
    with data_path.torchvision_loader(pixels, labels, 8, workers) as contestant:
        assert contestant() == contestant() == 24
    if workers:
        return  # which collate in a process of their own
    assert len(seen) == 6
    images, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert images.dtype == torch.uint8
    assert images.shape == (48, 3, 32, 32)
    assert torch.equal(images.amax((1, 2, 3)).long(), targets + 1)
    border = (images == 0).flatten(1).any(1)
    assert border.float().mean() > 0.7, "80 of 81 crops take some of the border along"
    middle = images[:, 0, 16].long()  # of rows that no border reaches
    mirrored = middle[:, 8] > middle[:, 23]
    assert 0.2 < mirrored.float().mean() < 0.8


def test_no_turn_shuffles_all_images(monkeypatch, few):
    pixels, labels = numbered(40)
    with data_path.torchvision_loader(pixels, labels, 8, 0) as contestant:
        monkeypatch.setattr(torch, "randperm", lambda *args, **options: pytest.fail("it shuffles"))
        assert contestant() == 24


@pytest.fixture
def loaders(monkeypatch):
    """The loaders that are made; a batch's labels tell which process fetched it."""
    made = []

    class Spy(DataLoader):
        def __init__(self, dataset, **options):
            super().__init__(dataset, **options)
            dataset.target_transform = lambda label: os.getpid()
            made.append(self)

    monkeypatch.setattr(data_path, "DataLoader", Spy)
    return made


def workers_of(loader: DataLoader) -> set[int]:
    return {number for _, labels in loader for number in labels.tolist()}


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_live_from_the_first_turn_to_the_end(few, loaders, workers):
    with data_path.torchvision_loader(*numbered(40), 8, workers):
        (loader,) = loaders
        first, second = workers_of(loader), workers_of(loader)
    if workers == 0:
        assert first == second == {os.getpid()}
        return
    assert first == second
    assert len(first - {os.getpid()}) == 2
    assert not any(is_alive(worker) for worker in first)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(number, few, loaders, tmp_path, monkeypatch, capfd):
    """No process, no traceback, where a signal reaches the workers too; and no folder but this process's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
    running: set[int] = set()

    def interrupted() -> None:
        with data_path.torchvision_loader(*numbered(40), 8, 2):
            running.update(workers_of(loaders[0]))
            for worker in running:
                os.kill(worker, number)
            assert workers_of(loaders[0]) == running, "they go on"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any(is_alive(worker) for worker in running)
    assert [str(path) for path in tmp_path.iterdir()] == [multiprocessing.util.get_temp_dir()]
    assert capfd.readouterr().err == ""


def test_a_turn_of_fit_is_an_epoch(monkeypatch):
    pixels, labels = numbered(40)
    dataset = ImageDataset(torch.from_numpy(pixels), torch.from_numpy(labels), torch.arange(40), Augmentation(cutout=2))
    epochs, fetch = {}, ImageDataset.fetch
    monkeypatch.setattr(
        ImageDataset,
        "fetch",
        lambda self, chosen: epochs.setdefault(self.epoch, chosen.tolist()) and fetch(self, chosen),
    )
    contestant = data_path.loader_of_fit(dataset, 8)
    assert contestant() == contestant() == 40
    first, second = epochs.values()
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_a_step_learns():
    pixels, labels = numbered(9)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    model = CNN()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    assert data_path.steps(model, images[:4], torch.from_numpy(labels)[:4], 3)() == 12
    assert not any(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


def test_misspelled_benchmark():
    with pytest.raises(InputError, match=r"there is no 'dta'.* Did you mean 'data'"):
        cli_benchmark("dta")
    with pytest.raises(InputError, match=r"unknown option '--round'.* Did you mean '--rounds'"):
        cli_benchmark("data", "--round=3")


def cli_benchmark(*arguments: str) -> int:
    from tests.benchmarks import command

    return command.main(list(arguments))
