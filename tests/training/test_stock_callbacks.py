"""Lightning's callbacks through the command line: they work, or one line refuses them and nothing is left behind."""

import json
from pathlib import Path

import pytest
import torch
import yaml

import cli
from tests.helpers import contents, run_of

DATA = ["--data.source=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
DATA += ["--data.batch_size=16", "--trainer.max_epochs=2", "--trainer.enable_model_summary=false"]
FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", *DATA]
STOCK = "lightning.pytorch.callbacks."


def callbacks(*entries: tuple[str, dict]) -> str:
    listed = [{"class_path": name if "." in name else STOCK + name, "init_args": args} for name, args in entries]
    return f"--trainer.callbacks={json.dumps(listed)}"


REFUSED = {
    ("ModelCheckpoint", "MLP"): ({"monitor": "val_acc"}, ["monitor=val_acc", "Did you mean 'val/acc'?", "train/loss"]),
    ("EarlyStopping", "MLP"): ({"monitor": "val_lss"}, ["monitor=val_lss", "Did you mean 'val/loss'?"]),
    ("LearningRateFinder", "MLP"): ({}, ["an attribute lr", "--optimizer.lr"]),
    ("LearningRateFinder", "NumPyMLP"): ({}, ["NumPyMLP", "leave"]),
    ("DeviceStatsMonitor", "MLP"): ({}, ["DeviceStatsMonitor", "psutil"]),
    ("BackboneFinetuning", "MLP"): ({}, ["BackboneFinetuning", "'backbone'"]),
    ("BaseFinetuning", "MLP"): ({}, ["BaseFinetuning", "NotImplementedError"]),
    ("GradientAccumulationScheduler", "NumPyMLP"): ({"scheduling": {"0": 2}}, ["NumPyMLP", "leave"]),
    ("ModelPruning", "NumPyMLP"): ({"pruning_fn": "l1_unstructured"}, ["NumPyMLP", "leave"]),
    ("ModelPruning", "CNN"): ({"pruning_fn": "l1_unstructured"}, ["CNN", "channels_last"]),
    ("StochasticWeightAveraging", "MLP"): ({"swa_lrs": 0.1}, ["--swa 0.25"]),
}


def assert_refused(command: list[str], words: list[str], capsys) -> None:
    before = contents(Path())
    capsys.readouterr()
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error
    assert contents(Path()) == before, "something was written"


@pytest.mark.parametrize(("callback", "model"), REFUSED)
def test_one_line_refuses_and_nothing_is_left(callback, model, capsys, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", False)
    arguments, words = REFUSED[callback, model]
    assert_refused(["fit", f"--model={model}", *DATA, callbacks((callback, arguments))], words, capsys)


def test_a_monitor_without_a_validation_set(capsys):
    monitor = callbacks(("EarlyStopping", {"monitor": "val/loss"}))
    assert_refused([*FIT, "--data.val_size=0", monitor], ["monitor=val/loss", "train/loss, train/acc, lr"], capsys)


@pytest.mark.parametrize("name", ["best", "last"])
def test_the_names_of_the_runs_own_checkpoints(name, capsys):
    assert_refused([*FIT, callbacks(("ModelCheckpoint", {"filename": name}))], [f"filename={name}", "dirpath"], capsys)


def test_a_callback_refuses_in_a_resumed_run(capsys):
    """The run stays as it was: its config, its results."""
    run = run_of(*FIT)
    command = ["fit", f"--resume={run}", "--trainer.max_epochs=3", callbacks(("BackboneFinetuning", {}))]
    before = {path: bytes for path, bytes in contents(Path()).items() if "tensorboard" not in path.parts}
    assert cli.main(command) == 2
    assert {path: bytes for path, bytes in contents(Path()).items() if "tensorboard" not in path.parts} == before
    assert cli.main(command[:-1]) == 0


def test_other_runs_stay(capsys):
    run_of(*FIT)
    assert_refused([*FIT, callbacks(("BackboneFinetuning", {}))], ["'backbone'"], capsys)


OWN = """
from typing import Any
import lightning as L

class Unkept(L.Callback):
    def __init__(self, thing: Any = object()) -> None:
        pass

class Fussy(L.Callback):
    def setup(self, trainer, pl_module, stage):
        raise KeyError("color")

class Logs(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, *args):
        pl_module.log("mine", 1.0, on_epoch=True)
"""


@pytest.fixture
def own(monkeypatch):
    Path("own_callbacks.py").write_text(OWN)
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.delitem(__import__("sys").modules, "own_callbacks", raising=False)


def test_a_persons_own_callback(own, capsys):
    words = ["Fussy (own_callbacks.py, line 11): 'color'"]
    assert_refused([*FIT, callbacks(("own_callbacks.Fussy", {}))], words, capsys)


def test_a_metric_that_a_persons_own_callback_logs(own, capsys):
    """Nobody knows beforehand what it logs: it may be monitored, and what it does not log is told once it is due."""
    used = [("own_callbacks.Logs", {}), ("EarlyStopping", {"monitor": "mine", "patience": 5})]
    run_of(*FIT, callbacks(*used))
    used[1][1]["monitor"] = "yours"
    capsys.readouterr()
    assert cli.main([*FIT, callbacks(*used)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "`yours` which is not available" in error
    assert "`mine`" in error


@pytest.mark.parametrize(
    ("callback", "arguments", "words"),
    [
        ("ModelPruning", {"pruning_fn": "l1_unstructured", "amount": 9.5}, ["ModelPruning", "amount=9.5"]),
        ("ModelPruning", {"pruning_fn": "l1_unstructured", "amount": -1}, ["ModelPruning", "amount=-1"]),
    ],
)
def test_an_argument_that_a_callback_finds_wrong_after_the_start(callback, arguments, words, capsys):
    assert cli.main([*FIT, callbacks((callback, arguments))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --trainer.callbacks: ")
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error


READ_BACK = {
    "ModelPruning": {"pruning_fn": "l1_unstructured", "amount": 0.3},
    "Timer": {"duration": "01:00:00:00"},
    "GradientAccumulationScheduler": {"scheduling": {"0": 1, "1": 2}},
    "EMAWeightAveraging": {"decay": 0.9},
    "ModelCheckpoint": {"monitor": "val/acc", "train_time_interval": "0:10:00"},
}


@pytest.mark.parametrize("callback", READ_BACK)
def test_the_config_of_a_run_can_be_read_back(callback, recwarn):
    run = run_of(*FIT, callbacks((callback, READ_BACK[callback])), "--trainer.max_epochs=1")
    assert not [str(w.message) for w in recwarn if "serialize" in str(w.message)]
    (kept,) = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["callbacks"]
    for name, value in READ_BACK[callback].items():
        assert kept["init_args"][name] == value
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_epochs=2"]) == 0


def test_a_config_that_cannot_be_read_back_is_refused(own, capsys):
    words = ["config.yaml could not be read back", "<object object"]
    assert_refused([*FIT, callbacks(("own_callbacks.Unkept", {}))], words, capsys)


def test_a_persons_own_checkpoints_lie_in_the_run():
    named = {"monitor": "val/acc", "mode": "max", "save_top_k": -1, "filename": "{epoch}-{val/acc:.3f}"}
    every = {"every_n_train_steps": 3, "save_top_k": -1, "save_last": "link"}
    alone = run_of(*FIT)
    run = run_of(*FIT, callbacks(("ModelCheckpoint", named), ("ModelCheckpoint", every)))
    found = sorted(path.relative_to(run).as_posix() for path in run.rglob("*.ckpt"))
    accuracies = [f"{float(line.split(',')[9]):.3f}" for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    names = [*(f"epoch={epoch}-val_acc={accuracies[epoch]}" for epoch in (0, 1)), "epoch=0-step=3", "epoch=1-step=6"]
    assert found == sorted(f"checkpoints/{name}.ckpt" for name in (*names, "best", "last", "own-last"))
    assert not any(path.is_symlink() for path in run.rglob("*"))
    for name in ("best", "last"):
        ours, expected = (torch.load(r / f"checkpoints/{name}.ckpt", weights_only=True) for r in (run, alone))
        assert ours["global_step"] == expected["global_step"]
        assert all(torch.equal(ours["state_dict"][key], value) for key, value in expected["state_dict"].items())
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_epochs=3"]) == 0
    assert (run / "checkpoints/epoch=2-step=9.ckpt").is_file()


def test_a_progress_bar_or_summary_of_ones_own_takes_the_place_of_ours():
    used = callbacks(("TQDMProgressBar", {"refresh_rate": 0}), ("ModelSummary", {"max_depth": 1}))
    run_of(*FIT[:-1], "--trainer.max_epochs=1", used)
