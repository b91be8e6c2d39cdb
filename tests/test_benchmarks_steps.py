"""The benchmarks of training steps, and of what `fit` costs: that they measure what they say. No time is asserted."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import cli
from zoo.benchmarks import steps, tax
from zoo.benchmarks.timing import Stopwatch
from zoo.cnn import CNN

FEW = steps.Subject(CNN, 4, 2)


@pytest.fixture
def few(monkeypatch):
    """One small model, and what needs no compiler."""
    monkeypatch.setattr(steps, "SUBJECTS", (FEW,))
    monkeypatch.setattr(steps, "PRODUCT_SIZE", 64)
    monkeypatch.setattr(steps, "_can_compile", lambda: False)
    monkeypatch.setattr(steps, "VARIANTS", {name: it for name, it in steps.VARIANTS.items() if it.compile_mode is None})


def test_the_command_shows_steps_and_their_peak(few, capsys):
    assert cli.main(["benchmark", "step", "--rounds=2", "--images=16", "--json=speed.json"]) == 0
    printed, content = capsys.readouterr().out, json.loads(Path("speed.json").read_text())
    assert "GFLOP/s" in printed
    for name, other in steps.COMPARISONS:
        if name.startswith("CNN") and name != "CNN, compiled":
            assert f"{name} / {other}" in printed
            assert len(content["seconds"][name]) == 2
    assert content["operations"]["CNN"] == content["operations"]["CNN, contiguous memory"]


def test_operations_are_those_of_the_layers():
    """Counted by hand: twice the multiplications, forward and for both gradients; none for the pixels'."""
    first, second = 32 * 32 * 32 * 27, 16 * 16 * 64 * 32 * 9
    dense = 4096 * 128 + 128 * 10
    images, labels = steps._noise(4)
    assert steps.operations_of_step(CNN(), images, labels) == 2 * (2 * first + 3 * (second + dense))


def test_the_layers_alone_do_the_operations_of_a_step():
    """Counted by PyTorch: the same ones, with nothing left out."""
    images, labels = steps._noise(4)
    alone = steps.operations_alone(CNN(), images, labels, 1)
    with steps.FlopCounterMode(display=False) as counter:
        assert alone() == 4
    assert counter.get_total_flops() == 4 * steps.operations_of_step(CNN(), images, labels)


def test_large_products_have_as_many_operations():
    product = steps.large_products(1e6)
    with steps.FlopCounterMode(display=False) as counter:
        done = product()
    assert counter.get_total_flops() == done * 1e6


@pytest.mark.parametrize("name", [name for name, it in steps.VARIANTS.items() if it.compile_mode is None])
def test_variants_take_the_steps_of_fit(name):
    """All learn the same as a step without them, as far as their precision goes."""
    images, labels = steps._noise(8)
    torch.manual_seed(0)
    model, other = CNN(), CNN()
    other.load_state_dict(model.state_dict())
    assert steps.steps(model, images, labels, 2)() == 16
    run, seen = steps.steps(other, images, labels, 2, steps.VARIANTS[name]), []
    other.net[0].register_forward_hook(lambda layer, inputs, output: seen.append((*inputs, output)))
    assert run() == 16
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        # AdamW's first steps are as long as the learning rate, 0.001, whatever the gradient.
        torch.testing.assert_close(one, two, atol=4.1e-3 if name == "bfloat16" else 1e-4, rtol=0)
    for tensor in (other.net[0].weight, *seen[0]):
        assert tensor.is_contiguous() == (name == "contiguous memory")


def test_seconds_of_steps_are_for_all_images(few, monkeypatch):
    """Every turn takes a second of a clock that counts its readings."""
    monkeypatch.setattr(steps, "steps", lambda *args: lambda: 8)
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)
    stopwatch = steps.measure(rounds=3, images=40)
    assert stopwatch.seconds["CNN"] == stopwatch.seconds["CNN, bfloat16"] == [5, 5, 5]


# What fit costs.


def test_the_command_shows_what_fit_costs(monkeypatch, capsys):
    monkeypatch.setattr(tax, "SUBJECTS", (tax.Subject(CNN, "cnn", 8, 2),))
    monkeypatch.setattr(tax, "VAL_SIZE", 20)
    assert cli.main(["benchmark", "fit", "--rounds=2", "--images=32", "--json=speed.json"]) == 0
    seconds = json.loads(Path("speed.json").read_text())["seconds"]
    printed = capsys.readouterr().out
    for name, other in tax.COMPARISONS[:2]:
        assert f"{name} / {other}" in printed
        assert len(seconds[name]) == len(seconds[other]) == 2
    for way in (tax.FIT, tax.BARE):
        steps_alone, _, epoch = tax._names(CNN, way)
        assert all(whole > part for whole, part in zip(seconds[epoch], seconds[steps_alone], strict=True))


def test_the_bare_loop_learns_and_validates(monkeypatch):
    """As many images as a turn of fit has, in both."""
    seen = []

    class Spy(CNN):
        def forward(self, images):
            seen.append((self.training, torch.is_grad_enabled(), len(images)))
            return super().forward(images)

    monkeypatch.setattr(tax, "VAL_SIZE", 20)
    stopwatch = Stopwatch()
    bare = tax.bare_loop(tax.Subject(Spy, "cnn", 8, 2), 16, stopwatch)
    bare()
    assert seen == [(True, True, 8), (True, True, 8), (False, False, 20)]
    assert [len(turns) for turns in stopwatch.seconds.values()] == [1, 1]


def test_turns_of_fit_are_told_apart():
    """What comes before the validation belongs to the steps, what comes after it to the end of the epoch."""
    clock = itertools.count(0, 10).__next__
    stopwatch, turns = Stopwatch(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.perf_counter", clock)
        from zoo.benchmarks.through_fit import TakeTurns

        TakeTurns.stopwatch, TakeTurns.names = stopwatch, ("steps", "end")
        TakeTurns.others = staticmethod(lambda: turns.append(clock()))
        callback, nothing = TakeTurns(), nn.Identity()
        for _ in range(2):
            callback.on_train_epoch_start(nothing, nothing)
            callback.on_validation_start(nothing, nothing)
        callback.on_train_end(nothing, nothing)
    assert len(turns) == 2
    assert stopwatch.seconds == {"steps": [10, 10], "end": [10, 10]}
