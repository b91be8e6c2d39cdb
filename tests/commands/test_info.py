"""`info`, on every model of the zoo and on those of other packages."""

import inspect
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import cli
from tests import plugins
from tests.helpers import MODELS, refusal
from zoo.catalogue import anatomy, registry
from zoo.models.mlp import MLP

pytestmark = pytest.mark.usefixtures("_own_cache")


@pytest.fixture
def run(capsys):
    """Run a command that succeeds; return what it prints."""

    def run(*arguments: str) -> str:
        assert cli.main(list(arguments)) == 0
        output = capsys.readouterr()
        assert output.err == ""
        return output.out

    return run


@pytest.mark.parametrize("name", MODELS)
def test_every_model(run, name):
    found = json.loads(run("info", name, "--json"))
    model = registry.load(name)()
    assert found["parameters"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    blocks = [module for module in model.modules() if any(True for _ in module.children())]
    outside = sum(p.numel() for block in blocks for p in block.parameters(recurse=False))
    assert sum(layer["parameters"] for layer in found["layers"]) + outside == found["parameters"]
    assert found["layers"][-1]["output"] == [1, 10]
    signature = inspect.signature(registry.load(name)).parameters
    assert [argument["name"] for argument in found["arguments"]] == list(signature)
    assert all(argument["default"] == signature[argument["name"]].default for argument in found["arguments"])
    assert all(argument["text"] and argument["type"] for argument in found["arguments"])
    assert not any(argument["text"].startswith("see `") for argument in found["arguments"])
    file = Path(found["file"])
    assert file.read_text().splitlines()[found["line"] - 1].startswith(f"class {name}(")
    assert found["config"] in found["configs"]
    assert found["problem"] is None

    text = run("info", name)
    for expected in (f"{found['parameters']:,}", f"{found['flops']:,} an image", found["paper"], f"{file}:"):
        assert expected in text
    assert "forward pass, a multiply-add counts as two" in text
    assert " ".join(found["description"].split()) in " ".join(text.split())
    prose = [line for line in text.partition("\nlayers")[0].splitlines() if not line.startswith("    ")]  # no tables
    assert max(map(len, prose)) <= 100
    assert found["optimizer"]["class_path"] in text


def test_layers_of_cnn(run):
    """The shapes stand as comments beside its layers."""
    layers = {layer["name"]: layer for layer in json.loads(run("info", "CNN", "--json"))["layers"]}
    assert [(layer["kind"], layer["output"]) for layer in layers.values()] == [
        ("Conv2d", [1, 32, 32, 32]),
        ("ReLU", [1, 32, 32, 32]),
        ("MaxPool2d", [1, 32, 16, 16]),
        ("Conv2d", [1, 64, 16, 16]),
        ("ReLU", [1, 64, 16, 16]),
        ("MaxPool2d", [1, 64, 8, 8]),
        ("Flatten", [1, 4096]),
        ("Linear", [1, 128]),
        ("ReLU", [1, 128]),
        ("Linear", [1, 10]),
    ]
    assert layers["net.3"]["parameters"] == 9 * 32 * 64 + 64
    assert re.search(r"^  net\.3 +Conv2d +\(1, 64, 16, 16\) +18,496$", run("info", "CNN"), re.MULTILINE)


def test_layers_of_a_numpy_model(run):
    layers = json.loads(run("info", "NumPyMLP", "--json"))["layers"]
    assert [layer["kind"] for layer in layers] == ["Flatten", "Linear", "ReLU", "Linear"]
    assert [layer["output"] for layer in layers] == [[1, 3072], [1, 64], [1, 64], [1, 10]]


def test_figures_of_twins_agree():
    """NumPy's are counted by a formula, PyTorch's by PyTorch."""
    ours, theirs = (anatomy.measure(registry.load(name)) for name in ("NumPyMLP", "MLP"))
    assert (ours.parameters, ours.flops) == (theirs.parameters, theirs.flops)


def test_what_is_told_of_a_model(run):
    text = run("info", "ImprovedCNN")
    assert "dropout: float = 0.5\n      probability that a unit of the dense layer is dropped" in text
    assert "by: fit --config improved_cnn --config short --config muon" in text
    assert "0.8849 (JPEG copy, n = 1)" in text
    assert "torch.optim.AdamW(lr=0.001)" in text
    assert "Follows from the data." in text
    configs = json.loads(run("info", "NumPyMLP", "--json"))["configs"]
    assert {"single_neuron", "multiclass", "milestone4/best", "notebook/tanh_he"} <= set(configs)
    assert not {"synthetic", "ddp", "collapse", "cnn"} & set(configs), "overlays, and another model's"


class WithBlocks(MLP):
    """Its layers lie in blocks; one is never called; and a parameter lies in none of them."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes=num_classes)
        self.net = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), nn.Linear(5, 10))
        self.idle = nn.Linear(7, 7)
        self.bend = nn.Parameter(torch.zeros(3))


def test_layers_are_the_innermost_ones_that_are_called():
    found = anatomy.measure(WithBlocks)
    assert [layer.name for layer in found.layers] == ["net.0.0", "net.0.1", "net.1"]
    assert found.parameters == 3072 * 5 + 5 + 5 * 10 + 10 + 7 * 7 + 7 + 3


class Base:
    """A base.

    Args:
        width: of the base.
        depth: of the base.

    Attributes:
        depth: another thing of that name.
    """


class Derived(Base):
    """Derived from it.

    Args:
        width: of the one that is derived.
        depth: see `test_info.Base`.
        height: see `Base`.
    """

    def __init__(self, width: "int", *args: int, depth: list[int] | None = None, height=1.5, **kwargs: int) -> None: ...


def test_arguments():
    width, depth, height = anatomy.arguments(Derived)
    assert width == ("width", "int", anatomy.REQUIRED, "of the one that is derived.", False)
    assert depth == ("depth", "list[int] | None", None, "of the base.", True)
    assert height == ("height", "", 1.5, "see `Base`.", True)


def test_a_plugin(run, monkeypatch, tmp_path):
    plugins.install(monkeypatch, tmp_path / "site")
    text = run("info", "TinyNet")
    assert text.startswith("TinyNet, from the package tiny-zoo\n\nA convolution and a dense layer.\n")
    assert "width: int = 4\n      channels of the convolution." in text
    assert f"{plugins.TINY_PARAMETERS:,}" in text
    assert str(tmp_path / "site" / "tiny_zoo.py") in text
    assert json.loads(run("info", "TinyNet", "--json"))["arguments"][1]["default"] == "Size.small"


HEIR = """
from zoo.models.cnn import CNN

class Heir(CNN):
    pass
"""
UNDOCUMENTED = """
from __future__ import annotations
from torch import nn
from zoo.core.torch_classifier import TorchClassifier

class Bare(TorchClassifier):
    def __init__(self, width: int, num_classes=10, **kwargs) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, width))
"""


def test_what_a_base_says_about_itself_is_not_inherited(run, monkeypatch, tmp_path):
    plugins.install(monkeypatch, tmp_path / "site", code=HEIR, models=["Heir"])
    found = json.loads(run("info", "Heir", "--json"))
    assert (found["result"], found["config"], found["configs"]) == (None, "", [])
    assert found["parameters"] == 545_098
    assert found["description"] == ""
    assert "best result" not in run("info", "Heir")


def test_a_model_that_cannot_be_built_with_its_defaults(run, monkeypatch, tmp_path):
    plugins.install(monkeypatch, tmp_path / "site", code=UNDOCUMENTED, models=["Bare"])
    text = run("info", "Bare")
    assert "  width: int, required\n  num_classes = 10\n" in text
    assert "kwargs" not in text
    assert "not known    Bare, with its default arguments, cannot classify an image (TypeError: " in text
    assert "torch.optim.AdamW(lr=0.001)" in text
    assert json.loads(run("info", "Bare", "--json"))["parameters"] is None


CASES = {
    "info ImprovdCNN": ["unknown model 'ImprovdCNN'", "Did you mean 'ImprovedCNN'?"],
    "info": ["info needs a model", "CNN, ImprovedCNN, "],
    "info CNN --jsno": ["unknown option '--jsno'", "Did you mean '--json'?"],
    "info CNN MLP": ["'MLP'"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(command, capsys):
    error = refusal(capsys, *command.split())
    assert all(text in error for text in CASES[command])


def test_a_plugin_that_cannot_be_loaded(capsys, monkeypatch, tmp_path):
    plugins.install(monkeypatch, tmp_path / "site", code="import no_such_module_anywhere", models=["Net"])
    error = refusal(capsys, "info", "Net")
    assert "tiny-zoo" in error
    assert "no_such_module_anywhere" in error


def test_a_plugin_whose_facts_are_none(capsys, monkeypatch, tmp_path):
    code = plugins.TINY.replace("about = About(", "about = dict(")
    plugins.install(monkeypatch, tmp_path / "site", code=code)
    assert "TinyNet.about is a dict, expected a zoo.core.about.About" in refusal(capsys, "info", "TinyNet")
