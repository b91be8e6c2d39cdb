"""Metrics reach all loggers, and `validate` and `test` return them."""

import csv
import errno
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cli
from tests.helpers import quiet_trainer, refusal, rows, run_of, scalars, tiny_data, weights
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
    assert error.startswith(f"error: --trainer.strategy={strategy} uses multiprocessing")
    assert "use --trainer.strategy=ddp" in error
    assert error.count("\n") == 1, error
    assert not list(Path().iterdir())


# Several loggers, and what they keep of a run beside its metrics.

CSV_AND_BOARD = ["--trainer.logger+=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=csv"]
CSV_AND_BOARD += ["--trainer.logger+=lightning.pytorch.loggers.TensorBoardLogger", "--trainer.logger.save_dir=board"]
WANDB = ["--trainer.logger+=lightning.pytorch.loggers.WandbLogger", "--trainer.logger.offline=true"]


class WandbRun:
    """Keeps what it gets, as a run of W&B does."""

    id, name = "1", "one"

    def __init__(self):
        self.config = type("Config", (dict,), {"update": lambda self, values, **_: dict.update(self, values)})()
        self.tags, self.logged, self.artifacts, self.exit_codes = ("mine",), [], {}, []

    def log(self, metrics):
        self.logged.append(metrics)

    def log_artifact(self, path, type):
        self.artifacts[Path(path).name] = type, Path(path).read_bytes()

    def finish(self, exit_code):
        self.exit_codes.append(exit_code)


@pytest.fixture
def wandb(monkeypatch) -> list[WandbRun]:
    """A stand-in for the package; returns its runs."""
    made: list[WandbRun] = []
    modules = {name: ModuleType(name) for name in ("wandb", "wandb.sdk", "wandb.sdk.lib", "wandb.wandb_run")}
    modules["wandb"].run = None
    modules["wandb"].init = lambda **options: made.append(WandbRun()) or made[-1]
    modules["wandb.sdk.lib"].RunDisabled = modules["wandb.wandb_run"].Run = type("Other", (), {})
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    monkeypatch.setenv("WANDB_MODE", "")  # which the logger sets
    return made


def test_three_loggers_side_by_side(wandb):
    """The run's own curves do not change. Each of the others has all metrics."""
    alone, run = run_of(*FIT), run_of(*FIT, *CSV_AND_BOARD, *WANDB)
    assert scalars(run) == scalars(alone)
    assert rows(run) == rows(alone)
    (tracked,) = wandb
    by_csv = of_csv(Path("csv"))
    (events,) = {path.parent for path in Path("board").rglob("events*")}
    by_board = EventAccumulator(str(events)).Reload()
    for name in (*STAGES, "test/acc", "batch/loss", "lr", "perf/images_per_second"):
        values = [metrics[name] for metrics in tracked.logged if name in metrics]
        assert by_csv[name] == pytest.approx(values, rel=1e-6), name
        assert [event.value for event in by_board.Scalars(name)] == pytest.approx(values, rel=1e-6), name
    config = yaml.safe_load((run / "config.yaml").read_text())
    (path,) = Path("csv").rglob("hparams.yaml")
    for kept in (tracked.config, yaml.safe_load(path.read_text())):
        for key in ("model", "data", "optimizer", "lr_schedule", "seed_everything", "trainer"):
            assert kept[key] == config[key], key


def test_wandb_keeps_tags_and_files(wandb):
    """Two runs of a process are two runs of W&B."""
    made = [run_of(*FIT, *WANDB) for _ in range(2)]
    for run, tracked in zip(made, wandb, strict=True):
        assert tracked.tags == ("mine", "MLP", "synthetic", "torch")
        names = ("config.yaml", "metrics.json", "confusion_matrix.png", "learning_curves.png")
        expected = {name: ("result", (run / name).read_bytes()) for name in names}
        expected["best.ckpt"] = "model", (run / "checkpoints/best.ckpt").read_bytes()
        assert tracked.artifacts == expected
        assert tracked.exit_codes == [0]


def test_loggers_change_nothing_that_is_learned(wandb):
    """Stopped in the middle of an epoch, with all loggers, and resumed with them: bit for bit the run without them."""
    stop = '{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 3}}'
    command = [*FIT, "--save_every_n_steps=1"]
    whole = run_of(*command)
    cut = run_of(*command, *CSV_AND_BOARD, *WANDB, f"--trainer.callbacks=[{stop}]", code=143)
    assert wandb[0].exit_codes == [1], "a stopped run"
    assert cli.main(["fit", f"--resume={cut}", f"--config={cut}/config.yaml"]) == 0
    assert all(torch.equal(value, weights(cut)[name]) for name, value in weights(whole).items())
    assert rows(cut) == rows(whole)
    assert len(wandb[1].artifacts) == 5


def test_wandb_that_is_not_installed_is_told_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("zoo.training.option_checks.find_spec", lambda name: None)
    line = refusal(capsys, *FIT, *WANDB)
    problem = "WandbLogger needs wandb, which is not installed: pip install 'cifar10-zoo[loggers]'"
    assert line == f"error: --trainer.logger: {problem}"
    assert not list(Path().iterdir())


def test_wandb_without_a_login_is_told_in_one_line(wandb, capsys, monkeypatch):
    class UsageError(Exception):
        __module__ = "wandb.errors.errors"

    def refuse(**options):
        raise UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    assert cli.main([*FIT, *WANDB]) == 2
    error = capsys.readouterr().err
    assert error == "error: --trainer.logger: No API key configured. Use `wandb login` to log in.\n"
    assert not list(Path().iterdir())


def test_wandb_that_cannot_upload_is_told_in_one_line(wandb, capsys):
    line = refusal(capsys, *FIT, *WANDB, "--trainer.logger.log_model=true")
    assert "log_model=True and offline=True" in line
    assert not wandb
    assert not list(Path().iterdir())
