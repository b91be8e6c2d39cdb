"""The registry: built-in models, entry points, errors."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from datamodules.errors import InputError
from zoo import registry
from zoo.classifier import Classifier


@pytest.fixture
def points(monkeypatch):
    """Entry points of made-up packages, in place of the installed ones."""
    found = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in found if p.group == group])
    registry.entries.cache_clear()
    yield lambda name, target: found.append(EntryPoint(name, target, registry.ENTRY_POINT_GROUP))
    registry.entries.cache_clear()


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_models_load(name):
    model = registry.load(name)
    assert issubclass(model, Classifier)
    assert model.__name__ == name
    assert registry.find(name).class_path == f"{model.__module__}.{name}"


def test_listing_imports_no_model():
    code = (
        "from zoo import registry; registry.entries(); import sys; assert not {'torch', 'zoo.cnn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(registry.__file__).parents[1])


def test_unknown_name_suggests_and_lists():
    with pytest.raises(InputError, match=r"unknown model 'ImprovedCNM'. Did you mean 'ImprovedCNN'\?.* MLP, CNN"):
        registry.load("ImprovedCNM")


def test_entry_point_adds_a_model(points):
    points("TheirNet", "zoo.cnn:CNN")
    assert list(registry.entries()) == [*registry.BUILT_IN, "TheirNet"]
    assert registry.load("TheirNet").__name__ == "CNN"


def test_a_taken_name_raises(points):
    points("CNN", "zoo.cnn:ImprovedCNN")
    with pytest.raises(InputError, match=r"claims the model name 'CNN', which 'cifar10-zoo' has"):
        registry.entries()


def test_a_broken_model_names_package_and_cause(points):
    points("Broken", "no_such_module_anywhere:Net")
    with pytest.raises(InputError, match=r"model 'Broken' .*No module named 'no_such_module_anywhere'"):
        registry.load("Broken")
