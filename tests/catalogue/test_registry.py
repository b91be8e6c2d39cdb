"""The registry: built-in models, entry points, errors."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from inspect import isabstract
from pathlib import Path

import pytest

import cli
from datamodules.errors import InputError
from tests import plugins
from zoo.catalogue import registry
from zoo.core.classifier import Classifier


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_models_load(name):
    model = registry.load(name)
    assert issubclass(model, Classifier)
    assert model.__name__ == name
    assert registry.find(name).class_path == f"{model.__module__}.{name}"


def test_the_folder_is_the_zoo():
    """Every public model that a file of zoo/models defines is in the registry, and nothing else is."""
    models = {}
    for path in registry.MODELS.glob("*.py"):
        module = import_module(f"zoo.models.{path.stem}" if path.stem != "__init__" else "zoo.models")
        models |= {
            name: f"{module.__name__}:{name}"
            for name, value in vars(module).items()
            if not name.startswith("_") and isinstance(value, type) and value.__module__ == module.__name__
            if issubclass(value, Classifier) and not isabstract(value)
        }
    assert models == registry.BUILT_IN


MODEL = "class {}(TorchClassifier):\n    about = About()\n"


def test_which_classes_are_models(tmp_path):
    """Without an import: a class with an attribute `about`, wherever it stands in the class."""
    documented = MODEL.format("Documented").replace(
        "    about", '    """Text.\n\n    More.\n    """\n\n    about: About'
    )
    helpers = "class Block(nn.Module):\n    def __init__(self): ...\n\n\nabout = 1\n\n\ndef f():\n    about = 1\n"
    (tmp_path / "family.py").write_text(f"{helpers}\n{documented}\n{MODEL.format('Plain')}\n{MODEL.format('_Private')}")
    assert registry.built_in(tmp_path) == {
        "Documented": "zoo.models.family:Documented",
        "Plain": "zoo.models.family:Plain",
    }


def test_a_name_of_two_models_raises(tmp_path):
    for family in ("a", "b"):
        (tmp_path / f"{family}.py").write_text(MODEL.format("Net"))
    with pytest.raises(ValueError, match=r"two models are called Net: zoo.models.a:Net and .*b:Net"):
        registry.built_in(tmp_path)


def test_listing_imports_no_model():
    code = "import sys; from zoo.catalogue import registry; registry.entries(); "
    code += "assert not {'torch', 'zoo.models.cnn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(registry.__file__).parents[2])


def test_unknown_name_suggests_and_lists():
    with pytest.raises(
        InputError, match=r"unknown model 'ImprovedCNM'. Did you mean 'ImprovedCNN'\?.* CNN, ImprovedCNN, "
    ):
        registry.load("ImprovedCNM")


def test_entry_point_adds_a_model(tmp_path, monkeypatch):
    plugins.install(monkeypatch, tmp_path)
    assert list(registry.entries()) == [*registry.BUILT_IN, "TinyNet"]
    assert registry.find("TinyNet").distribution == "tiny-zoo"
    assert registry.find_class(registry.load("TinyNet")) == registry.find("TinyNet")


@pytest.mark.parametrize(
    ("name", "target", "cause"),
    [
        ("CNN", "their.module:CNN", "'cifar10-zoo' has a model of that name; use --model their.module.CNN"),
        ("Net", "no target", "its entry point is 'no target', expected module:Class"),
        ("Net", "their.module:AnotherNet", "its class is 'their.module:AnotherNet'"),
    ],
)
def test_what_the_metadata_tell_is_one_warning(monkeypatch, capsys, name, target, cause):
    plugins.claim(monkeypatch, [EntryPoint(name, target, registry.ENTRY_POINT_GROUP)])
    assert list(registry.entries()) == list(registry.BUILT_IN)
    registry.entries()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: model '{name}' of the package ")
    assert cause in line
    if name == "Net":
        with pytest.raises(InputError, match=re.escape(cause)):
            registry.load(name)
    else:
        assert registry.load(name).__module__ == "zoo.models.cnn"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("import sys\nsys.exit(1)", "SystemExit"),
        ("TinyNet = 1", "not a subclass of zoo.core.classifier.Classifier"),
        ("import torch\nclass TinyNet(torch.nn.Module): pass", "not a subclass of zoo.core.classifier.Classifier"),
        ("import pytorch_lightning as pl\nclass TinyNet(pl.LightningModule): pass", "not pytorch_lightning"),
        ("from zoo.core.classifier import Classifier\nclass TinyNet(Classifier): pass", "is abstract"),
        ("from zoo.models.cnn import CNN as TinyNet", "is a class called 'CNN'"),
    ],
)
def test_what_only_an_import_tells_is_told_when_it_is_chosen(tmp_path, monkeypatch, capsys, code, cause):
    plugins.install(monkeypatch, tmp_path, code=code)
    assert "TinyNet" in registry.entries()
    assert registry.load("CNN").__name__ == "CNN"
    assert not capsys.readouterr().err
    with pytest.raises(InputError, match=f"'TinyNet' of the package 'tiny-zoo' .*{re.escape(cause)}"):
        registry.load("TinyNet")


@pytest.mark.parametrize(
    ("requirement", "cause"),
    [
        ("cifar10-zoo>=0.1", None),
        ("cifar10_zoo >= 99", "it needs cifar10-zoo>=99, installed is"),
        ("CIFAR10.Zoo[export]>=99; python_version > '3'", "it needs cifar10-zoo>=99, installed is"),
        ("cifar10-zoo>=99; extra == 'test'", None),
        ("cifar10-zoo-extras>=99", None),
        ("cifar10-zoo >< 3", "its requirements cannot be read"),
    ],
)
def test_a_plugin_for_a_newer_version(tmp_path, monkeypatch, capsys, requirement, cause):
    plugins.install(monkeypatch, tmp_path)
    with (tmp_path / "tiny_zoo-1.0.dist-info" / "METADATA").open("a") as file:
        file.write(f"Requires-Dist: {requirement}\n")
    assert ("TinyNet" in registry.entries()) == (cause is None)
    error = capsys.readouterr().err
    assert error.count("\n") == (cause is not None)
    assert (cause or "") in error
    if cause is not None:
        with pytest.raises(InputError, match=re.escape(cause)):
            registry.load("TinyNet")


def test_a_release_candidate_is_new_enough(tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path / "ours", package=registry.DISTRIBUTION, version="0.2.0rc1", models=())
    plugins.install(monkeypatch, tmp_path / "theirs")
    with next((tmp_path / "theirs").glob("*.dist-info/METADATA")).open("a") as file:
        file.write("Requires-Dist: cifar10-zoo>=0.1,<99\n")
    assert "TinyNet" in registry.entries()
    assert not capsys.readouterr().err


def test_an_interrupted_installation_does_no_harm(tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path)
    (tmp_path / "tiny_zoo-1.0.dist-info" / "METADATA").unlink()
    registry.entries.cache_clear()
    assert registry.load("TinyNet").__name__ == "TinyNet"
    assert not capsys.readouterr().err


@pytest.mark.parametrize("order", [("Zoo_B", "zoo-a"), ("zoo-a", "Zoo_B")])
def test_of_two_packages_one_gets_the_name_whatever_the_order(tmp_path, monkeypatch, capsys, order):
    for package in order:
        plugins.install(monkeypatch, tmp_path / package, package=package)
    assert registry.find("TinyNet").distribution == "zoo-a"
    assert "'Zoo_B' is left out: 'zoo-a' has a model of that name" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["no equals sign", "not UTF-8"])
def test_a_damaged_package_costs_a_line(tmp_path, monkeypatch, capsys, damage):
    """Python reads the entry points of all packages at once: one that cannot be read must not hide the others."""
    plugins.install(monkeypatch, tmp_path / "good")
    plugins.install(monkeypatch, tmp_path / "bad", package="bad-zoo")
    content = b"[cifar10_zoo.models]\nno equals sign\n" if damage == "no equals sign" else b"[cifar10_zoo.models]\n\xff"
    next((tmp_path / "bad").glob("*.dist-info/entry_points.txt")).write_bytes(content)
    registry.entries.cache_clear()
    assert list(registry.entries()) == [*registry.BUILT_IN, "TinyNet"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the entry points of bad-zoo cannot be read (")


def test_requirements_that_cannot_be_compared(tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path)
    (metadata,) = tmp_path.glob("*.dist-info/METADATA")
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: cifar10-zoo>=0.1; os_name ~= 'nt'\n")
    registry.entries.cache_clear()
    assert list(registry.entries()) == [*registry.BUILT_IN]
    (line,) = capsys.readouterr().err.splitlines()
    assert "tiny-zoo" in line
    assert "its requirements cannot be read" in line


def test_one_of_several_processes_says_it(tmp_path, monkeypatch, capsys):
    plugins.install(monkeypatch, tmp_path, models=["CNN"])
    monkeypatch.setenv("LOCAL_RANK", "1")
    registry.entries()
    assert capsys.readouterr().err == ""


def test_damaged_packages_side_by_side_cost_a_line_each(tmp_path, monkeypatch, capsys):
    """One whose name cannot be read beside one whose entry points cannot be."""
    for package in ("good-zoo", "bad-name", "bad-points"):
        plugins.install(monkeypatch, tmp_path / package, package=package, models=[f"{package[:3].title()}Net"])
    (tmp_path / "bad-name" / "bad_name-1.0.dist-info" / "METADATA").write_bytes(b"Name: caf\xe9\n")
    (tmp_path / "bad-points" / "bad_points-1.0.dist-info" / "entry_points.txt").write_bytes(b"[a]\nno equals sign\n")
    registry.entries.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cli.main(["list"]) == 0
    output = capsys.readouterr()
    assert "GooNet" in output.out
    assert re.search("BadNet.*from the package bad_name", output.out)
    metadata, points = sorted(output.err.splitlines(), reverse=True)
    assert points.startswith("warning: the entry points of bad-points cannot be read (")
    assert metadata.startswith("warning: the metadata of bad_name cannot be read (UnicodeDecodeError")
    assert cli.main(["info", "CNN"]) == 0
    assert cli.main(["info", "CNM"]) == 2
    assert capsys.readouterr().err.count("\n") == 1, "the warnings come once a process"
