"""What a checkpoint and the folder of a run may say: plain values, and classes of a list. Nothing of theirs is run."""

import copy
import inspect
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import cli
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from tests import plugins
from zoo.catalogue import registry
from zoo.exporting import safetensors
from zoo.runs import checkpoints, configs, options, resume, run_directory, trust
from zoo.trained import trained_model
from zoo.training.callbacks.ending import Ending
from zoo.training.trainer import ZooTrainer

TINY = ["--data.source=synthetic", "--data.train_size=16", "--data.val_size=8", "--data.test_size=8"]
MLP = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", *TINY, "--trainer.enable_model_summary=false"]
GADGET = {"class_path": "subprocess.Popen", "init_args": {"args": "touch it-ran", "shell": True}}
# In the places and the disguises in which a parser finds it.
DISGUISES: dict[str, Any] = {
    "dictionary": GADGET,
    "inside a dictionary": {"x": GADGET},
    "inside a list": [1, [GADGET]],
    "keyword arguments": {"dict_kwargs": {"x": 1}},
    "a dotted key": {"x.class_path": "subprocess.Popen"},
    "YAML": json.dumps(GADGET),
    "YAML inside a list": [yaml.safe_dump(GADGET)],
    "escaped YAML": '{"class\\x5fpath": "subprocess.Popen"}',
}
SOURCE = trust.Source("theirs", "--config FILE")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of one epoch. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        assert cli.main([*MLP, "--trainer.max_epochs=1"]) == 0
        (run,) = Path("runs").glob("*/*")
        return run.resolve()


@pytest.fixture
def theirs(whole) -> Path:
    """A copy of it, as a stranger would hand it over."""
    shutil.copytree(whole, "theirs")
    return Path("theirs")


def change(run: Path, **values: Any) -> None:
    """Put values, by key or `section__key`, into the config of a run and of its checkpoints."""

    def changed(config: dict) -> dict:
        config = copy.deepcopy(config)
        for key, value in values.items():
            *above, last = key.split("__")
            place = config
            for name in above:
                place = place[name]
            place[last] = value
        return config

    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(changed(config)))
    for path in run.glob("checkpoints/*"):
        content = torch.load(path, weights_only=True)
        if values.get("data__source") == CIFAR10.name:
            content["CIFAR10DataModule"]["class_names"] = list(CIFAR10.class_names)
        torch.save(content | {"config": changed(content["config"])}, path)


def refused(command: list[str], capsys) -> str:
    """Run a command that is refused: nothing is run, and nothing is written. Return its line."""
    before = snapshot()
    capsys.readouterr()
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert snapshot() == before
    return error


def snapshot() -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for folder, folders, names in os.walk("."):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            found[path] = (
                os.readlink(path) if os.path.islink(path) else Path(path).read_bytes() if name in names else ""
            )
    return found


# Commands that go on from what a stranger made.
RESUME = ["fit", "--resume=theirs", "--trainer.max_epochs=2"]
FROM = ["fit", "--ckpt=theirs", "--trainer.max_epochs=2"]
BASE_OPTIMIZER = {"class_path": "torch.optim.Optimizer", "init_args": {"defaults": {"lr": 0.1, "x": GADGET}}}


@pytest.mark.parametrize("command", [RESUME, FROM], ids=["resume", "ckpt"])
class TestGadgets:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"optimizer": BASE_OPTIMIZER}, ["optimizer names torch.optim.Optimizer"]),
            ({"optimizer": {"class_path": "evil.SGD"}}, ["optimizer names evil.SGD"]),
            ({"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": GADGET}}}, ["subprocess.Popen"]),
            ({"optimizer": {"class_path": "torch.optim.SGD", "dict_kwargs": {"lr": 1}}}, ["dict_kwargs"]),
            ({"lr_schedule": {"class_path": "evil.Cosine"}}, ["lr_schedule names evil.Cosine"]),
            (
                {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr.class_path": "evil.C"}}},
                ["lr.class_path"],
            ),
            ({"data__seed.class_path": "evil.C"}, ["data has the argument seed.class_path"]),
            ({"data__seed": GADGET}, ["data.seed names subprocess.Popen"]),
            ({"data": {"class_path": "evil.Data", "init_args": {}}}, ["data"]),
            ({"early_stopping": GADGET}, ["early_stopping names subprocess.Popen"]),
            ({"trainer__precision": GADGET}, ["trainer.precision names subprocess.Popen"]),
        ],
    )
    def test_is_refused_in_one_line(self, theirs, command, changes, words, capsys):
        Path("evil.py").write_text("open('it-ran', 'w')")
        change(theirs, **changes)
        error = refused(command, capsys)
        for word in words:
            assert word in error
        assert "evil" not in sys.modules

    def test_a_class_that_the_command_line_replaces_is_not_looked_at(self, theirs, command):
        Path("evil.py").write_text("open('it-ran', 'w')")
        change(theirs, optimizer={"class_path": "evil.SGD", "init_args": {"lr": GADGET}})
        assert cli.main([*command, "--optimizer=SGD", "--optimizer.lr=0.1"]) == 0
        assert not Path("it-ran").exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"trainer__callbacks": [{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": -1}}]}, "SignalAt"),
        ({"trainer__callbacks": ["lightning.pytorch.callbacks.LambdaCallback"]}, "LambdaCallback"),
        ({"trainer__callbacks": "evil.yaml"}, "evil.yaml"),
        ({"trainer__logger": {"class_path": "evil.Logger"}}, "evil.Logger"),
        ({"trainer__strategy": {"class_path": "evil.Strategy"}}, "evil.Strategy"),
        ({"trainer__strategy": "evil.Strategy"}, "trainer.strategy is evil.Strategy"),
        ({"trainer__accelerator": "evil.yaml"}, "trainer.accelerator is evil.yaml"),
        ({"trainer__profiler": "evil.Profiler"}, "trainer.profiler is evil.Profiler"),
        ({"trainer__plugins": ["evil.Plugin"]}, "trainer.plugins"),
        ({"trainer__model_registry": "theirs/model"}, "trainer.model_registry"),
        ({"trainer__default_root_dir": "elsewhere"}, "trainer.default_root_dir"),
        ({"model": "evil.MLP"}, "model names evil.MLP"),
        ({"model": {"class_path": "evil.MLP"}}, "model names evil.MLP"),
    ],
)
def test_what_a_run_may_not_name(theirs, changes, word, capsys):
    Path("evil.py").write_text("open('it-ran', 'w')")
    Path("evil.yaml").write_text("{class_path: evil.Thing}")
    change(theirs, **changes)
    error = refused(RESUME, capsys)
    assert word in error
    assert "name it again: --resume theirs --config FILE, where FILE may be theirs/config.yaml" in error
    assert "evil" not in sys.modules


def test_ones_own_callback_is_named_again(theirs):
    own = [{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": -1}}]
    change(theirs, trainer__callbacks=own)
    assert cli.main([*RESUME, "--config=theirs/config.yaml"]) == 0
    assert yaml.safe_load((theirs / "config.yaml").read_text())["trainer"]["callbacks"][0]["class_path"] in str(own)


@pytest.mark.parametrize("key", ["callbacks", "logger"])
def test_a_single_one_is_named_again(theirs, key, capsys):
    """As `--trainer.callbacks my_module.MyCallback` keeps it: without a list."""
    own = {
        "callbacks": {"class_path": "tests.callbacks.SignalAt", "init_args": {"step": -1}},
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "mine"}},
    }[key]
    change(theirs, **{f"trainer__{key}": own})
    refused(RESUME, capsys)
    assert cli.main([*RESUME, "--config=theirs/config.yaml"]) == 0
    assert yaml.safe_load((theirs / "config.yaml").read_text())["trainer"][key]["class_path"] == own["class_path"]


def test_an_evaluation_needs_no_optimizer(theirs, capsys):
    change(theirs, optimizer={"class_path": "evil.SGD"}, lr_schedule={"class_path": "evil.Cosine"})
    for command in ("test", "validate"):
        assert cli.main([command, "--ckpt=theirs"]) == 0
    assert "evil.SGD" in refused(FROM, capsys)


def test_what_is_offered_for_copying_runs_no_code_of_theirs(theirs, capsys):
    place = "x; touch it-ran"
    Path(place).mkdir()
    theirs = theirs.rename(Path(place, "theirs"))
    change(theirs, runs_dir="$(touch it-ran)")
    assert cli.main(["fit", f"--resume={theirs}", "--trainer.max_epochs=2"]) == 0
    said = capsys.readouterr()
    assert "\nTensorBoard: tensorboard --logdir 'x; touch it-ran' --" in said.out
    assert "$(" not in said.out + said.err
    ending = Ending()
    ending.path = theirs / "checkpoints/last.ckpt"
    assert f"fit --resume '{theirs}' --trainer.max_time" in ending.how_to_resume()
    change(theirs, trainer__plugins=["evil"])
    assert "--resume 'x; touch it-ran/theirs' --config" in refused(["fit", f"--resume={theirs}"], capsys)


OWN = """
import torch
from zoo.models.mlp import MLP

class OwnMLP(MLP):
    pass

class OwnSGD(torch.optim.SGD):
    pass
"""


def test_ones_own_model_and_optimizer_are_named_again(monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    Path("own_code.py").write_text(OWN)
    options = ["--optimizer=own_code.OwnSGD", "--optimizer.lr=0.1"]
    named = ["--model=own_code.OwnMLP", *options]
    assert cli.main([MLP[0], *named, *MLP[2:], "--trainer.max_epochs=1"]) == 0
    (run,) = Path("runs").glob("*/*")
    resume = ["fit", f"--resume={run}"]
    assert "model names own_code.OwnMLP" in refused([*resume, "--trainer.max_epochs=2"], capsys)
    assert "optimizer names own_code.OwnSGD" in refused([*resume, "--model=own_code.OwnMLP"], capsys)
    assert cli.main([*resume, *named, "--trainer.max_epochs=2"]) == 0
    assert cli.main(["fit", "--ckpt=last", *named, "--trainer.max_epochs=3"]) == 0
    assert trained_model.load(run, model="own_code.OwnMLP").model.hparams.hidden_sizes == [4], (
        "no optimizer is wanted there"
    )


# All arguments of all classes.


def named() -> Iterator[tuple[str, str, type]]:
    """All classes that a checkpoint or a run can name: the key that names it, its path, and the class."""
    for kind in trust.LISTS:
        for path, cls in trust.classes(kind).items():
            yield kind, path, cls
    for entry in registry.entries().values():
        yield "model", entry.class_path, registry.load(entry.name)


def config_with(kind: str, value: Any) -> dict:
    return {"trainer": {kind: [value]}} if kind in ("callbacks", "logger") else {kind: value}


def test_the_lists_name_classes_of_their_kind():
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

    from zoo.core.classifier import Classifier
    from zoo.core.schedules import Schedule

    kinds = {
        "optimizer": torch.optim.Optimizer, "lr_schedule": Schedule, "callbacks": Callback, "logger": Logger,
        "model": Classifier,
    }  # fmt: skip
    for kind, path, cls in named():
        assert issubclass(cls, kinds[kind]), path
        assert not inspect.isabstract(cls), path
        assert configs.import_class(path) is cls
    assert torch.optim.Optimizer not in trust.classes("optimizer").values()


def test_the_lists_have_what_shipped_configs_name():
    for name in configs.shipped():
        config = configs.expand(configs.read(configs.find(name)))
        trust.check(config, SOURCE)
        assert list(trust.names(config)) == []


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_argument_of_any_class_takes_a_gadget(disguise):
    for kind, path, cls in named():
        for argument in [*inspect.signature(cls).parameters, "made_up"]:
            value = {"class_path": path, "init_args": {argument: copy.deepcopy(DISGUISES[disguise])}}
            with pytest.raises(InputError, match="theirs: "):
                trust.check(config_with(kind, value), SOURCE)
    for section, cls in (("data", CIFAR10DataModule), ("trainer", ZooTrainer)):
        arguments = {*inspect.signature(cls).parameters, *inspect.signature(cls.__mro__[1]).parameters}
        arguments -= {"data_set", "options"}  # of data modules, and no options of a config
        for argument in arguments:
            with pytest.raises(InputError, match="theirs: "):
                trust.check({section: {argument: copy.deepcopy(DISGUISES[disguise])}}, SOURCE)
    for key in {*options.KEYS} - {"trainer"}:
        with pytest.raises(InputError, match="theirs: "):
            trust.check({key: copy.deepcopy(DISGUISES[disguise])}, SOURCE)


@pytest.mark.parametrize("value", ["os.system", "builtins.exit", "evil", "evil.yaml", {"x": 1}, ["os.system"]])
def test_a_text_stands_only_where_a_text_is_asked_for(value):
    """Where an object is, jsonargparse takes a text for the path of a function, a class, or a file."""
    Path("evil").write_text("{class_path: os.system}")
    shutil.copy("evil", "evil.yaml")
    for kind, path, cls in named():
        for name, parameter in inspect.signature(cls).parameters.items():
            if "Callable" in str(parameter.annotation) or "Tensor" in str(parameter.annotation):
                init_args = {name: value}
                with pytest.raises(InputError, match="may name code"):
                    trust.check(config_with(kind, {"class_path": path, "init_args": init_args}), SOURCE)


OPTIONS = """
from collections.abc import Callable
from typing import Any
from torch import nn
from zoo.core.torch_classifier import TorchClassifier

class OptionsNet(TorchClassifier):
    def __init__(
        self, options: dict[str, Any] | None = None, anything: Any = None, untyped=None, names: list[str] = [],
        activation: type[nn.Module] = nn.ReLU, function: Callable | None = None, layer: nn.Module | None = None,
        num_classes: int = 10,
    ) -> None:
        super().__init__(num_classes)
        self.options = options
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
"""
NESTED = {"a": [1, {"b": "c", "d": None}], "e": 0.5}


class TestAModelWithOptions:
    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch, tmp_path):
        plugins.install(monkeypatch, tmp_path / "packages", OPTIONS, ["OptionsNet"], "options-net")

    def test_plain_options_go_through_every_command(self):
        options = f"--model.options={json.dumps(NESTED)}"
        assert cli.main(["fit", "--model=OptionsNet", options, *MLP[3:], "--trainer.max_epochs=1"]) == 0
        assert trained_model.load("best").model.options == NESTED
        assert cli.main(["fit", "--resume", "--trainer.max_epochs=2"]) == 0
        assert cli.main(["fit", "--ckpt=best", "--trainer.max_epochs=3"]) == 0

    @pytest.mark.parametrize("disguise", DISGUISES)
    def test_a_gadget_does_not(self, disguise):
        arguments = ["options", "anything", "untyped", "names", "activation", "function", "layer", "num_classes"]
        for argument, nested in itertools.product(arguments, (False, True)):
            value = {"x": DISGUISES[disguise]} if nested else DISGUISES[disguise]
            init_args = {argument: copy.deepcopy(value)}
            with pytest.raises(InputError, match="theirs: "):
                trust.check({"model": {"class_path": "options_net.OptionsNet", "init_args": init_args}}, SOURCE)

    def test_nor_in_the_arguments_of_a_checkpoint(self, capsys):
        assert cli.main(["fit", "--model=OptionsNet", *MLP[3:], "--trainer.max_epochs=1"]) == 0
        (run,) = Path("runs").glob("*/*")
        content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
        content["hyper_parameters"]["options"] = {"x": GADGET}
        torch.save(content, "theirs.ckpt")
        for command in (["test"], ["fit", "--trainer.max_epochs=2"], ["evaluate"], ["predict", "--test_set"]):
            assert "subprocess.Popen" in refused([*command, "--ckpt=theirs.ckpt"], capsys)

    def test_the_parser_builds_nothing_inside_any(self):
        """Not even for a config that a user names."""
        Path("mine.yaml").write_text(yaml.safe_dump({"model": {"class_path": "OptionsNet"}}))
        config = {"class_path": "OptionsNet", "init_args": {"options": {"x": GADGET}, "anything": GADGET}}
        Path("mine.yaml").write_text(yaml.safe_dump({"model": config}))
        cli.main(["fit", "--config=mine.yaml", *MLP[3:], "--trainer.fast_dev_run=true"])
        assert not Path("it-ran").exists()


# Places.


@pytest.mark.parametrize(
    "entry",
    [
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "elsewhere"}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "~/x"}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "../../x"}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "/elsewhere/x"}},
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "elsewhere"}},
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "theirs", "name": "../x"}},
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "file:///tmp"}},
        {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": "$HOME"}},
    ],
)
def test_a_place_outside_of_the_run_is_named_again(theirs, entry, capsys):
    key = "trainer__logger" if "loggers" in entry["class_path"] else "trainer__callbacks"
    change(theirs, **{key: [entry]})
    assert "a place outside of the run" in refused(RESUME, capsys)


def test_a_place_in_the_run_is_taken(theirs):
    entry = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"}
    change(theirs, trainer__callbacks=[entry | {"init_args": {"dirpath": "theirs/more", "filename": "{epoch}-x"}}])
    assert cli.main(RESUME) == 0
    assert [path.name for path in Path("theirs/more").iterdir()] == ["epoch=1-x.ckpt"]


@pytest.mark.parametrize("command", [RESUME, FROM], ids=["run", "checkpoint"])
def test_nobody_else_names_an_address_to_download_from(theirs, command, monkeypatch):
    asked: list[Any] = []

    def fetch(data_set, data_dir, mirrors=(), *args, **options):
        asked.append((str(data_dir), list(mirrors)))
        raise InputError("no network")

    monkeypatch.setattr("datamodules.image_data_module.fetch", fetch)
    change(theirs, data__source="cifar10", data__mirrors=["https://their.place/x"], data__data_dir="theirs/data")
    assert cli.main(command) == 2
    assert asked == [("data", [])]


# Links.


class TestLinks:
    LINKS = ("metrics.csv", "metrics.json", "config.yaml", ".lock", "tensorboard", "checkpoints", "test", "report/x")

    @pytest.fixture(params=LINKS)
    def linked(self, request, theirs) -> Path:
        """A run in which something is a link to what is somebody's."""
        Path("mine").mkdir()
        path, target = theirs / request.param, Path("mine", Path(request.param).name)
        path.parent.mkdir(exist_ok=True)
        if path.exists():
            path.rename(target)
        else:
            target.write_text("mine")
        path.symlink_to(target.resolve())
        return theirs

    def test_nothing_is_written_through_them(self, linked, capsys):
        for command in (RESUME, ["test", "--ckpt=theirs"], ["evaluate", "--ckpt=theirs", "--corruption_images=0"]):
            error = refused(command, capsys)
            assert "is a link to " in error
            assert "mine" in error

    @pytest.mark.parametrize(
        "command",
        [["predict", "--test_set", "--ckpt=theirs"], FROM, RESUME, ["compare", "theirs"]],
        ids=["predict", "checkpoint", "run", "compare"],
    )
    def test_nothing_is_read_through_them(self, linked, command, capsys):
        for target in Path("mine").rglob("*"):
            if target.is_file():
                target.write_text("{")  # reading it would give another error
        assert "is a link to " in refused(command, capsys)

    @pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
    def test_nor_through_those_of_checkpoints(self, theirs, name, capsys):
        checkpoint = theirs / "checkpoints" / name
        checkpoint.rename("mine.ckpt")
        checkpoint.symlink_to(Path("mine.ckpt").resolve())
        (theirs / "config.yaml").unlink()
        for command in (["predict", "--test_set", "--ckpt=theirs"], FROM, ["export", "--format=npz", "--ckpt=theirs"]):
            assert "is a link to " in refused(command, capsys)

    @pytest.mark.parametrize("name", ["metrics.json", "config.yaml", "metrics.csv"])
    def test_compare_leaves_out_a_run_with_a_pipe(self, theirs, name, capsys):
        shutil.copytree(theirs, "runs/MLP/2026-01-01_00-00-00")
        pipe = theirs / name
        pipe.unlink()
        os.mkfifo(pipe)
        capsys.readouterr()
        assert cli.main(["compare", "theirs", "runs", "--format=csv"]) == 0
        said = capsys.readouterr()
        assert said.err == (
            f"note: {pipe} is not a regular file: a run holds files and folders of its own only, so remove it: "
            "this run is left out\n"
        )
        assert len(said.out.splitlines()) == 2

    def test_nor_by_other_commands(self, theirs, capsys):
        Path("mine").mkdir()
        for name in ("explain", "export"):
            (theirs / name).symlink_to(Path("mine").resolve())
        for command in (["explain", "--images=1"], ["export", "--format=npz"], ["validate"]):
            if command[0] != "export":
                assert "is a link to" in refused([*command, "--ckpt=theirs"], capsys)

    def test_a_checkpoint_that_is_named_itself(self, linked, capsys):
        assert "is a link to " in refused(["test", "--ckpt=theirs/checkpoints/best.ckpt"], capsys)

    def test_links_of_ones_own_are_followed(self, theirs):
        theirs.rename("kept")
        Path("theirs").symlink_to("kept")
        Path("best.ckpt").symlink_to("kept/checkpoints/best.ckpt")
        Path("elsewhere").mkdir()
        Path("out").symlink_to("elsewhere")
        assert cli.main(RESUME) == 0
        assert cli.main(["test", "--ckpt=best.ckpt"]) == 0
        assert len(list(Path("kept/test").iterdir())) == 1
        assert cli.main(["evaluate", "--ckpt=best.ckpt", "--corruption_images=0", "--out=out"]) == 0
        assert Path("elsewhere/report.json").is_file()

    @pytest.mark.parametrize("linked", ["runs/base", "runs/base/2026-01-01_00-00-00"], ids=["group", "run"])
    def test_a_search_for_runs_follows_none(self, theirs, linked, capsys):
        """Runs that somebody unpacked could lead to the user's own."""
        kept = Path("mine/2026-01-01_00-00-00")
        kept.parent.mkdir()
        theirs.rename(kept)
        Path(linked).parent.mkdir(parents=True)
        Path(linked).symlink_to((kept.parent if linked == "runs/base" else kept).resolve())
        for command in (
            ["fit", "--resume"],
            ["test", "--ckpt=best"],
            ["fit", "--ckpt=last"],
            ["predict", "--test_set", "--ckpt=runs"],
        ):
            assert "run" in refused(command, capsys)
        if linked != "runs/base":  # which is named itself otherwise
            for command in (["test"], ["evaluate"], ["explain"], ["export", "--format=npz"]):
                assert "without a run that has a checkpoint" in refused([*command, "--ckpt=runs/base"], capsys)
        assert cli.main(["test", f"--ckpt={linked}"]) == 0, "a folder may be a link that is named itself"
        capsys.readouterr()

    def test_no_run_is_begun_in_one(self, theirs, capsys):
        Path("runs").mkdir()
        Path("runs/MLP-synthetic").symlink_to(theirs.resolve())
        assert "runs/MLP-synthetic is a link" in refused([*MLP, "--trainer.max_epochs=1"], capsys)

    def test_a_pipe(self, theirs, capsys):
        os.mkfifo(theirs / "metrics_1_epochs.json")
        assert cli.main(RESUME) == 2
        assert "is not a regular file" in capsys.readouterr().err


def test_the_folder_beside_a_checkpoint_without_a_run(theirs):
    shutil.copy(theirs / "checkpoints/best.ckpt", "x.ckpt")
    Path("elsewhere").mkdir()
    Path("test").symlink_to("elsewhere")
    with pytest.raises(InputError, match="is a link"):
        run_directory.folder_of(Path("x.ckpt"), "test")
    assert run_directory.folder_of(Path("x.ckpt"), "report") == Path("report").resolve()
    assert checkpoints.read(Path("x.ckpt"))


# Files beside checkpoints.


def test_a_safetensors_file_chooses_no_code(theirs, monkeypatch):
    """By neither of the two names that it has for a class."""
    monkeypatch.syspath_prepend(Path.cwd())
    Path("evil.py").write_text("open('it-ran', 'w')")
    model = trained_model.load(theirs).model
    for changes in ({"model": "evil.MLP"}, {"model": "evil.MLP", "class": "zoo.models.mlp.MLP"}):
        about = {"model": "MLP", "class": "evil.MLP", "arguments": "{}"} | changes
        Path("theirs.safetensors").write_bytes(safetensors.content(model, about))
        with pytest.raises(ImportError, match="its class is in evil"):
            safetensors.probabilities("theirs.safetensors", np.zeros((1, 3, 32, 32), np.uint8))
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "text", ["data: " + "{a: " * 3000 + "1" + "}" * 3000, "data: {batch_size: " + "9" * 5000 + "}", "["]
)
def test_a_run_whose_config_cannot_be_read(theirs, text, capsys):
    """It is named where it is wanted, and left out where another one will do."""
    Path("runs/MLP").mkdir(parents=True)
    shutil.copytree(theirs, "runs/MLP/2026-01-01_00-00-00")
    theirs.rename("runs/MLP/2026-02-02_00-00-00")
    (Path("runs/MLP/2026-02-02_00-00-00") / "config.yaml").write_text(text)
    assert "config 'runs/MLP/2026-02-02_00-00-00/config.yaml'" in refused(["fit", "--resume"], capsys)
    assert resume.checkpoint_origin("best", Path("runs"), "MLP").path == Path(
        "runs/MLP/2026-01-01_00-00-00/checkpoints/best.ckpt"
    )
    error = capsys.readouterr().err
    assert error.startswith("note: config 'runs/MLP/2026-02-02_00-00-00/config.yaml'")
    assert error.count("\n") == 1
    assert resume.checkpoint_origin("best", Path("runs")).path.parts[2] == "2026-02-02_00-00-00", (
        "no config is wanted there"
    )


def test_a_checkpoint_of_a_run_whose_config_cannot_be_read(theirs, capsys):
    (theirs / "config.yaml").write_text("[" * 5000 + "]" * 5000)
    for command in (["test"], ["evaluate", "--corruption_images=0"]):
        assert cli.main([*command, "--ckpt=theirs"]) == 0, "the checkpoint tells all that is wanted"
        assert "Traceback" not in capsys.readouterr().err
