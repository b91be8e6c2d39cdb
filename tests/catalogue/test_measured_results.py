"""configs/results.yaml, and the places that repeat it: the headers of the configs and two READMEs."""

import json
import re
from decimal import Decimal

import pytest

from zoo.catalogue import measured_results, readmes, registry
from zoo.catalogue.measured_results import Result
from zoo.runs import configs
from zoo.runs.command_line import CommandLine

RESULTS = measured_results.results()
UNBOUNDED = ("loss", "weight_norm")
DATA = ("CIFAR-10", "JPEG copy", "synthetic", "Fashion-MNIST", "digits", "JPEG copy, five classes")


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.command)
def test_a_result_says_all_that_it_needs(result):
    config = configs.expand(configs.read(configs.find(result.config)))
    assert config["model"]["class_path"] == registry.find(result.model).class_path
    assert config.get("data", {}).get("task", "multiclass") == result.task
    assert result.data in DATA
    assert result.runs == (result.n or len(set(result.seeds)))
    assert result.runs > 0
    assert result.metrics
    assert set(result.metrics) <= set(readmes.METRICS)
    assert set(result.std) <= set(result.metrics)
    assert all(0 <= value <= 1 for name, value in result.metrics.items() if name not in UNBOUNDED)
    assert not (result.source and result.seeds), "a result of others has n, and no seeds of ours"
    assert CommandLine(["fit", "--config", result.config, *result.options.split()]).config


def header(name: str) -> str:
    """Return the paragraphs of a config's header that tell results, as one line."""
    lines = configs.find(name).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.removeprefix("#").strip() for line in lines[: lines.index("")])
    told = [part for part in text.split("\n\n") if re.search("JPEG copy|Published", part)]
    return " ".join(" ".join(told).split())


def numbers(text: str) -> set[Decimal]:
    return {Decimal(number) for number in re.findall(r"\d+(?:\.\d+)?", text)}


@pytest.mark.parametrize("name", configs.shipped())
def test_every_number_in_a_header_is_a_measured_one(name):
    own = [r for r in RESULTS if r.config == name or f"--config {name}" in r.options]
    text = header(name)
    for known in {"CIFAR-10", "F1", "A100", "VGG-16", "float32", "standard deviation 0.01", *repeated_words(own)}:
        text = text.replace(known, "")
    allowed = set()
    for result in own:
        values = [*result.metrics.values(), *result.std.values(), *numbers(result.note)]
        allowed |= {
            *values,
            *(100 * value for value in values),
            Decimal(result.runs),
            *map(Decimal, result.seeds or []),
        }
        allowed |= {Decimal(result.minutes or 0), Decimal(result.epochs or 0), *numbers(result.options)}
    assert numbers(text) <= allowed, f"not in configs/results.yaml: {numbers(text) - allowed}"


def repeated_words(results: list[Result]) -> set[str]:
    """Return the words with numbers that a header repeats from results as they stand: hardware, versions and links."""
    hardware = {result.hardware.replace("(", "").replace(")", "") for result in results}
    words = {word for text in hardware for word in (text, text.replace(" x86-64", ""))}
    versions = {version for result in results for version in result.versions.split(", ")}
    return {*filter(None, {*words, *versions, "(x86-64", *(result.source or "" for result in results)})}


@pytest.mark.parametrize("name", [name for name in configs.shipped() if "overlays" not in configs.find(name).parts])
def test_a_header_has_the_results_of_its_command(name):
    text = header(name)
    for result in RESULTS:
        if result.config == name and result.data in DATA[:3] and (result.source or not result.options):
            for metric in {"acc", "acc_tta"} & set(result.metrics):
                percent = f"{100 * result.metrics[metric]:.{max(0, -2 - result.metrics[metric].as_tuple().exponent)}f}"
                spread = f" +- {(100 * result.std[metric]).normalize():f}" if metric in result.std else ""
                assert re.search(rf"{percent}{re.escape(spread)}( %| and)", text), (percent, spread)


def test_digits_are_kept():
    result = Result("M", "cnn", "JPEG copy", {"acc": Decimal("0.8990")}, seeds=[0])
    assert str(result) == "0.8990 (JPEG copy, n = 1)"
    result = result._replace(std={"acc": Decimal("0.010")}, options="--trainer.max_epochs 2", n=2, epochs=2)
    assert str(result) == "0.8990 ± 0.010 (JPEG copy, n = 2, epochs: 2)"
    assert result.command == "fit --config cnn --trainer.max_epochs 2"
    assert json.loads(json.dumps(result.as_json()))["metrics"] == {"acc": 0.899}


def test_the_best_result_is_one_of_ours_on_the_ten_classes():
    for name in registry.BUILT_IN:
        best = measured_results.best(name)
        own = [
            r for r in RESULTS if r.model == name and not r.source and r.task == "multiclass" and r.data == "JPEG copy"
        ]
        assert best is None if not own else best.metrics["acc"] == max(r.metrics.get("acc", 0) for r in own)


@pytest.mark.parametrize("path", readmes.FILES, ids=lambda path: path.parent.name)
def test_readmes_are_up_to_date(path):
    assert readmes.generate(path) == path.read_text(encoding="utf-8"), "write it anew: python -m zoo.catalogue"
