"""The benchmark beside the records' scripts, with a stand-in for them: that it compares what it says."""

import copy
import hashlib
import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import cli
from datamodules.errors import InputError
from tests.benchmarks import record
from tests.benchmarks.command import main as benchmark
from tests.benchmarks.record import OURS, THEIRS
from zoo.models.speedrun_net import SpeedrunNet
from zoo.runs import configs

# In the words that the scripts have for what they ask of a GPU, of their own loader, and of their own network.
SCRIPT = """\
import sys
with open(sys.argv[0]) as f:
    code = f.read()
import torch
import torch.nn.functional as F
from tests.benchmarks.test_record import FACTOR, Net, seen
from zoo.core.torch_optimizers import MuonSGD

torch.backends.cudnn.benchmark = True

class CifarLoader:
    def __init__(self):
        raise AssertionError("it reads files, and asks for a GPU")

def main(run, model):
    loader = CifarLoader("cifar10", train=True, batch_size=2000)
    starter = torch.cuda.Event(enable_timing=True)
    starter.record()
    torch.cuda.synchronize()
    assert starter.elapsed_time(starter) == 0
    loader.normalize(loader.images[:5000])
    optimizer = MuonSGD(model.groups(), whitening_share=1.0)
    rates = [FACTOR * group["lr"] for group in optimizer.param_groups]
    step = 0
    for inputs, labels in loader:
        seen.append((inputs, labels))
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * (1 - step / (8 * len(loader)))
        F.cross_entropy(model(inputs), labels, label_smoothing=0.2, reduction="sum").backward()
        optimizer.step()
        model.zero_grad()
        step += 1

class CifarNet(Net):
    def __init__(self):
        super().__init__()
        self.half()
        self.cuda()
"""
FACTOR = 1.0
seen: list[tuple[torch.Tensor, torch.Tensor]] = []


class Net(nn.Module):
    """The network with other weights, in a module of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.body = SpeedrunNet(widths=[8, 8, 8])

    def groups(self):
        return self.body.parameter_groups()

    def forward(self, inputs):
        return self.body.net(inputs)


@pytest.fixture
def script(monkeypatch, tmp_path) -> Path:
    """A script that is known, for a recipe that is small."""
    path = tmp_path / "airbench.py"
    path.write_text(SCRIPT)
    monkeypatch.setattr(record, "RECIPES", {hashlib.sha256(SCRIPT.encode()).hexdigest(): "speedrun94"})
    whole = configs.read(configs.find("speedrun94"))
    small = copy.deepcopy(whole)
    small["model"]["init_args"]["widths"] = [8, 8, 8]
    small["optimizer"]["init_args"]["whitening_share"] = 1.0
    small["data"]["batch_size"] = 8
    monkeypatch.setattr(configs, "read", lambda path: small)
    seen.clear()
    return path


def apart(stopwatch) -> float:
    (note,) = stopwatch.notes
    return float(note.rpartition(" ")[2])


def test_both_learn_the_same_from_the_same_batches(script):
    stopwatch = record.measure(rounds=3, images=100, script=script)
    assert apart(stopwatch) < 1e-5
    assert stopwatch.notes[0].startswith("losses of 12 steps: ")
    assert {name: len(turns) for name, turns in stopwatch.seconds.items()} == {OURS: 3, THEIRS: 3}
    assert len(seen) == 12
    assert not torch.equal(seen[0][0], seen[4][0]), "another epoch has other crops"
    assert all(inputs.is_contiguous(memory_format=torch.channels_last) for inputs, _ in seen)


def test_another_rate_shows(script, monkeypatch):
    monkeypatch.setattr("tests.benchmarks.test_record.FACTOR", 1.1)
    assert apart(record.measure(rounds=1, images=100, script=script)) > 1e-4


def test_each_has_its_own_seconds(script, monkeypatch):
    """Of a clock that counts its readings; a second for 24 images."""
    monkeypatch.setattr("tests.benchmarks.record.time.perf_counter", itertools.count().__next__)
    assert record.measure(2, 240, script).seconds == {THEIRS: [10, 10], OURS: [10, 10]}


def test_pytorch_is_left_as_it_was(script):
    before = torch.backends.cudnn.benchmark
    record.measure(1, 100, script)
    assert torch.backends.cudnn.benchmark == before


def test_the_command_shows_seconds_and_losses(script, capsys):
    assert cli.reporting_errors(benchmark, ["record", "--rounds=2", f"--script={script}", "--json=speed.json"]) == 0
    *_, ratio, note = capsys.readouterr().out.splitlines()
    assert ratio.endswith(f"{OURS} / {THEIRS}")
    content = json.loads(Path("speed.json").read_text())
    assert content["notes"] == [note]
    assert note.startswith("losses of 9 steps: ")
    assert len(content["seconds"][OURS]) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["record"], "benchmarks record needs --script FILE"),
        (["record", "--script=nowhere.py"], "--script nowhere.py cannot be read"),
        (["step", "--script=x.py"], "benchmarks step: --script x.py belongs to benchmarks record"),
    ],
)
def test_bad_input_is_one_line(arguments, line, capsys):
    assert cli.reporting_errors(benchmark, [*arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1


def test_no_other_file_is_run(tmp_path):
    other = tmp_path / "other.py"
    other.write_text("raise AssertionError('it ran')")
    with pytest.raises(InputError, match=r"--script .*other\.py is another file than airbench94_muon\.py, .* f1c599c"):
        record.measure(1, 100, other)
    with pytest.raises(InputError, match=r"--script nowhere\.py cannot be read: No such file"):
        record.measure(1, 100, Path("nowhere.py"))


@pytest.mark.parametrize("recipe", record.RECIPES.values())
def test_the_rates_turn_at_a_whole_step(recipe):
    """Where a script rounds, as to warm up for 0.23 of its steps, nothing is to be rounded."""
    found = configs.read(configs.find(recipe))
    steps = found["trainer"]["max_epochs"] * record.EPOCH
    for share in (found["lr_schedule"]["init_args"]["warmup"], found["optimizer"]["init_args"]["whitening_share"]):
        assert share * steps == pytest.approx(round(share * steps), abs=1e-9)
