"""The benchmarks of training steps, and of what `fit` costs: that they measure what they say. No time is asserted."""

import itertools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import cli
from datamodules.errors import RunError
from tests.benchmarks import steps, tax, through_fit
from tests.benchmarks.command import main as benchmark
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.cnn import CNN

CONFIG = "data: {batch_size: 4, crop_padding: 2, horizontal_flip: true}"


def few_of(model: type[TorchClassifier], config: str = CONFIG) -> steps.Subject:
    """Two steps of small batches."""
    Path("few.yaml").write_text(f"model: CNN\n{config}\n")
    return steps.Subject(model, "few.yaml", 2)


@pytest.fixture
def few(monkeypatch):
    """One small model, small yardsticks, and no compiler."""
    monkeypatch.setattr(steps, "SUBJECTS", (few_of(CNN),))
    monkeypatch.setattr(steps, "COMPARISONS", [pair for pair in steps.COMPARISONS if pair[0].startswith("CNN")])
    monkeypatch.setattr(steps, "PRODUCT_SIZE", 64)
    monkeypatch.setattr(steps, "CONVOLUTION_CHANNELS", 8)
    monkeypatch.setattr(steps, "can_compile", lambda: False)


def test_the_command_shows_steps_and_yardsticks(few, capsys):
    assert cli.reporting_errors(benchmark, ["step", "--rounds=2", "--images=512", "--json=speed.json"]) == 0
    printed, content = capsys.readouterr().out, json.loads(Path("speed.json").read_text())
    assert "GFLOP/s" in printed
    for name, other in steps.COMPARISONS:
        assert f"{name} / {other}" in printed
        if name != "CNN, compiled":
            assert len(content["seconds"][name]) == len(content["seconds"][other]) == 2
    assert "not measured  CNN, compiled / CNN: torch.compile does not work here" in printed
    assert content["operations"]["CNN"] == content["operations"]["CNN, contiguous memory"]


def test_subjects_are_those_of_their_configs():
    sizes = {subject.model.__name__: (subject.batch_size, subject.data["crop_padding"]) for subject in steps.SUBJECTS}
    assert sizes == {"CNN": (128, 4), "ImprovedCNN": (64, 2)}


def test_operations_are_those_of_the_layers():
    """Counted by hand: twice the multiplications, forward and for both gradients; none for the pixels'."""
    first, second = 32 * 32 * 32 * 27, 16 * 16 * 64 * 32 * 9
    dense = 4096 * 128 + 128 * 10
    images, labels = steps.noise(4)
    assert steps.operations_of_step(CNN(), images, labels) == 2 * (2 * first + 3 * (second + dense))


def test_the_layers_alone_do_the_operations_of_a_step():
    """Counted by PyTorch: the same ones, with nothing left out, in the memory order of a step."""
    images, labels = steps.noise(4)
    model, formats = CNN(), []
    alone = steps.operations_alone(model, images, labels, 1)
    for layer in (model.net[0], model.net[3]):
        layer.register_forward_hook(lambda layer, inputs, output: formats.extend([layer.weight, *inputs, output]))
    with steps.FlopCounterMode(display=False) as counter:
        assert alone() == 4
    assert counter.get_total_flops() == 4 * steps.operations_of_step(CNN(), images, labels)
    assert len(formats) == 6
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in formats)


@pytest.mark.parametrize(
    ("yardstick", "operations"),
    [(steps.large_products, 2 * 64**3), (steps.large_convolution, 2 * 64 * 16 * 16 * 8 * 8 * 9)],
)
def test_yardsticks_have_as_many_operations(few, yardstick, operations):
    """Counted by hand: twice the multiplications."""
    contestant = yardstick(1000)
    with steps.FlopCounterMode(display=False) as counter:
        assert contestant() == steps.AT_ONCE * operations / 1000
    assert counter.get_total_flops() == steps.AT_ONCE * operations


@pytest.fixture
def optimizers():
    """Every optimizer before its steps."""
    seen: list[torch.optim.Optimizer] = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *args: seen.append(optimizer))
    yield seen
    handle.remove()


def test_a_step_starts_from_no_gradient(monkeypatch):
    """The second step of two does not add to the gradient of the first."""
    images, labels = steps.noise(8)
    model = CNN()
    gradients, backward = [], torch.Tensor.backward
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda loss: gradients.append(model.net[9].bias.grad) or backward(loss)
    )
    assert steps.steps(model, images, labels, 3)() == 24
    assert gradients == [None, None, None]


ALL = steps.VARIANTS | {"float16": steps.Variant(dtype=torch.float16)}


@pytest.mark.parametrize("name", [name for name, it in ALL.items() if it.compile_mode is None])
def test_variants_take_the_steps_of_fit(name, optimizers):
    """All learn the same as a step without them, as far as their precision goes."""
    images, labels = steps.noise(8)
    torch.manual_seed(0)
    model, other = CNN(), CNN()
    other.load_state_dict(model.state_dict())
    before = model.net[0].weight.detach().clone()
    assert steps.steps(model, images, labels, 2)() == 16
    assert not torch.equal(model.net[0].weight, before)
    run, seen = steps.steps(other, images, labels, 2, ALL[name]), []
    other.net[0].register_forward_hook(lambda layer, inputs, output: seen.append((*inputs, output)))
    assert run() == 16
    half = name in ("bfloat16", "float16")
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        # AdamW's first steps are as long as the learning rate, 0.001, whatever the gradient.
        torch.testing.assert_close(one, two, atol=4.1e-3 if half else 1e-4, rtol=0)
    for tensor in (other.net[0].weight, *seen[0]):
        assert tensor.is_contiguous() == (name == "contiguous memory")
    assert seen[0][1].dtype == (getattr(torch, name) if half else torch.float32)
    assert [bool(it.defaults["fused"]) for it in optimizers] == [False, False] + [name == "fused AdamW"] * 2


def test_the_loss_is_scaled_for_float16(monkeypatch):
    """Whose small gradients would be 0."""
    images, labels = steps.noise(8)
    losses, backward = [], torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: losses.append(float(loss.detach())) or backward(loss))
    steps.steps(CNN(), images, labels, 1)()
    steps.steps(CNN(), images, labels, 1, ALL["float16"])()
    assert losses[0] < 5
    assert losses[1] > 1000


def test_seconds_of_steps_are_for_all_images(few, monkeypatch):
    """Every turn takes a second of a clock that counts its readings."""
    monkeypatch.setattr(steps, "steps", lambda *args: lambda: 8)
    monkeypatch.setattr("time.perf_counter", itertools.count().__next__)
    stopwatch = steps.measure(rounds=3, images=40)
    assert stopwatch.seconds["CNN"] == stopwatch.seconds["CNN, bfloat16"] == [5, 5, 5]


# What fit costs.


@pytest.fixture
def few_of_fit(monkeypatch):
    monkeypatch.setattr(tax, "SUBJECTS", (few_of(CNN),))
    monkeypatch.setattr(tax, "COMPARISONS", [pair for pair in tax.COMPARISONS if pair[0].startswith("CNN")])
    monkeypatch.setattr(tax, "VAL_SIZE", 20)


def test_both_ways_learn_from_the_same_batches(few_of_fit, monkeypatch, capsys):
    """In every epoch others; and validate on the same images. `fit` takes its turns with everything on."""
    seen, forward = [], CNN.forward
    files: list[str] = []

    def spy(self, images):
        weight = self.net[0].weight.detach().sum().item()
        seen.append((id(self), self.training, images.long().sum((1, 2, 3)).tolist(), weight))
        return forward(self, images)

    monkeypatch.setattr(CNN, "forward", spy)
    clean_up = tempfile.TemporaryDirectory.cleanup
    monkeypatch.setattr(
        tempfile.TemporaryDirectory,
        "cleanup",
        lambda self: files.extend(path.name for path in Path(self.name).rglob("*")) or clean_up(self),
    )
    assert cli.reporting_errors(benchmark, ["fit", "--rounds=2", "--images=512", "--json=speed.json"]) == 0

    learnt: dict[int, list] = {}
    for model, training, images, weight in seen:
        if training:
            learnt.setdefault(model, []).append((images, weight))
    learnt = {model: steps for model, steps in learnt.items() if len(steps) > 1}  # `fit` tries one step on a twin
    bare, fit = learnt.values()
    assert [images for images, _ in bare] == [images for images, _ in fit]
    assert [len(images) for images, _ in bare] == [4] * 6, "three epochs, the first of which does not count"
    epochs = [sorted(bare[k][0] + bare[k + 1][0]) for k in (0, 2, 4)]
    assert epochs[0] != epochs[1] != epochs[2], "other crops"
    for of_way in (bare, fit):
        assert len({weight for _, weight in of_way}) == 6, "each step changes the weights"
    validated = [len(images) for model, training, images, _ in seen if model == next(iter(learnt)) and not training]
    assert validated == [20] * 3
    assert {"best.ckpt", "last.ckpt", "metrics.csv"} <= set(files)

    seconds, printed = json.loads(Path("speed.json").read_text())["seconds"], capsys.readouterr().out
    assert {name: len(of_name) for name, of_name in seconds.items()} == dict.fromkeys(seconds, 2)
    for name, other in tax.COMPARISONS:
        assert f"{name} / {other}" in printed


class Fit(NamedTuple):
    """What stands for `fit`: its arguments, and a clock."""

    arguments: list[str]
    waits: list[int]


@pytest.fixture
def simulated(few_of_fit, monkeypatch) -> Fit:
    """A callback that is called as in three epochs, with a clock whose every reading is later by one more than before.

    The bare loop reads it at 0, 1, 3, so that it has 1 for its steps and 2 for its end; and `fit` at 6, 10, 15.
    """
    fit, readings = Fit([], []), itertools.accumulate(itertools.count())

    def read() -> int:
        fit.waits.append(-1)
        return next(readings)

    def main(command_line):
        fit.arguments.extend(command_line.argv)
        callback, trainer = through_fit.TakeTurns(), nn.Identity()
        trainer.strategy = SimpleNamespace(root_device=torch.device("cpu"))
        for _ in range(3):
            callback.on_train_epoch_start(trainer, trainer)
            callback.on_validation_start(trainer, trainer)
        callback.on_train_end(trainer, trainer)

    monkeypatch.setattr("zoo.training.main.run_command", main)
    monkeypatch.setattr("time.perf_counter", read)
    monkeypatch.setattr(through_fit, "synchronize", lambda device: fit.waits.append(device.type))
    return fit


def test_seconds_of_an_epoch_are_put_together(simulated):
    """Each round has six readings: of the n-th, the intervals are 6n + 1, ... 6n + 6. 8 of 40 images are a turn."""
    stopwatch = tax.measure(rounds=2, images=40)
    assert stopwatch.seconds == {
        "CNN in a bare loop, steps": [7 * 5, 13 * 5],
        "CNN in a bare loop, end of an epoch": [8, 14],
        "CNN through fit, steps": [10 * 5, 16 * 5],
        "CNN through fit, end of an epoch": [11, 17],
        "CNN through fit, epoch": [10 * 5 + 14, 16 * 5 + 14],
        "CNN in a bare loop, epoch": [7 * 5 + 11, 13 * 5 + 11],
    }
    assert stopwatch.fixed == {"CNN in a bare loop, end of an epoch", "CNN through fit, end of an epoch"}


def test_the_clock_of_fit_is_read_once_the_device_is_done(simulated):
    tax.measure(rounds=2, images=40)
    bare, fit = [-1] * 3, [-1, "cpu", -1, "cpu", -1]
    assert simulated.waits == (bare + fit) * 3


def test_what_fit_is_asked_for(simulated):
    tax.measure(rounds=2, images=40)
    command, folder, *options = simulated.arguments
    assert (command, folder.partition("=")[0]) == ("fit", "--runs_dir")
    assert sorted(options) == [
        "--config=few.yaml",
        "--data.source=synthetic",
        "--data.test_size=10",
        "--data.train_size=8",
        "--data.val_size=20",
        f"--trainer.accelerator={'gpu' if torch.cuda.is_available() else 'cpu'}",
        '--trainer.callbacks=[{"class_path": "tests.benchmarks.through_fit.TakeTurns"}]',
        "--trainer.devices=1",
        "--trainer.enable_model_summary=False",
        "--trainer.max_epochs=3",
    ]


def test_nothing_is_left_of_a_fit(simulated):
    tax.measure(rounds=2, images=40)
    assert not hasattr(through_fit.TakeTurns, "others")
    assert not hasattr(through_fit.TakeTurns, "add")


@pytest.mark.parametrize(
    ("code", "message"), [(130, r"^interrupted$"), (143, r"^interrupted$"), (1, r"^no space: make room$")]
)
def test_an_interrupted_fit_tells_of_no_folder_that_is_gone(monkeypatch, code, message):
    def main(command_line):
        text = "stopped by SIGINT: go on with: fit --resume runs/gone" if code > 1 else "no space: make room"
        raise RunError(text, code)

    monkeypatch.setattr("zoo.training.main.run_command", main)
    with pytest.raises(RunError, match=message) as ended:
        through_fit.fit({}, lambda: None, lambda *seconds: None)
    assert ended.value.exit_code == code
    assert not hasattr(through_fit.TakeTurns, "others")
