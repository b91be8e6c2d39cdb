"""Training that ends before its last epoch: early stopping counts epochs, and one line gives the reason."""

import csv
import itertools
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_module

import cli
from tests.helpers import run_of
from zoo.training.callbacks.early_stopping import EpochEarlyStopping

DATA = ["--data.source=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", *DATA, "--data.batch_size=16"]
FIT += ["--trainer.enable_model_summary=false", "--trainer.max_epochs=9"]
STUCK = [*FIT, "--optimizer.lr=0"]


def epochs_of(run: Path) -> int:
    with (run / "metrics.csv").open() as file:
        return len(list(csv.DictReader(file)))


def stops_after(accuracies: list[float | None], patience: int, interrupted_after: int = -1) -> int | None:
    """The epoch, from 1, after which early stopping ends training with these accuracies; None without validation."""
    callback, model = EpochEarlyStopping(patience), SimpleNamespace(results={})
    strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)
    state = SimpleNamespace(fn="fit")
    trainer = SimpleNamespace(strategy=strategy, state=state, callback_metrics={}, sanity_checking=False)
    trainer.fast_dev_run = trainer.should_stop = False
    for epoch, accuracy in enumerate(accuracies):
        trainer.current_epoch = epoch
        if accuracy is not None:
            trainer.callback_metrics["val/acc"] = torch.tensor(accuracy)
            model.results["val"] = {"epoch": epoch}
        callback.on_train_epoch_end(trainer, model)
        if trainer.should_stop:
            return epoch + 1
        if epoch + 1 == interrupted_after:
            resumed = EpochEarlyStopping(patience)
            resumed.load_state_dict(callback.state_dict())
            callback = resumed
    return None


@pytest.mark.parametrize(
    ("accuracies", "patience", "epoch"),
    [
        ([0.1, 0.2, 0.2, 0.1, 0.3], 2, 4),
        ([0.1, 0.2, 0.2, 0.3, 0.3, 0.3], 2, 6),
        ([0.1, 0.2, 0.3, 0.4], 1, None),
        ([0.3, 0.2], 1, 2),
        # A validation every second epoch.
        ([None, 0.2, None, 0.2, None, 0.2], 2, 4),
        ([None, 0.2, None, 0.2, None, 0.2], 1, 4),
        ([None, 0.2, None, 0.2, None, 0.1], 3, 6),
        ([None, 0.2, None, 0.3, None, 0.3, None, 0.3], 3, 8),
        ([None, None, None, 0.2, 0.1], 2, None),
    ],
)
def test_early_stopping_counts_epochs(accuracies, patience, epoch):
    assert stops_after(accuracies, patience) == epoch
    for interrupted_after in range(1, len(accuracies)):
        assert stops_after(accuracies, patience, interrupted_after) == epoch


@pytest.mark.parametrize(
    ("option", "epochs"), [("--trainer.val_check_interval=0.25", 3), ("--trainer.check_val_every_n_epoch=2", 4)]
)
def test_early_stopping_whatever_the_validation_interval(option, epochs, capfd):
    assert epochs_of(run_of(*STUCK, "--early_stopping=2", option)) == epochs
    out, err = capfd.readouterr()
    (line,) = [line for line in out.splitlines() if line.startswith("Training stopped")]
    assert f"after epoch {epochs} (step {4 * epochs}): val/acc was not better than" in line
    assert line.endswith("for 2 epochs")
    assert not err


def test_a_time_limit_is_told_and_the_run_goes_on_with_more_time(capsys, monkeypatch):
    ticks = itertools.count()  # a second each time the timer looks at the clock
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    run = run_of(*FIT, "--trainer.max_time=00:00:00:06")
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("Training stopped")]
    done = epochs_of(run)
    assert f"epoch {done} (step" in line
    way_on = f"go on with: fit --resume {run.resolve()} --trainer.max_time"
    assert f"the time limit is reached. last.ckpt is saved; {way_on}" in line
    assert cli.main(["fit", f"--resume={run}"]) == 2, "the time is still up"
    assert "or --trainer.max_time" in capsys.readouterr().err
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_time=01:00:00:00", "--trainer.max_epochs=3"]) == 0
    assert epochs_of(run) == 3
    assert "Training stopped" not in capsys.readouterr().out


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def heard():
    handler = Heard()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)  # as its package sets it
    yield handler.lines
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_what_people_ask_to_be_told_is_told_and_nothing_else(package, heard, monkeypatch):
    """A plugin may import pytorch_lightning, whose logger then has the messages of both packages."""
    monkeypatch.setattr(rank_zero_module, "log", logging.getLogger(f"{package}.utilities.rank_zero"))
    checkpoint = {"monitor": "val/acc", "mode": "max", "verbose": True}
    stopping = {"monitor": "val/acc", "mode": "max", "patience": 1, "verbose": True}
    callbacks = [
        {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}
        for name, arguments in (("ModelCheckpoint", checkpoint), ("EarlyStopping", stopping))
    ]
    run_of(*STUCK, f"--trainer.callbacks={json.dumps(callbacks)}")
    found = [line.split(",")[0] for line in heard]
    assert found[0].startswith("Metric val/acc improved")
    assert "Monitored metric val/acc did not improve in the last 1 records. Best score" in heard[2]
    assert [line.split(":")[0] for line in (heard[1], heard[3])] == ["Epoch 0, global step 4", "Epoch 1, global step 8"]
    assert len(heard) == 4


def test_nothing_is_told_that_nobody_asked_for(heard):
    run_of(*FIT, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.precision=bf16-mixed")
    assert not heard


@pytest.mark.parametrize("command", ["fit", "test"])
def test_several_nodes_need_a_launcher(command, capsys):
    if command == "test":
        run_of(*FIT, "--trainer.max_epochs=1")
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    options = FIT[1:] if command == "fit" else ["--ckpt=last"]
    assert cli.main([command, *options, "--trainer.num_nodes=2", "--trainer.accelerator=cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in ("--trainer.num_nodes=2", "torchrun", "srun", "NODE_RANK"):
        assert word in error
    assert sorted(Path().rglob("*")) == before
