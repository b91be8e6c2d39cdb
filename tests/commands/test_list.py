"""`list`, the catalogue that it shows, and what it knows of other packages' models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from tests import plugins
from tests.helpers import MODELS, refusal
from zoo.catalogue import model_facts, registry
from zoo.core import about
from zoo.core.about import About
from zoo.runs.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("_own_cache")


@pytest.fixture
def run(capsys):
    """Run a command that succeeds; return the lines that it prints."""

    def run(*arguments: str) -> list[str]:
        assert cli.main(list(arguments)) == 0
        return capsys.readouterr().out.splitlines()

    return run


def rows(lines: list[str]) -> dict[str, str]:
    """The rows of the table, by the model's name; a result that does not fit goes on below."""
    return {line.split()[0]: line for line in lines[1 : lines.index("")] if not line.startswith(" ")}


# The catalogue.


def test_the_catalogue_is_up_to_date():
    assert model_facts.generate() == model_facts.FILE.read_text(encoding="utf-8"), (
        "write it anew: python -m zoo.catalogue"
    )


def test_figures_by_hand():
    found = {name: model_facts.known(registry.find(name)) for name in MODELS}
    parameters = {
        "MLP": 197_322,
        "NumPyMLP": 197_322,
        "CNN": 545_098,
        "ImprovedCNN": 3_249_610,
        "SpeedrunNet": 1_971_352,
        "ViT": 811_146,
    }
    assert {name: found[name].parameters for name in parameters} == parameters
    dense = 2 * (3072 * 64 + 64 * 10)
    cnn = 2 * (27 * 32 * 32**2 + 288 * 64 * 16**2 + 4096 * 128 + 128 * 10)
    blocks = ((3, 64, 32), (64, 64, 32), (64, 128, 16), (128, 128, 16), (128, 256, 8), (256, 256, 8))
    improved = 2 * (sum(9 * i * o * side**2 for i, o, side in blocks) + 4096 * 512 + 512 * 10)
    blocks = ((24, 64, 31), (64, 64, 15), (64, 256, 15), (256, 256, 7), (256, 256, 7), (256, 256, 3))
    speedrun = 2 * (12 * 24 * 31**2 + sum(9 * i * o * side**2 for i, o, side in blocks) + 256 * 10)
    # 64 patches of 48 values, and a token for the class; products of queries and keys, and of weights and values
    vit = 2 * (64 * 48 * 128 + 6 * 65 * (4 * 128**2 + 2 * 128 * 256 + 2 * 65 * 128) + 128 * 10)
    flops = {"MLP": dense, "NumPyMLP": dense, "CNN": cnn, "ImprovedCNN": improved, "SpeedrunNet": speedrun, "ViT": vit}
    assert {name: found[name].flops for name in flops} == flops
    assert improved * 3 == pytest.approx(0.926e9, rel=0.02), "of forward and backward, a published figure"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_names_its_own_config(name):
    config = CommandLine(["fit", "--config", model_facts.known(registry.find(name)).about.config]).config
    assert config["model"]["class_path"] == registry.find(name).class_path


def test_facts_survive_json():
    for facts in (About("f", (1, 2), "p", "c", ("t",)), About()):
        assert about.from_json(json.loads(json.dumps(facts._asdict()))) == facts


# The table.


def test_the_table(run):
    lines = run("list")
    flops = {name: model_facts.known(registry.find(name)).flops for name in rows(lines)}
    assert set(flops) == {*MODELS, "Wrapped"}
    *known, of_wrapped = flops.values()
    assert known == sorted(known)
    assert of_wrapped is None
    assert rows(lines)["ImprovedCNN"].split()[1:7] == ["convolutional", "3,249,610", "310", "M", "5", "0.8849"]
    assert rows(lines)["NumPyMLP"].endswith("  1, 2, 3, 4  0.562 ± 0.005 (JPEG copy, n = 3)")
    assert "394 k" in rows(lines)["MLP"]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cnn"], ["CNN", "NumPyCNN", "ImprovedCNN"]),
        (["CN*"], ["CNN"]),
        (["*mlp"], ["MLP", "NumPyMLP"]),
        (["?lp"], ["MLP"]),
        (["--tag", "notebooks"], ["NumPyMLP", "CNN", "NumPyCNN", "ImprovedCNN"]),
        (["MLP", "--tag=torch"], ["MLP", "MLPMixer"]),
    ],
)
def test_some_of_them(run, arguments, expected):
    assert list(rows(run("list", *arguments))) == expected


def test_for_programs(run):
    (found,) = json.loads("\n".join(run("list", "improved", "--json")))
    assert found["name"] == "ImprovedCNN"
    assert found["package"] == "cifar10-zoo"
    assert (found["parameters"], found["flops"]) == (3_249_610, 309_733_376)
    assert (
        found["result"]["options"] == "--config short --config muon --model.dropout 0.1 --trainer.precision bf16-mixed"
    )
    assert found["milestones"] == [5]


CASES = {
    "list imprvedcnn": [
        "no model matches 'imprvedcnn'",
        "Did you mean 'ImprovedCNN'?",
        "MLP, NumPyMLP, TorchvisionModel, CNN",
    ],
    "list resnet --tag numpy": ["no model matches 'resnet'", "With the tag 'numpy' there are: NumPyMLP, NumPyCNN"],
    "list --tag nmpy": ["no model has the tag 'nmpy'", "Did you mean 'numpy'?", "torch"],
    "list --jsn": ["unknown option '--jsn'", "Did you mean '--json'?"],
    "list cnn mlp": ["'mlp'"],
    "list --tag": ["list: ", "--tag"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(command, capsys):
    line = refusal(capsys, *command.split())
    for text in CASES[command]:
        assert text in line


def test_needs_no_torch():
    code = "import cli, sys; code = cli.main(['list']); assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ImprovedCNN" in done.stdout


# Models of other packages.


@pytest.mark.parametrize("package", ["tiny-zoo", "a-package-with-a-name-that-is-rather-longer-than-most-others-are"])
def test_a_plugin_names_its_package(run, monkeypatch, tmp_path, package):
    plugins.install(monkeypatch, tmp_path / "site", package=package)
    lines = run("list")
    assert {*rows(lines)} >= {*MODELS, "TinyNet"}
    assert list(rows(lines))[len(MODELS) :] == ["Wrapped", "TinyNet"], "the size is unknown"
    assert rows(lines)["TinyNet"].split()[1:5] == ["-"] * 4, "nobody has looked yet"
    assert package in "".join(lines).replace(" ", "")
    assert max(map(len, lines)) <= 100


def test_info_finds_out_the_figures_of_a_plugin(run, monkeypatch, tmp_path):
    def figures() -> tuple[int | None, int | None]:
        (found,) = json.loads("\n".join(run("list", "TinyNet", "--json")))
        return found["parameters"], found["flops"]

    plugins.install(monkeypatch, tmp_path / "site")
    run("info", "TinyNet")
    assert figures() == (plugins.TINY_PARAMETERS, plugins.TINY_FLOPS)
    assert list(rows(run("list", "--tag", "small"))) == ["TinyNet"]

    plugins.install(monkeypatch, tmp_path / "site", version="1.1")
    assert figures() == (None, None), "another version is another model"
    run("info", "TinyNet")
    assert figures() == (plugins.TINY_PARAMETERS, plugins.TINY_FLOPS)

    plugins.install(
        monkeypatch, tmp_path / "site", plugins.TINY.replace("width: int = 4", "width: int = 16"), version="1.1"
    )
    assert figures() == (None, None), "it may be another model since its file was edited"


def cache() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "cifar10-zoo" / "models.json"


FACTS = {"parameters": 1, "flops": 2, "about": About()._asdict()}
DAMAGED = {
    "truncated": '{"tiny-zoo 1.0 tiny_z',
    "binary": b"\xff\xfe\x00",
    "a list": "[]",
    "null": json.dumps({"tiny-zoo 1.0 tiny_zoo:TinyNet": None}),
    "text": json.dumps({"tiny-zoo 1.0 tiny_zoo:TinyNet": FACTS | {"flops": "many"}}),
    "no about": json.dumps({"tiny-zoo 1.0 tiny_zoo:TinyNet": FACTS | {"about": {}}}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_cache_is_none(run, monkeypatch, tmp_path, case):
    plugins.install(monkeypatch, tmp_path / "site")
    cache().parent.mkdir(parents=True)
    content = DAMAGED[case]
    cache().write_bytes(content if isinstance(content, bytes) else content.encode())
    assert rows(run("list"))["TinyNet"].split()[1:5] == ["-"] * 4
    run("info", "TinyNet")
    assert f"{plugins.TINY_PARAMETERS:,}" in rows(run("list"))["TinyNet"]


def test_a_cache_that_cannot_be_written_is_none(run, monkeypatch, tmp_path):
    plugins.install(monkeypatch, tmp_path / "site")
    cache().parent.parent.write_text("a file in the place of the folder")
    assert f"{plugins.TINY_PARAMETERS:,}" in "".join(run("info", "TinyNet"))
    assert rows(run("list"))["TinyNet"].split()[1:5] == ["-"] * 4
    assert cache().parent.parent.read_text() == "a file in the place of the folder"


def test_models_of_the_zoo_are_not_cached(run):
    run("info", "CNN")
    assert not cache().exists()


def test_data_sets(capsys):
    assert cli.main(["list", "--data"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "classes", "image", "train", "+", "test", "about"]
    names = [name.removesuffix("DataModule") for name in registry.data.entries()]
    assert [row.split()[0] for row in rows] == names
    assert max(map(len, rows)) <= 100
    assert next(row for row in rows if row.startswith("FashionMNIST")).split()[1:5] == ["10", "1", "x", "28"]
    assert cli.main(["list", "--data", "cifar*", "--json"]) == 0
    ten, hundred = json.loads(capsys.readouterr().out)
    assert (ten["name"], len(ten["classes"])) == ("CIFAR10", 10)
    assert (hundred["name"], len(hundred["classes"]), hundred["image"]) == ("CIFAR100", 100, [3, 32, 32])
