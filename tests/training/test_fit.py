"""The command line on small synthetic data: what a run prints, and what it leaves behind."""

import csv
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cli
from tests import forked
from tests.helpers import tiny_data, weights
from zoo.commands import help
from zoo.interpretation import layer_outputs
from zoo.runs import configs
from zoo.runs.command_line import CommandLine
from zoo.trained.trained_model import load
from zoo.training.callbacks.step_seed import StepSeed
from zoo.training.main import run_command

TINY = ["--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--data.batch_size=16"]
SYNTHETIC = ["--config", "synthetic", *TINY, "--trainer.max_epochs=2", "--trainer.log_every_n_steps=4"]


def fit(*options: str) -> Path:
    """Train, and return the run's directory."""
    before = set(Path("runs").glob("*/*"))
    assert cli.main(["fit", *options]) == 0
    (run,) = set(Path("runs").glob("*/*")) - before
    return run


def config_of(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """A run of CNN, with what it printed."""
    folder = tmp_path_factory.mktemp("run")
    done = forked.run("fit", "--config", "cnn", *SYNTHETIC, f"--runs_dir={folder}/runs")
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").glob("*/*")
    return run, done.stdout, done.stderr


def test_everything_is_left_behind(a_run):
    run, _, _ = a_run
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    events = {name for name in files if Path(name).name.startswith("events")}
    assert {Path(name).parent.as_posix() for name in events} == {"tensorboard", "tensorboard/steps"}
    assert files - events == {
        "config.yaml", "metrics.csv", "metrics.json", "confusion_matrix.png", "learning_curves.png",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", "tensorboard/hparams.yaml",
        "tensorboard/projector_config.pbtxt", "tensorboard/projector/points.tsv",
        "tensorboard/projector/classes.tsv", "tensorboard/projector/images.png",
    }  # fmt: skip


def test_output_is_quiet_without_a_terminal(a_run):
    _, out, err = a_run
    assert out.count("epoch 1/2") == out.count("epoch 2/2") == 1
    assert "\r" not in out + err
    assert "it/s" not in out + err
    assert "Warning" not in err
    assert "litlogger" not in out + err
    for text in ("64 train, 32 val, 40 test", "CNN on synthetic, 40 test images", "hourglass", "accuracy"):
        assert text in out


def test_the_source_stands_on_everything(a_run):
    run, out, _ = a_run
    assert "synthetic" in run.parent.name
    assert json.loads((run / "metrics.json").read_text())["data"]["source"] == "synthetic"
    assert config_of(run)["data"]["source"] == "synthetic"
    assert out.count("synthetic") >= 3


def test_metrics_json(a_run):
    run, out, _ = a_run
    found = json.loads((run / "metrics.json").read_text())
    confusion = torch.tensor(found["test/confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == 40
    assert found["test/acc"] == pytest.approx(confusion.diagonal().sum().item() / 40)
    assert f"accuracy   {found['test/acc']:.4f}" in out
    assert found["test/acc_per_class"]["disc"] == pytest.approx((confusion[0, 0] / confusion[0].sum()).item())
    assert found["seed"] == 0
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["fit_seconds"] > 0
    assert found["checkpoint"] == "checkpoints/best.ckpt"
    assert found["data"] == {"source": "synthetic", "task": "multiclass", "train": 64, "val": 32, "test": 40}
    for name in ("test/loss", "test/precision", "test/recall", "test/f1"):
        assert isinstance(found[name], float)


def test_metrics_csv_has_a_row_an_epoch(a_run):
    run, out, _ = a_run
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "4"), ("2", "8")]
    for row in rows:
        assert f"train/loss {float(row['train/loss']):.4f}" in out
        assert 0 <= float(row["val/acc"]) <= 1


def test_best_checkpoint_is_the_best_by_val_acc(a_run):
    run, _, _ = a_run
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    best = max(rows, key=lambda row: float(row["val/acc"]))
    found = json.loads((run / "metrics.json").read_text())
    assert found["best_epoch"] == int(best["epoch"])
    assert found["val/acc"] == pytest.approx(float(best["val/acc"]), abs=1e-5)


def test_tensorboard(a_run):
    run, _, _ = a_run
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    scalars = set(log.Tags()["scalars"])
    assert {"train/loss", "train/acc", "val/acc", "val/f1", "test/acc", "val_per_class/disc"} <= scalars
    for name in ("train/loss", "val/acc", "lr", "perf/images_per_second", "perf/seconds_per_epoch"):
        assert [event.step for event in log.Scalars(name)] == [1, 2], "over epochs"
    assert [event.step for event in log.Scalars("test/acc")] == [2]
    assert "hp_metric" not in scalars
    assert not any(name.startswith("batch/") for name in scalars)

    by_step = EventAccumulator(str(run / "tensorboard/steps"))
    by_step.Reload()
    assert by_step.Tags()["scalars"] == ["batch/loss", "batch/lr"]
    assert [event.step for event in by_step.Scalars("batch/loss")] == [4, 8]


def test_config_repeats_the_run(a_run, monkeypatch):
    run, _, _ = a_run
    again = fit("--config", str(run / "config.yaml"), "--runs_dir=runs")
    assert (again / "metrics.csv").read_text().splitlines()[0] == (run / "metrics.csv").read_text().splitlines()[0]
    first, second = weights(run), weights(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("command", ["test", "validate"])
def test_test_and_validate_a_checkpoint(a_run, command, capsys):
    run, _, _ = a_run
    checkpoint = run / "checkpoints/best.ckpt"
    before = (run / "metrics.json").read_bytes()
    assert cli.main([command, "--config", str(run / "config.yaml"), "--ckpt_path", str(checkpoint)]) == 0
    stage = {"test": "test", "validate": "val"}[command]
    (written,) = run.glob(f"{stage}/*/metrics.json")
    found, of_fit = json.loads(written.read_text()), json.loads(before)
    assert found[f"{stage}/acc"] == pytest.approx(of_fit[f"{stage}/acc"], abs=1e-5)
    images = {"test": "40 test", "val": "32 val"}[stage]
    assert f"CNN on synthetic, {images} images" in capsys.readouterr().out
    assert (run / "metrics.json").read_bytes() == before, "the results of fit are kept"


def test_binary_task(capsys):
    run = fit("--model", "CNN", *SYNTHETIC, "--data.task=binary")
    found = json.loads((run / "metrics.json").read_text())
    assert found["test/majority_acc"] == 0.9
    assert set(found["test/acc_per_class"]) == {"disc", "not disc"}
    assert {"test/balanced_acc", "test/precision", "test/f1"} <= found.keys()
    out = capsys.readouterr().out
    assert "of 'not disc'" in out
    assert "balanced" in out
    assert config_of(run)["data"]["task"] == "binary"


def test_val_size_0_trains_on_everything_and_says_so(capsys):
    run = fit("--model", "MLP", *SYNTHETIC, "--data.val_size=0")
    assert "no val" in capsys.readouterr().out
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt"}
    assert json.loads((run / "metrics.json").read_text())["checkpoint"] == "checkpoints/last.ckpt"


def test_one_batch_means_one_batch():
    run = fit("--model", "MLP", *SYNTHETIC, "--trainer.limit_train_batches", "1")
    assert [row["step"] for row in csv.DictReader((run / "metrics.csv").open())] == ["1", "2"]
    Path("half.yaml").write_text("trainer: {limit_train_batches: 0.5}")
    run = fit("--model", "MLP", *SYNTHETIC, "--config", "half.yaml")
    assert [row["step"] for row in csv.DictReader((run / "metrics.csv").open())] == ["2", "4"]


def test_early_stopping_is_one_option():
    run = fit("--model", "MLP", *SYNTHETIC, "--trainer.max_epochs=30", "--early_stopping=1", "--optimizer.lr=0")
    assert len(list(csv.DictReader((run / "metrics.csv").open()))) == 2


def test_another_model_does_not_inherit_arguments(capsys):
    def config(*options: str) -> dict:
        capsys.readouterr()
        assert cli.main(["fit", *options, *SYNTHETIC, "--print_config"]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    found = config("--config", "linear", "--model", "MLP")
    assert found["model"]["init_args"]["hidden_sizes"] == [], "the same class keeps them"
    Path("a.yaml").write_text("model: {class_path: ImprovedCNN, init_args: {dropout: 0.1}}")
    found = config_of(fit("--config", "a.yaml", "--model", "CNN", *SYNTHETIC, "--trainer.max_epochs=1"))
    assert found["model"]["class_path"] == "zoo.models.cnn.CNN"
    Path("b.yaml").write_text("model: MLP\noptimizer: {class_path: SGD, init_args: {lr: 0.2, weight_decay: 0.3}}")
    found = config("--config", "b.yaml", "--optimizer", "AdamW")
    assert found["optimizer"]["init_args"]["weight_decay"] == 0.01, "AdamW's own, not SGD's of the config"
    assert found["optimizer"]["init_args"]["lr"] == 1e-3
    found = config("--config", "b.yaml", "--optimizer", "torch.optim.SGD")
    assert found["optimizer"]["init_args"]["weight_decay"] == 0.3, "the same class keeps them"
    found = config("--model", "CNN", "--optimizer", "SGD")
    assert found["optimizer"]["init_args"]["weight_decay"] == 0, "SGD's own, not the default AdamW's"


def test_optimizer_options_reach_the_default_optimizer():
    run = fit("--model", "MLP", "--optimizer.lr", "0.02", *SYNTHETIC)
    found = config_of(run)["optimizer"]
    assert found["class_path"].endswith("AdamW")
    assert found["init_args"]["lr"] == 0.02
    assert float(next(csv.DictReader((run / "metrics.csv").open()))["lr"]) == 0.02


def test_seeds():
    runs = [fit("--model", "MLP", *SYNTHETIC, f"--seed_everything={seed}") for seed in (0, 0, 1)]
    losses = [next(csv.DictReader((run / "metrics.csv").open()))["train/loss"] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    assert config_of(runs[2])["data"]["seed"] is None, "it follows the run's: a saved config can be run with another"
    assert len({run.name for run in runs}) == 3


def test_no_epoch_and_no_test():
    run = fit("--model", "MLP", *SYNTHETIC, "--trainer.max_epochs=0")
    assert json.loads((run / "metrics.json").read_text())["test/images"] == 40
    run = fit("--model", "MLP", *SYNTHETIC, "--trainer.limit_test_batches=0")
    assert not (run / "metrics.json").exists()


def test_limited_evaluation_says_how_many(a_run, capsys):
    run, _, _ = a_run
    options = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run / "checkpoints/best.ckpt")]
    limits = ["--data.eval_batch_size=16", "--trainer.limit_test_batches=1"]
    assert cli.main(["test", *options, *limits]) == 0
    assert "16 test images" in capsys.readouterr().out


def test_epochs_without_validation_have_no_figures_of_it():
    run = fit("--model", "MLP", *SYNTHETIC, "--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=2")
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["val/acc"] != "" for row in rows] == [False, True, False]


def test_an_empty_section_changes_nothing():
    Path("five.yaml").write_text("trainer:\n  max_epochs: 5\n")
    Path("empty.yaml").write_text("trainer:\n  # max_epochs: 1\n")
    run = fit("--model", "MLP", "--config", "synthetic", *TINY, "--config", "five.yaml", "--config", "empty.yaml")
    assert config_of(run)["trainer"]["max_epochs"] == 5


def test_bfloat16():
    run = fit("--config", "improved_cnn", *SYNTHETIC, "--trainer.precision=bf16-true", "--trainer.max_epochs=1")
    assert json.loads((run / "metrics.json").read_text())["test/loss"] is not None


def test_checkpoint_names_its_data(a_run):
    run, _, _ = a_run
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert content["CIFAR10DataModule"].items() >= {"source": "synthetic", "task": "multiclass"}.items()


MY_MODEL = """
from torch import nn
from zoo.core.torch_classifier import TorchClassifier

class Mine(TorchClassifier):
    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs))
"""


def test_a_model_of_ones_own():
    Path("my_model.py").write_text(MY_MODEL)
    run = fit("--model", "my_model.Mine", *SYNTHETIC)
    assert config_of(run)["model"]["class_path"] == "my_model.Mine"


@pytest.mark.skipif(shutil.which("script") is None, reason="needs `script`, which gives a program a terminal")
def test_the_bar_on_a_terminal():
    """Its line of an epoch stands on a line of its own."""
    command = shlex.join([sys.executable, cli.__file__, "fit", "--model", "MLP", *SYNTHETIC])
    subprocess.run(
        ["script", "-qec", f"stty cols 120 rows 40; {command}", "typescript"],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    text = Path("typescript").read_text(errors="replace").replace("\r\n", "\n")
    assert "%|" in text
    assert "v_num" not in text
    (line,) = [line for line in text.split("\n") if "epoch 1/2" in line]
    assert line.split("\r")[-1].startswith("epoch 1/2")


def test_fast_dev_run_writes_nothing():
    assert cli.main(["fit", "--model", "MLP", *SYNTHETIC, "--trainer.fast_dev_run=true"]) == 0
    assert not list(Path().iterdir())


def test_logger_and_checkpoints_can_be_switched_off():
    run = fit("--model", "MLP", *SYNTHETIC, "--trainer.logger=false", "--trainer.enable_checkpointing=false")
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "metrics.csv", "metrics.json", "confusion_matrix.png", "learning_curves.png",
    }  # fmt: skip


def test_collapse_overlay_counts_dead_units():
    run = fit("--config", "cnn", "--config", "collapse", *SYNTHETIC)
    model, data = load(str(run / "checkpoints" / "last.ckpt")).model, tiny_data()
    data.setup("fit")
    relus = [name for name, module in model.named_modules() if isinstance(module, torch.nn.ReLU)]
    found = layer_outputs.outputs(model, data.val.images.permute(0, 3, 1, 2), relus).values()
    dead = torch.cat([(output == 0).movedim(1, 0).flatten(1).all(1) for output in found])
    assert 0 < dead.sum() < len(dead)
    *_, last = csv.DictReader((run / "metrics.csv").open())
    assert float(last["val/dead_units"]) == pytest.approx(dead.double().mean().item())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_without_torch(arguments, capsys):
    code = f"import cli, sys; cli.main({arguments}); assert not {{'torch', 'lightning', 'numpy'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fit --config configs/improved_cnn.yaml" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [["fit", "--help"], ["test", "-h"], ["validate", "--config", "cnn", "--help"]])
def test_short_help_without_torch(arguments):
    code = f"import cli, sys; assert cli.main({arguments}) == 0; assert not {{'torch', 'lightning'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: python cli.py {arguments[0]} " in done.stdout
    assert "--help trainer" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["fti"], "Did you mean 'fit'?"),
        (["fit", "--model", "CNM"], "Did you mean 'CNN'?"),
        (["test", "--model=CNM"], "Did you mean 'CNN'?"),
        (["fit", "--config", "cn"], "Did you mean 'cnn'?"),
        (["fit", "-c", "misspelled.yaml"], "Did you mean 'ImprovedCNN'?"),
        (["fit", "-c", "broken.yaml"], "line 2"),
        (["--version"], "cifar10-zoo "),
    ],
)
def test_misspelled_names_are_told_without_torch(arguments, culprit):
    Path("misspelled.yaml").write_text("model:\n  class_path: ImprovdCNN\n")
    Path("broken.yaml").write_text("model: [\n")
    code = f"import cli, sys; code = cli.main({arguments}); assert 'torch' not in sys.modules; sys.exit(code)"
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert culprit in done.stdout + done.stderr
    assert done.returncode == (0 if arguments == ["--version"] else 2)


@pytest.mark.parametrize(
    ("section", "there", "not_there"),
    [
        ("all", ["--data.crop_padding", "--trainer.max_time", "--optimizer"], "usage:"),
        ("data", ["--data.crop_padding", "--data.mirrors"], "--trainer.max_epochs"),
        ("trainer", ["--trainer.max_epochs", "--trainer.plugins"], "--data.crop_padding"),
    ],
)
def test_long_help(section, there, not_there, capsys):
    assert cli.main(["fit", "--help", section]) == 0
    found = capsys.readouterr().out
    assert all(option in found for option in there)
    assert not_there not in found


@pytest.mark.parametrize("command", help.SUMMARY)
def test_short_help_is_true(command, capsys):
    """Every option that it has is there, with the default that it says."""
    data_sets = ("CIFAR10", "CIFAR100", "ImageFolder")
    for section in (["all"], *(["data", "--data", name] for name in data_sets)):
        assert cli.main([command, "--help", *section]) == 0
    blocks = re.split(r"\n  (?=-)", capsys.readouterr().out)
    told = {words[0].rstrip(","): " ".join(words) for block in blocks if (words := block.split())}
    checked = 0
    for option, text in itertools.chain(*help.listed(command).values()):
        name = option.split()[0]
        if not name.startswith(("--model", "--optimizer.", "--config", "--resume", "--ckpt")):  # read elsewhere
            assert name in told
            if default := re.search(r"\(default (\w[\w-]*)\)", text):
                checked += 1
                assert re.search(rf"default: \W*{default[1]}\W", told[name], re.IGNORECASE) or name == "--lr_schedule"
    assert checked >= 5
    assert max(map(len, help.page(command).splitlines())) <= 100


@pytest.mark.parametrize("command", [["--help"], ["list"], ["list", "--help"]])
@pytest.mark.parametrize("buffered", [True, False])
def test_an_output_that_takes_nothing(command, buffered):
    """As the closed end of a pipe, or a disk that is full: with Python's buffer, it shows only at the end."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") as full:
        for place, code, error in ((write, 141, ""), (full, 1, "error: the output cannot be written")):
            done = subprocess.run(
                [sys.executable, cli.__file__, *command],
                env=environment,
                stdout=place,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert done.returncode == code
            assert done.stderr.startswith(error)
            assert done.stderr.count("\n") == bool(error)
    os.close(write)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("cifar10-zoo ")


# The processes of ddp are started in tests/training/test_ddp.py: they would outlive a test of this process.
@pytest.mark.parametrize("name", [name for name in configs.shipped() if name != "ddp"])
def test_every_shipped_config_runs(name):
    base = [] if (configs.read(configs.find(name)).get("model")) else ["--config", "cnn"]
    options = ["--data.source=synthetic", *TINY, "--trainer.fast_dev_run=true"]
    assert cli.main(["fit", *base, "--config", f"configs/{name}.yaml", *options]) == 0


def test_configs_are_shipped():
    assert {"cnn", "improved_cnn", "linear", "mlp", "synthetic"} <= set(configs.shipped())


@pytest.mark.real_data
def test_real_data(real_data):
    """CNN learns from a fifth of real CIFAR-10 in one epoch."""
    options = ["--data.data_dir", str(real_data), "--data.verify_checksums=false", "--data.train_size=10000"]
    run = fit("--config", "cnn", *options, "--data.test_size=2000", "--trainer.max_epochs=1")
    assert json.loads((run / "metrics.json").read_text())["test/acc"] > 0.3


@pytest.mark.parametrize(("options", "seed"), [([], 3), (["--data.seed=5"], 5)], ids=["by default", "its own"])
def test_the_images_have_the_seed_of_the_run(options, seed):

    fast = ["--trainer.fast_dev_run=true", "--seed_everything=3"]
    run = run_command(CommandLine(["fit", "--model=MLP", *SYNTHETIC, *fast, *options]))
    assert run.data.train_dataloader().sampler.seed == seed
    assert run.data.train.seed == seed, "of the augmentation"
    assert [callback.seed for callback in run.trainer.callbacks if isinstance(callback, StepSeed)] == [3]
