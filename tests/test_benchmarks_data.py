"""The benchmark of the data path: that it measures what it says. No time is asserted."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import cli
from datamodules.augmentation import Augmentation
from datamodules.cifar10 import ImageDataset
from datamodules.errors import InputError
from zoo.benchmarks import data_path
from zoo.cnn import CNN


def numbered(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of one grey each, their number; labels."""
    pixels = np.broadcast_to(np.arange(1, n + 1, dtype=np.uint8)[:, None, None, None], (n, 32, 32, 3)).copy()
    return pixels, np.arange(n)


def test_the_command_shows_every_comparison(capsys):
    assert cli.main(["benchmark", "data", "--rounds=2", "--images=16", "--json=speed.json"]) == 0
    printed, content = capsys.readouterr().out, json.loads(Path("speed.json").read_text())
    for name, other in data_path.COMPARISONS:
        assert f"{name} / {other}" in printed
        assert len(content["seconds"][name]) == len(content["seconds"][other]) == 2
    assert "not measured" not in printed
    assert content["benchmark"] == "data"
    assert content["versions"]["torch"] in content["machine"]


def test_seconds_are_for_all_images(monkeypatch):
    """Every turn takes a second of a clock that counts its readings, whatever part of the images it deals with."""
    dealt_with = {"torchvision_loader": 20, "loader_of_fit": 40, "steps": 5}
    for name, done in dealt_with.items():
        monkeypatch.setattr(data_path, name, lambda *args, done=done: lambda: done)
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)
    seconds = data_path.measure(rounds=3, images=40).seconds
    assert {len(turns) for turns in seconds.values()} == {3}
    assert {tuple(turns) for name, turns in seconds.items() if name.startswith("torchvision")} == {(2, 2, 2)}
    assert {tuple(turns) for name, turns in seconds.items() if name.startswith("loader")} == {(1, 1, 1)}
    assert {tuple(turns) for name, turns in seconds.items() if name.startswith("step")} == {(8, 8, 8)}


@pytest.mark.parametrize("workers", [0, 1])
def test_torchvision_does_the_same_work(monkeypatch, workers):
    """Whole batches of bytes, random crops with a black border, of as many images as a turn has."""
    monkeypatch.setattr(data_path, "TORCHVISION_IMAGES", 24)
    pixels, labels = numbered(40)
    seen = []
    collate = torch.utils.data._utils.collate.default_collate
    monkeypatch.setattr(
        torch.utils.data._utils.collate, "default_collate", lambda samples: seen.append(collate(samples)) or seen[-1]
    )
    contestant = data_path.torchvision_loader(pixels, labels, 8, workers)
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
    from zoo.commands import benchmark

    return benchmark.main(list(arguments))
