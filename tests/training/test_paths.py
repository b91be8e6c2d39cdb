"""`~` at the start of a path means the home directory wherever a user can give a path."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

import cli
from datamodules import download
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.paths import default_data_dir, user_path
from tests.benchmarks import command
from zoo.commands import compare, config, data, evaluate, explain, export, predict, speedrun
from zoo.runs import configs
from zoo.scratch import __main__ as lesson
from zoo.trained import trained_model

TINY = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--model=MLP"]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home directory beside the working directory, which must stay free of a folder called `~`."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_user_path(home):
    assert user_path("~/cifar") == home / "cifar"
    assert user_path("~") == home
    assert user_path(Path("~/cifar")) == home / "cifar"
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x"), "as a shell leaves it"
    with pytest.raises(InputError, match=r"'a\\x00b' holds a null character"):
        user_path("a\0b")


def test_data_dir(home, official_layout, monkeypatch):
    (home / "cifar").symlink_to(official_layout)
    monkeypatch.setenv("CIFAR10_DIR", "~/cifar")
    assert default_data_dir() == home / "cifar"
    assert CIFAR10DataModule("~/cifar").data_dir == home / "cifar"
    assert CIFAR10.find("~/cifar") == home / "cifar" / CIFAR10.folder
    assert len(CIFAR10.read("~/cifar", "test", verify_checksums=False).labels) == 10_000
    assert download.fetch(CIFAR10, "~/cifar") == home / "cifar" / CIFAR10.folder, "nothing is downloaded"


def test_a_run_lies_in_one_place_and_config_yaml_has_its_full_paths(home, official_layout):
    (home / "cifar").symlink_to(official_layout)
    (home / "tiny.yaml").write_text(
        "data: {data_dir: ~/cifar}\n"
        "trainer:\n"
        "  max_epochs: 1\n"
        "  logger:\n"
        "  - class_path: lightning.pytorch.loggers.CSVLogger\n"
        "    init_args: {save_dir: ~/logs}\n"
    )
    assert cli.main(["fit", *TINY, "--config=~/tiny.yaml", "--runs_dir=~/runs"]) == 0
    assert not any(Path().iterdir()), "nothing is written into the working directory"
    (run,) = (home / "runs").glob("*/*")
    assert list((home / "logs").rglob("metrics.csv"))
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["runs_dir"] == str(home / "runs")
    assert written["data"]["data_dir"] == str(home / "cifar")

    relative = run.relative_to(home)
    assert trained_model.load(f"~/{relative}").path == run / "checkpoints/best.ckpt"
    assert trained_model.load("best", Path("~/runs")).path == run / "checkpoints/best.ckpt"
    named_again = "--config=~/tiny.yaml"  # its logger writes outside of the run
    assert cli.main(["fit", f"--resume=~/{relative}", named_again, "--trainer.max_epochs=2"]) == 0
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 2
    assert cli.main(["test", f"--ckpt=~/{relative}/checkpoints/last.ckpt"]) == 0
    assert cli.main(["compare", f"~/{relative}", "--plot=~/curves.png"]) == 0
    assert (home / "curves.png").is_file()
    Image.new("RGB", (40, 40)).save(home / "photo.png")
    assert cli.main(["predict", "~/photo.png", f"--ckpt=~/{relative}", "--out=~/found.csv", "--format=csv"]) == 0
    assert str(home / "photo.png") in (home / "found.csv").read_text()
    assert not any(Path().iterdir())


def test_every_option_of_a_path(home):
    assert evaluate.parse(["--out=~/o", "--cifar10_c=~/c", "--data_dir=~/d"]).out == home / "o"
    assert evaluate.parse(["--cifar10_c=~/c"]).cifar10_c == home / "c"
    assert explain.parse(["--out=~/o"]).out == home / "o"
    assert export.parse(["--format=npz", "--out=~/o.npz"]).out == home / "o.npz"
    assert predict.parse(["x.png", "--sheet=~/s.png", "--runs_dir=~/r"]).sheet == home / "s.png"
    assert predict.parse(["x.png", "--runs_dir=~/r"]).runs_dir == home / "r"
    assert config.parse(["MLP", "--out=~/c.yaml"]).out == home / "c.yaml"
    assert compare.parse(["runs", "--plot=~/p.png"]).plot == home / "p.png"
    assert data.parse(["show", "--out=~/s.png"]).out == home / "s.png"
    assert data.parse(["check", "--data_dir=~/d"]).data_dir == home / "d"
    assert command.parse(["record", "--script=~/a.py"]).script == home / "a.py"
    assert speedrun.parse(["--json=~/s.json"])[0].json == home / "s.json"
    assert lesson.build_parser().parse_args(["--data_dir=~/d"]).data_dir == home / "d"
    (home / "mine.yaml").write_text("model: MLP")
    assert configs.find("~/mine.yaml") == home / "mine.yaml"
