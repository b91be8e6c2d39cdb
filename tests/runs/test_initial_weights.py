"""`--init_from`: what fits is copied, against copies by hand; the rest is named."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import cli
from tests.helpers import Malicious, contents, refusal, run_of, weights, write_pickle
from zoo.models.cnn import CNN
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.speedrun_net import SpeedrunNet
from zoo.runs import finished_runs, initial_weights
from zoo.runs.initial_weights import Weights

DATA = ["--data.source=synthetic", "--data.train_size=32", "--data.val_size=16", "--data.test_size=16"]
DATA += ["--data.batch_size=16", "--trainer.enable_model_summary=false"]
FIT = ["fit", "--model=CNN", *DATA, "--trainer.max_epochs=1"]
# A training that leaves the weights as they are.
STILL = [*FIT, "--optimizer=SGD", "--optimizer.lr=0", "--seed_everything=7"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The run of a CNN. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("source"))
        return run_of(*FIT)


@pytest.fixture
def trained(source) -> dict[str, torch.Tensor]:
    """Its weights."""
    return weights(source)


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert torch.equal(found[name], expected[name]), name


# Each kind of file.


def test_run_and_checkpoint(source, trained, capsys):
    for name in (source, source / "checkpoints/last.ckpt", source.parent):
        run = run_of(*STILL, f"--init_from={name}")
        found = weights(run)
        assert_same(found, weights(source, "last" if "ckpt" in str(name) else "best"))
        path = source / "checkpoints" / ("last.ckpt" if "ckpt" in str(name) else "best.ckpt")
        assert f"Weights: loaded 8 of 8 tensors from {path}\n" in capsys.readouterr().out
        assert f"init_from: {path}\n" in (run / "config.yaml").read_text()


def test_best_and_last_are_of_the_newest_run_of_the_model(source, trained):
    shutil.copytree(source, "runs/CNN-synthetic/2026-01-01_00-00-00")
    run_of("fit", "--model=MLP", *DATA, "--trainer.max_epochs=1")
    assert_same(weights(run_of(*STILL, "--init_from=last")), trained)


def with_prefix(state: dict, prefix: str) -> dict:
    return {prefix + name.removeprefix("net."): tensor for name, tensor in state.items() if name.startswith("net.")}


FOREIGN = {
    "plain.pt": lambda state: torch.save(with_prefix(state, ""), "plain.pt"),
    "parallel.pth": lambda state: torch.save({"net": with_prefix(state, "module."), "epoch": 3}, "parallel.pth"),
    "nested.pt": lambda state: torch.save(
        {"epoch": torch.tensor(3), "state_dict": with_prefix(state, "_orig_mod.model.")}, "nested.pt"
    ),
    "old.pth": lambda state: torch.save(state, "old.pth", _use_new_zipfile_serialization=False),
    "half.safetensors": lambda state: save_file(
        {name: tensor.half().contiguous() for name, tensor in state.items()}, "half.safetensors"
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others(name, trained, capsys):
    FOREIGN[name](trained)
    run = run_of(*STILL, f"--init_from={name}")
    expected = {n: t.half().float() if name == "half.safetensors" and "net" in n else t for n, t in trained.items()}
    assert_same(weights(run), expected)
    assert "Weights: loaded 8 of 8 tensors" in capsys.readouterr().out


def test_an_exported_file_knows_its_classes(source, trained):
    assert cli.main(["export", "--ckpt", str(source), "--format", "safetensors", "--out", "x.safetensors"]) == 0
    found = initial_weights.find("x.safetensors", Path("runs"), "zoo.models.cnn.CNN")
    assert found.class_names is not None
    assert found.class_names == initial_weights.find(str(source), Path("runs"), "zoo.models.cnn.CNN").class_names
    assert found.class_names[:2] == ("disc", "ring")


# What fits.


def load(tensors: dict, model=None, before=None, now=("a",) * 10) -> tuple[list[str], dict[str, torch.Tensor]]:
    model = model or CNN()
    lines = initial_weights.load(Weights(Path("x.pt"), tensors, before), model, now)
    return lines, model.state_dict()


HEAD = ("net.9.weight", "net.9.bias")
NAMES = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("before", "is_loaded"), [(NAMES, True), (None, True), (NAMES[::-1], False), (NAMES[:9], False)]
)
def test_a_head_of_the_same_shape_is_loaded_unless_the_classes_are_others(trained, before, is_loaded):
    torch.manual_seed(1)
    model = CNN()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    (line,), found = load(trained, model, before, NAMES)
    for name, tensor in found.items():
        expected = own if name in ("scale", "shift") or (name in HEAD and not is_loaded) else trained
        assert torch.equal(tensor, expected[name]), name
    assert ("; new for other classes: net.9.weight, net.9.bias" in line) is not is_loaded


def test_a_head_of_another_task_is_new(source, trained, capsys):
    """One class against the rest has one output."""
    run = run_of(*STILL, "--data.task=binary", f"--init_from={source}/checkpoints/last.ckpt")
    expected = "Weights: loaded 6 of 8 tensors from .*; new for other classes: net.9.weight, net.9.bias\n"
    assert re.search(expected, capsys.readouterr().out)
    found = weights(run)
    for name in trained.keys() - set(HEAD):
        assert torch.equal(found[name], trained[name]), name


def test_the_normalization_is_that_of_the_data(trained):
    tensors = trained | {"scale": trained["scale"] + 1, "shift": trained["shift"] + 1}
    lines, found = load(tensors)
    assert torch.equal(found["scale"], CNN().scale)
    assert torch.equal(found["shift"], CNN().shift)
    assert lines == ["Weights: loaded 8 of 8 tensors from x.pt"]


def test_the_rest_is_named(trained):
    tensors = {name: tensor for name, tensor in trained.items() if name != "net.7.bias"}
    tensors |= {"net.0.weight": torch.zeros(32, 1, 3, 3), "fc.weight": torch.zeros(3), "x\n": torch.zeros(())}
    first, second = load(tensors)[0]
    assert first == (
        "Weights: loaded 6 of 8 tensors from x.pt; left as they were: net.0.weight, net.7.bias; "
        r"not used: fc.weight, x\n"
    )
    assert second == "  net.0.weight is 32 x 1 x 3 x 3 there, and 32 x 3 x 3 x 3 here"


def test_long_lists_are_cut(trained):
    (line,), _ = load(trained | {f"other.{i}": torch.zeros(1) for i in range(9)})
    assert line.endswith("not used: other.0, other.1, other.2, other.3, other.4, other.5 and 3 more")


def test_numpy_networks(capsys):
    fit = ["fit", "--model=NumPyMLP", "--model.hidden_sizes=[8]", *DATA, "--trainer.max_epochs=1"]
    run = run_of(*fit)
    found = run_of(*fit, f"--init_from={run}", "--optimizer.lr=0", "--seed_everything=7")
    assert_same(weights(found), weights(run))


def test_the_record_network_keeps_its_whitening():
    """It is computed from the training images otherwise."""
    fit = ["fit", "--model=SpeedrunNet", "--model.widths=[8, 8, 8]", *DATA, "--trainer.max_epochs=1"]
    model = SpeedrunNet(widths=[8, 8, 8])
    torch.save(model.state_dict(), "plain.pt")
    assert torch.equal(weights(run_of(*fit, "--init_from=plain.pt"))["net.0.weight"], model.whitening.weight)
    assert not torch.equal(weights(run_of(*fit))["net.0.weight"], model.whitening.weight)


# When they act.


def test_a_resumed_run_does_not_load_them_again(source):
    shutil.copy(source / "checkpoints/last.ckpt", "theirs.ckpt")
    whole = run_of(*FIT, "--init_from=theirs.ckpt", "--trainer.max_epochs=2", "--name=whole")
    run = run_of(*FIT, "--init_from=theirs.ckpt", "--name=cut")
    Path("theirs.ckpt").unlink()
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_epochs=2"]) == 0
    assert_same(weights(run), weights(whole))
    assert "theirs.ckpt" in (run / "config.yaml").read_text(), "as a record"
    assert "init_from" not in torch.load(run / "checkpoints/last.ckpt", weights_only=True)["config"]
    longer = run_of("fit", f"--ckpt={run}", "--trainer.max_epochs=3")
    assert "init_from: null\n" in (longer / "config.yaml").read_text()


def test_a_run_without_a_checkpoint_starts_with_them_again(source, trained):
    run = run_of(*STILL, f"--init_from={source}/checkpoints/last.ckpt")
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.json").unlink()
    assert cli.main(["fit", f"--resume={run}"]) == 0
    assert_same(weights(run), trained)


def test_repetitions_may_start_from_runs_of_several_seeds(source):
    """Their settings are the same for `compare`: the name of those runs."""
    other = Path("runs/CNN-synthetic/2026-01-01_00-00-00")
    shutil.copytree(source, other)
    for seed, start in ((0, source), (1, other)):
        run_of(*FIT, f"--init_from={start}", f"--seed_everything={seed}", "--name=tuned")
    torch.save(weights(source), "plain.pt")
    run_of(*FIT, "--init_from=plain.pt", "--name=tuned")
    (first, second, third), _ = finished_runs.read_all(["runs/tuned-synthetic"])
    assert first.settings["init_from"] == "CNN-synthetic"
    assert first.settings == second.settings
    assert first.seed != second.seed
    assert third.settings == first.settings | {"init_from": str(Path("plain.pt").resolve())}


# What is refused.


def test_refusals(source, capsys):
    Path("folder").mkdir()
    Path("text.pt").write_text("no weights")
    write_pickle(Path("theirs.pt"), Malicious())
    torch.save({"epoch": 3}, "empty.pt")
    torch.save([torch.zeros(3)], "list.pt")
    torch.save(NumPyMLP([8]).state_dict(), "numpy.pt")
    torch.save({"net.0.weight": torch.full((32, 3, 3, 3), torch.nan)}, "nan.pt")
    torch.save({"net.0.weight": torch.zeros(32, 1, 3, 3)}, "gray.pt")
    torch.save({"net.0.weight": torch.zeros(32, 3, 3, 3, dtype=torch.int8)}, "integer.pt")
    torch.save({"net.0.weight": torch.zeros(32, 3, 3, 3, dtype=torch.complex64)}, "complex.pt")
    Path("cut.safetensors").write_bytes(b"\x00" * 9)
    runs, best = f"--runs_dir={Path('none')}", f"--init_from={source}"
    cases = {
        "--init_from=nothing": ["--init_from nothing: there is no such file", "a run's directory"],
        "--init_from=folder": ["--init_from folder is a folder without a run"],
        "--init_from=best": ["--init_from best: no run of CNN in 'runs'"],
        "--init_from=text.pt": ["text.pt has no readable weights"],
        "--init_from=theirs.pt": ["theirs.pt has no readable weights: it asks for more than tensors"],
        "--init_from=empty.pt": ["empty.pt holds no weights"],
        "--init_from=list.pt": ["list.pt has no readable weights: it is a list, expected a dict"],
        "--init_from=cut.safetensors": ["cut.safetensors has no readable weights"],
        "--init_from=numpy.pt": ["no weights fit CNN: it has layers.1.weight", "CNN has net.0.weight"],
        "--init_from=gray.pt": ["no weights fit CNN: net.0.weight is 32 x 1 x 3 x 3 there, and 32 x 3 x 3 x 3 here"],
        "--init_from=integer.pt": ["net.0.weight has integer numbers there, and floating-point ones here"],
        "--init_from=complex.pt": ["net.0.weight has complex numbers there, and floating-point ones here"],
        "--init_from=": ["--init_from needs a value: best, last"],
        "--init_from=nan.pt": ["net.0.weight is not finite"],
        f"{best} --ckpt={source}": ["--ckpt goes on with a training", "give one of them"],
        f"{best} --resume={source}": ["--resume goes on with the run's own weights: leave out --init_from"],
        "--freeze=-1": ["--freeze=-1 is out of range: give a finite number of at least 0"],
        "--freeze=x": ["--freeze=x: expected a whole number"],
        "--layer_decay=0": ["--layer_decay=0.0 is out of range: give a number above 0 and at most 1"],
        "--layer_decay=1.5": ["--layer_decay=1.5 is out of range"],
        "--layer_decay=-0.5": ["--layer_decay=-0.5 is out of range"],
        "--layer_decay=0.5 --optimizer=LBFGS": ["--optimizer: LBFGS doesn't support per-parameter options"],
        f"--init_from=last {runs}": ["--init_from last: no run of CNN in 'none'"],
    }
    before = contents(Path())
    for options, expected in cases.items():
        line = refusal(capsys, *FIT, *options.split())
        for text in expected:
            assert text in line, line
    assert contents(Path()) == before, "nothing was written, and nothing ran"


def test_a_model_without_a_head_to_freeze(capsys):
    Path("no_head.py").write_text(
        "from torch import nn\nfrom zoo import TorchClassifier\n\n\nclass NoHead(TorchClassifier):\n"
        "    def __init__(self, num_classes: int = 10) -> None:\n        super().__init__(num_classes)\n"
        "        self.net = nn.Sequential(nn.Conv2d(3, 10, 32), nn.Flatten())\n"
    )
    for option in ("--freeze=1", "--layer_decay=0.5"):
        line = refusal(capsys, "fit", "--model=no_head.NoHead", *DATA, option)
        assert "NoHead has no nn.Linear of 10 outputs to take for its head: name a module in its __init__" in line


def test_other_projects_may_use_keys_of_ours(trained):
    """A key that says nothing about classes leaves them unknown."""
    for others in ({"CIFAR10": {"class_names": 5}}, {"class_names": "[" * 10_000}, {"CIFAR10": {"task": "x"}}):
        torch.save({"state_dict": trained, **others}, "theirs.pt")
        assert initial_weights.find("theirs.pt", Path("runs"), "zoo.models.cnn.CNN").class_names is None


def test_json_of_names(trained):
    save_file({name: tensor.contiguous() for name, tensor in trained.items()}, "x.safetensors",
              {"class_names": json.dumps(["a", "b"])})  # fmt: skip
    assert initial_weights.find("x.safetensors", Path("runs"), "zoo.models.cnn.CNN").class_names == ("a", "b")
