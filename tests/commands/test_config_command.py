"""`config`: what it writes is run."""

import inspect
import itertools
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

import cli
from tests import plugins
from tests.helpers import MODELS, refusal
from zoo.catalogue import model_facts, registry
from zoo.core import schedules
from zoo.core.about import FROM_DATA
from zoo.runs import configs

TINY = ["--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--data.batch_size=16"]
QUICK = ["--data.source=synthetic", *TINY, "--trainer.fast_dev_run=true"]


@pytest.fixture
def run(capsys):
    """Run a command that succeeds; return what it prints."""

    def run(*arguments: str) -> str:
        assert cli.main(list(arguments)) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def whole(capsys):
    """Return the whole config that `fit` makes of one, with all defaults."""

    def whole(config: str) -> dict:
        assert cli.main(["fit", "--config", config, "--print_config"]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    return whole


@pytest.mark.parametrize("name", MODELS)
def test_it_runs(run, name):
    Path("my.yaml").write_text(run("config", name))
    assert f"{name} on synthetic" in run("fit", "--config", "my.yaml", *QUICK)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_models_own_config(run, whole, name):
    """To the last option, but for the name of the runs."""
    own = model_facts.known(registry.find(name)).about.config
    Path("my.yaml").write_text(run("config", name))
    mine, shipped = whole("my.yaml"), whole(own)
    assert shipped["optimizer"]["init_args"]["lr"]
    assert {**mine, "name": None} == {**shipped, "name": None}
    assert mine["name"] is None


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_is_there_with_what_it_means(run, name):
    text = run("config", name)
    config = yaml.safe_load(text)
    assert config["model"]["class_path"] == name
    found = json.loads(run("info", name, "--json"))
    arguments = [argument["name"] for argument in found["arguments"] if argument["name"] not in FROM_DATA]
    assert list(config["model"].get("init_args", {})) == arguments
    assert {"batch_size", "crop_padding", "horizontal_flip", "val_size", "source", "data_dir"} <= set(config["data"])
    assert {"lr", "weight_decay"} <= set(config["optimizer"]["init_args"])
    assert not {"foreach", "fused", "params"} & set(config["optimizer"]["init_args"])
    schedule = getattr(schedules, config["lr_schedule"]["class_path"].rpartition(".")[2])
    assert set(config["lr_schedule"]["init_args"]) == set(inspect.signature(schedule).parameters)
    assert config["trainer"]["max_epochs"] >= 8
    assert max(map(len, text.splitlines())) <= 100
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r" +(?!class_path|init_args)\w+:", line):
            assert before.lstrip().startswith("# "), f"{line} has no comment"


def test_comments(run):
    text = run("config", "NumPyMLP")
    assert "    # of the weights, see `zoo.scratch.initializers`. One of small_normal, glorot, he.\n" in text
    assert "  # training images per step (default 128)\n  batch_size: 64\n" in text
    text = run("config", "ImprovedCNN")
    assert "    # coefficients used for computing running averages of gradient and its square\n" in text
    assert "#   python cli.py fit --config FILE\n" in text
    assert "`_" not in text


def test_a_file_is_written_and_never_overwritten(run, capsys):
    assert "python cli.py fit --config 'new folder/my.yaml'" in run("config", "CNN", "--out", "new folder/my.yaml")
    path = Path("new folder/my.yaml")
    assert path.read_text().replace("'new folder/my.yaml'", "FILE") == run("config", "CNN")
    for taken in (path, path.parent):
        before = path.read_bytes()
        assert cli.main(["config", "MLP", "--out", str(taken)]) == 2
        assert "is there already: give another name" in capsys.readouterr().err
        assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written(capsys):
    Path("file").write_text("")
    assert cli.main(["config", "CNN", "--out", "file/my.yaml"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: --out file/my.yaml cannot be written: ")
    assert output.err.count("\n") == 1


def test_a_plugin(run, whole, monkeypatch, tmp_path):
    plugins.install(monkeypatch, tmp_path / "site")
    text = run("config", "TinyNet")
    Path("my.yaml").write_text(text)
    assert "    # channels of the convolution.\n    width: 4\n" in text
    assert "    # size: <Size.small: 8>\n" in text
    assert "that are not tuned" in text
    assert "TinyNet on synthetic" in run("fit", "--config", "my.yaml", *QUICK)
    found = whole("my.yaml")
    assert found["optimizer"]["class_path"] == "torch.optim.AdamW"
    assert found["optimizer"]["init_args"]["lr"] == 1e-3
    assert found["lr_schedule"]["class_path"] == "zoo.core.schedules.Cosine"


@pytest.mark.parametrize("other", ["mlp", "improved_cnn"])
def test_a_plugin_that_is_trained_as_another_model(run, whole, monkeypatch, tmp_path, other):
    """It takes the training, not the arguments."""
    code = plugins.TINY.replace('family="tiny"', f'config="{other}"')
    plugins.install(monkeypatch, tmp_path / "site", code=code)
    Path("my.yaml").write_text(run("config", "TinyNet"))
    mine, theirs = whole("my.yaml"), whole(other)
    assert mine.pop("model") != theirs.pop("model")
    assert mine == theirs


def test_an_argument_without_a_default_has_to_be_given(run, capsys, monkeypatch, tmp_path):
    code = plugins.TINY.replace("width: int = 4", "width: int")
    plugins.install(monkeypatch, tmp_path / "site", code=code)
    text = run("config", "TinyNet")
    assert "  # init_args:\n" in text
    assert "    # width:   # has no default: give a value\n" in text
    Path("my.yaml").write_text(text)
    assert cli.main(["fit", "--config", "my.yaml", *QUICK]) == 2
    assert "width" in capsys.readouterr().err
    Path("my.yaml").write_text(text.replace("# init_args:", "init_args:").replace("# width:", "width: 2"))
    assert "TinyNet on synthetic" in run("fit", "--config", "my.yaml", *QUICK)


CASES = {
    "config CMN": ["unknown model 'CMN'", "Did you mean 'CNN'?"],
    "config": ["config needs a model", "CNN, ImprovedCNN, "],
    "config CNN --oot x": ["unknown option '--oot'", "Did you mean '--out'?"],
    "config CNN x.yaml": ["'x.yaml'"],
    "config CNN --out": ["config: ", "--out", "expected one argument"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(command, capsys):
    line = refusal(capsys, *command.split())
    for text in CASES[command]:
        assert text in line
    assert not list(Path().iterdir())


GADGET = {"class_path": "foreign_code.Thing", "init_args": {"args": "touch it-ran", "shell": True}}
FOREIGN = {
    "an optimizer": ({"optimizer": GADGET}, "optimizer.class_path"),
    "an argument": (
        {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": {"x": [GADGET]}}}},
        "optimizer.init_args.lr.x.class_path",
    ),
    "a callback": ({"trainer": {"callbacks": [GADGET]}}, "trainer.callbacks.class_path"),
    "a callback's name": ({"trainer": {"callbacks+": ["foreign_code.Thing"]}}, "trainer.callbacks+"),
    "a model": ({"model": "foreign_code.Thing"}, "model.class_path"),
    "a function": ({"model": {"class_path": "CNN", "init_args": {"x": "foreign_code.Thing"}}}, "model.init_args.x"),
    "a plugin of the trainer": ({"trainer": {"plugins": [GADGET]}}, "trainer.plugins.class_path"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_check_names_foreign_code_and_imports_none(case, capsys, monkeypatch):
    config, key = FOREIGN[case]
    monkeypatch.syspath_prepend(Path.cwd())
    Path("foreign_code.py").write_text("open('it-ran', 'w')")
    Path("theirs.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["config", "--check", "theirs.yaml"]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{key}: foreign_code.Thing"
    assert "1 class or function" in last
    assert "foreign_code" not in sys.modules
    assert not Path("it-ran").exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("{class_path: foreign_code.Thing}", "{class_path: foreign_code.Thing}"),
        ("more.yaml", "more.yaml"),
        ("os.system", "os.system"),
        ("torch.hub.load", "torch.hub.load"),
    ],
)
def test_check_names_what_a_parser_would_read_out_of_a_text(value, named, capsys):
    Path("more.yaml").write_text("class_path: foreign_code.Thing")
    Path("theirs.yaml").write_text(yaml.safe_dump({"trainer": {"strategy": value}}))
    assert cli.main(["config", "--check", "theirs.yaml"]) == 1
    assert capsys.readouterr().out.startswith(f"trainer.strategy: {named}\n")


def test_check_of_known_classes(capsys):
    Path("own.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": "EarlyStopping", "strategy": "auto"}}))
    for name in ("improved_cnn", "speedrun94", "histograms", "own.yaml"):
        assert cli.main(["config", "--check", name]) == 0
        assert "names no classes but known ones" in capsys.readouterr().out


def test_print_config_builds_nothing():
    """It imports what the config names, which is why a stranger's is checked first."""
    text = (
        "from lightning.pytorch.callbacks import Callback\n\n\nclass Loud(Callback):\n    def __init__(self) -> None:\n"
    )
    Path("loud_callback.py").write_text(f"{text}        open('it-ran', 'w').close()\n")
    callbacks = [{"class_path": "loud_callback.Loud"}]
    Path("theirs.yaml").write_text(yaml.safe_dump({"model": "MLP", "trainer": {"callbacks": callbacks}}))
    assert cli.main(["fit", "--config", "theirs.yaml", "--print_config"]) == 0
    assert not Path("it-ran").exists()


def test_the_base_class_of_optimizers_is_refused(capsys):
    """Its argument `defaults` takes anything: a class inside it is not built."""
    gadget = {"class_path": "subprocess.Popen", "init_args": {"args": "touch it-ran", "shell": True}}
    optimizer = {"class_path": "torch.optim.Optimizer", "init_args": {"defaults": {"lr": 0.1, "x": gadget}}}
    Path("theirs.yaml").write_text(yaml.safe_dump({"model": "MLP", "optimizer": optimizer}))
    assert cli.main(["fit", "--config", "theirs.yaml", *QUICK]) == 2
    assert "optimizer 'torch.optim.Optimizer' is abstract" in capsys.readouterr().err
    assert not Path("it-ran").exists()


@pytest.mark.parametrize("key", ["early_stopping", "name", "data.seed", "data.mirrors"])
@pytest.mark.parametrize("form", ["class", "list", "text"])
def test_check_names_a_class_wherever_it_stands(key, form, capsys):
    foreign = {"class_path": "evil.Evil"}
    value = {"class": foreign, "list": [foreign], "text": "{class_path: evil.Evil}"}[form]
    section, _, name = key.partition(".")
    Path("theirs.yaml").write_text(yaml.safe_dump({section: {name: value} if name else value}))
    assert cli.main(["config", "--check", "theirs.yaml"]) == 1
    said = capsys.readouterr().out
    assert said.startswith(key)
    assert "evil.Evil" in said


@pytest.mark.parametrize(
    ("data", "own"), [("FashionMNIST", {}), ("CIFAR100", {"labels": "fine"}), ("ImageFolder", {"channels": 3})]
)
def test_for_other_data(run, data, own):
    """The config names the data set, and has its options and no other's."""
    config = yaml.safe_load(run("config", "CNN", "--data", data))["data"]
    assert config["class_path"] == data
    assert own.items() <= config.items()
    assert "source" not in config
    assert ("labels" in config) == (data == "CIFAR100")
    assert config["crop_padding"] == configs.read(configs.find("cnn"))["data"]["crop_padding"]
