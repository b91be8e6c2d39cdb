"""Metrics reach all loggers, and `validate` and `test` return them."""

import csv
import errno
import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cli
from tests.helpers import quiet_trainer, run_of, scalars, tiny_data
from zoo.models.mlp import MLP
from zoo.training.callbacks.batch_log import BatchLog

DATA = ["--data.source=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
DATA += ["--data.batch_size=16", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=2"]
FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", "--trainer.enable_model_summary=false", *DATA]
STAGES = {"train/loss", "train/acc", "val/loss", "val/acc", "val/f1"}


def of_csv(folder: Path) -> dict[str, list[float]]:
    """The columns of the file that Lightning's CSVLogger wrote, without the rows that lack a value."""
    (path,) = folder.rglob("metrics.csv")
    rows = list(csv.DictReader(path.open()))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_validate_and_test_return_the_metrics():
    model, data, trainer = MLP([4]), tiny_data(), quiet_trainer()
    for run, stage in ((trainer.validate, "val"), (trainer.test, "test")):
        (found,) = run(model, data, verbose=False)
        for name in ("loss", "acc", "precision", "recall", "f1"):
            assert found[f"{stage}/{name}"] == pytest.approx(model.results[stage][name])


def test_all_loggers_get_all_metrics(tmp_path):
    loggers = [CSVLogger(tmp_path / "a"), TensorBoardLogger(tmp_path / "b"), CSVLogger(tmp_path / "c")]
    model, data = MLP([4]), tiny_data()
    trainer = quiet_trainer(logger=loggers, max_epochs=2, log_every_n_steps=2, callbacks=[BatchLog()])
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    first, last = of_csv(tmp_path / "a"), of_csv(tmp_path / "c")
    assert first == last
    assert STAGES | {"test/acc", "batch/loss", "batch/lr", "lr"} <= first.keys()
    (events,) = {path.parent for path in (tmp_path / "b").rglob("events*")}
    board = EventAccumulator(str(events)).Reload()
    for name, values in first.items():
        if name not in ("epoch", "step"):
            assert [event.value for event in board.Scalars(name)] == pytest.approx(values), name
    assert len(first["val/acc"]) == len(first["train/acc"]) == 2
    assert first["test/acc"] == pytest.approx([model.results["test"]["acc"]])


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.logger+=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=theirs"],
        ["--config=loggers.yaml"],
    ],
)
def test_a_logger_beside_the_runs_own(options):
    """The run's own curves do not change, and the other logger has the same values."""
    logger = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "theirs"}}
    Path("loggers.yaml").write_text(json.dumps({"trainer": {"logger": [logger]}}))
    alone, run = run_of(*FIT), run_of(*FIT, *options)
    assert scalars(run) == scalars(alone)
    found = of_csv(Path("theirs"))
    assert {*STAGES, "test/acc", "batch/loss", "perf/images_per_second"} <= found.keys()
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in (*STAGES, "lr"):
        assert found[name] == pytest.approx([float(row[name]) for row in rows], rel=1e-5), name
    assert found["test/acc"] == pytest.approx([json.loads((run / "metrics.json").read_text())["test/acc"]])


def test_fast_dev_run_has_a_logger_as_in_plain_lightning():
    callbacks = json.dumps([{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}])
    assert cli.main([*FIT, "--trainer.fast_dev_run=true", f"--trainer.callbacks={callbacks}"]) == 0
    assert not list(Path().iterdir())


def test_a_place_that_a_logger_cannot_make_is_refused_in_one_line(capsys):
    Path("file").touch()
    place = "--trainer.logger.save_dir=file/logs"
    assert cli.main([*FIT, "--trainer.logger+=lightning.pytorch.loggers.CSVLogger", place]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert "file/logs" in error
    assert "Not a directory" in error
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_a_place_that_is_lost_during_a_run_is_told_with_what_is_left(monkeypatch, capsys):
    def fail(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "theirs/metrics.csv")

    monkeypatch.setattr("lightning.fabric.loggers.csv_logs._ExperimentWriter.log_metrics", fail)
    options = ["--trainer.logger+=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=theirs"]
    assert cli.main([*FIT, *options, "--trainer.log_every_n_steps=1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: theirs/metrics.csv cannot be written or read (Permission denied): ")
    assert "fit --resume runs/" in error
    assert error.count("\n") == 1, error


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_strategies_that_pickle_are_refused_before_anything_is_made(strategy, capsys):
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", f"--trainer.strategy={strategy}"]
    assert cli.main([*FIT, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --trainer.strategy={strategy} starts its processes by multiprocessing")
    assert "use --trainer.strategy=ddp" in error
    assert error.count("\n") == 1, error
    assert not list(Path().iterdir())
