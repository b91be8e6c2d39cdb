"""`evaluate`: the report's figures against other implementations, its three forms against each other, bad input."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import cli
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from datamodules.image_data_module import stratified_order
from tests import helpers
from tests.helpers import Hostile, in_markdown
from zoo.evaluation import external_test_sets, html, latency, markdown, report_writer
from zoo.evaluation.corruptions import corrupt
from zoo.evaluation.document import Fact, Facts, Gallery, Listing, Plot, Report, Section, Table, Text, Tile, as_json
from zoo.models.mlp import MLP
from zoo.trained.inference import BATCH_SIZE
from zoo.trained.trained_model import load

TINY = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
FEW = "--corruption_images=5"
VOID = {"meta", "img", "br", "link", "input", "hr"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, official_layout) -> Path:
    """A run on files in the layout of CIFAR-10."""
    folder = tmp_path_factory.mktemp("photographs")
    data = [f"--data.data_dir={official_layout}", "--data.verify_checksums=false", "--data.train_size=50"]
    sizes = ["--data.val_size=20", "--data.test_size=40", f"--runs_dir={folder}", "--trainer.max_epochs=1"]
    quiet = "--trainer.enable_progress_bar=false"
    assert cli.main(["fit", "--model=NumPyMLP", "--name=photographs", *data, *sizes, quiet]) == 0
    return next(folder.glob("*/*"))


def of(runs: Path, name: str) -> str:
    return str(next(runs.glob(f"{name}-synthetic/*")))


@pytest.fixture(autouse=True)
def _few_turns(monkeypatch):
    """Speed is measured, and not tested."""
    monkeypatch.setattr(latency, "WARM_UP", 0)
    monkeypatch.setattr(latency, "TURNS", {"batch": 1, "single": 1})


@pytest.fixture
def evaluate(runs, capsys) -> Callable[..., dict]:
    """Evaluate a run of `runs`, or a checkpoint; return the report as JSON. It lies in the folder "report"."""

    def evaluate(name: str, *options: object) -> dict:
        ckpt = name if os.sep in name else of(runs, name)
        defaults = [] if any(str(option).startswith("--corruption_images") for option in options) else [FEW]
        assert cli.main(["evaluate", "--ckpt", ckpt, "--out=report", *defaults, *map(str, options)]) == 0
        return json.loads(Path("report", "report.json").read_text())

    return evaluate


@pytest.fixture
def refusal(runs, capsys) -> Callable[..., str]:
    """Call in a wrong way; return the one line that says so."""

    def refusal(*arguments: object, ckpt: str | None = None) -> str:
        chosen = ["--ckpt", ckpt or of(runs, "mlp")]
        return helpers.refusal(capsys, "evaluate", FEW, *chosen, *arguments, notes=("note: ",))

    return refusal


def answers(ckpt: str, stage: str = "test") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels, a model's answers and its probabilities, by the model and the data alone."""
    trained = load(ckpt)
    sizes = {name: trained.config["data"][name] for name in ("source", "task", "train_size", "val_size", "test_size")}
    data = CIFAR10DataModule(**sizes)
    data.setup()
    images = data.test if stage == "test" else data.val
    with torch.no_grad():
        logits = trained.model(images.images.permute(0, 3, 1, 2))
    found = trained.model.predict_classes(logits), trained.model.predict_probabilities(logits)
    return images.labels.numpy(), found[0].numpy(), found[1].numpy()


class Page(HTMLParser):
    """A parsed page, which has to be well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.titles: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        assert len(attributes) == len(attrs)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if "src" in attributes:
            self.sources.append(attributes["src"])
        assert tag == "a" or "href" not in attributes
        if tag == "h2":
            self.titles.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] == "h2":
            self.titles[-1] += data

    def words(self) -> str:
        """Return the text, with ordinary spaces."""
        return "".join(self.text).replace("\xa0", " ")


def page() -> Page:
    return Page(Path("report", "report.html").read_text())


# The figures.


@pytest.mark.parametrize("name", ["cnn", "numpy"])
def test_figures_are_those_of_scikit_learn(evaluate, runs, name):
    report = evaluate(name)
    labels, predicted, probabilities = answers(of(runs, name))
    names = list(report["classes"]["per_class"])
    k = len(names)
    counts = confusion_matrix(labels, predicted, labels=range(k))
    assert [list(row.values()) for row in report["confusion"]["confusion_matrix"].values()] == counts.tolist()
    precision, recall, f1, images = precision_recall_fscore_support(
        labels, predicted, labels=range(k), zero_division=np.nan
    )
    for label, row in enumerate(report["classes"]["per_class"].values()):
        assert (row["images"], row["predicted"]) == (images[label], (predicted == label).sum())
        of_label = binomtest(int(counts[label, label]), int(images[label])).proportion_ci(method="wilson")
        assert row["95 % interval"] == pytest.approx({"low": of_label.low, "high": of_label.high})
        assert row["accuracy (recall)"] == pytest.approx(recall[label])
        expected = None if np.isnan(precision[label]) else pytest.approx(precision[label])
        assert row["precision"] == expected
        assert row["F1"] == pytest.approx(f1[label])
    summary = report["summary"]
    assert summary["accuracy"] == pytest.approx((labels == predicted).mean())
    interval = binomtest(int((labels == predicted).sum()), 40).proportion_ci(method="wilson")
    assert summary["accuracy_interval"] == pytest.approx({"low": interval.low, "high": interval.high})
    average = {"average": "binary"} if k == 2 else {"average": "macro", "labels": np.unique([labels, predicted])}
    macro = precision_recall_fscore_support(labels, predicted, zero_division=0, **average)[:3]
    assert [summary[key] for key in ("precision", "recall", "f1")] == pytest.approx(list(macro))
    of_truth = probabilities[np.arange(40), labels]
    assert summary["loss"] == pytest.approx(-np.log(of_truth).mean(), rel=1e-4)
    assert report["calibration"]["quality"]["as it is"]["NLL"] == summary["loss"]


@pytest.mark.parametrize("name", ["cnn", "numpy"])
def test_summary_is_what_fit_measured(evaluate, runs, name):
    summary = evaluate(name)["summary"]
    facts = json.loads((Path(of(runs, name)) / "metrics.json").read_text())
    assert summary["accuracy"] == facts["test/acc"]
    assert summary["loss"] == pytest.approx(facts["test/loss"], rel=1e-5)
    for ours, theirs in (("parameters", "parameters"), ("images", "test/images"), ("epochs", "epochs")):
        assert summary[ours] == facts[theirs]
    assert summary["source"] == "synthetic"
    assert (summary["best_epoch"], summary["seed"]) == (1, "0")


def test_mistakes_are_the_surest_wrong_answers(evaluate, runs):
    found = evaluate("cnn")["mistakes"]["mistakes"]
    labels, predicted, probabilities = answers(of(runs, "cnn"))
    wrong = predicted != labels
    assert len(found) == min(24, wrong.sum())
    expected = np.sort(probabilities.max(1)[wrong])[::-1][: len(found)]
    assert [row["probability"] for row in found.values()] == pytest.approx(expected.tolist(), rel=1e-5)
    data = CIFAR10DataModule(source="synthetic", train_size=64, val_size=32, test_size=40)
    data.setup("test")
    positions = [data.test.indices.tolist().index(row["index"]) for row in found.values()]
    told = [(row["truth"], row["predicted"], row["probability"]) for row in found.values()]
    names = data.class_names
    assert told == [
        (names[labels[i]], names[predicted[i]], pytest.approx(probabilities[i].max(), rel=1e-5)) for i in positions
    ]


def test_confused_pairs_are_told_in_words(evaluate, runs):
    report = evaluate("cnn")["confusion"]
    labels, predicted, _ = answers(of(runs, "cnn"))
    (text,) = report["text"]
    truth, answer, count, images = re.match(r"Confused most: (\w+) taken for (\w+): (\d+) of (\d+)", text).groups()
    names = list(report["confusion_matrix"])
    pairs = confusion_matrix(labels, predicted, labels=range(10)) * (1 - np.eye(10, dtype=int))
    assert pairs[names.index(truth), names.index(answer)] == int(count) == pairs.max()
    assert int(images) == 4
    table = report["most_confused"]
    shares = [row["share"] for row in table.values()]
    assert shares == sorted(shares, reverse=True)
    assert len(table) == min(10, (pairs > 0).sum())
    for pair, row in table.items():
        truth, answer = (names.index(name) for name in pair.split(" taken for "))
        assert row == {"images": pairs[truth, answer], "of": 4, "share": pairs[truth, answer] / 4}


class Timed(MLP):
    """Takes 2 s for a batch by the clock of the test, and 3 ms for a single image; at first 10 times as long."""

    def __init__(self) -> None:
        super().__init__([])
        self.now, self.calls = 0.0, []

    def forward(self, images):
        slow = 10 if self.calls.count(len(images)) < 2 else 1
        self.calls.append(len(images))
        self.now += slow * (2 if len(images) > 1 else 0.003)
        return super().forward(images)


def test_speed_is_that_of_a_batch_and_of_an_image(monkeypatch):
    model = Timed()
    monkeypatch.setattr("time.perf_counter", lambda: model.now)
    monkeypatch.setattr(latency, "WARM_UP", 1)
    monkeypatch.setattr(latency, "TURNS", {"batch": 3, "single": 5})
    found = latency.measure(model, np.zeros((7, 3, 32, 32), np.uint8))
    assert found.images_per_second == pytest.approx(BATCH_SIZE / 2)
    assert found.milliseconds == pytest.approx(3)
    assert model.calls == [BATCH_SIZE] * 4 + [1] * 6


def test_robustness_has_every_cell(evaluate, runs):
    found = evaluate("mlp", "--corruption_images=40")["robustness"]
    labels, predicted, _ = answers(of(runs, "mlp"))
    assert found["images_per_cell"] == 40
    assert found["clean"] == pytest.approx((labels == predicted).mean())
    cells = [row[f"severity {s}"] for name, row in found["corruptions"].items() if name != "mean" for s in range(1, 6)]
    assert len(cells) == 60
    trained = load(of(runs, "mlp"))
    data = trained.data()
    data.setup("test")
    pixels = data.test.images.permute(0, 3, 1, 2).numpy()
    for name, severity in (("gaussian_noise", 5), ("motion_blur", 4), ("contrast", 3), ("jpeg", 5), ("pixelate", 1)):
        with torch.no_grad():
            logits = trained.model(torch.from_numpy(corrupt(pixels, name, severity, seed=0)))
        expected = (trained.model.predict_classes(logits).numpy() == labels).mean()
        assert found["corruptions"][name][f"severity {severity}"] == pytest.approx(expected)
    assert found["mean_corruption_accuracy"] == pytest.approx(np.mean(cells))
    assert found["corruptions"]["mean"]["mean"] == pytest.approx(np.mean(cells))
    for severity, of_severity in enumerate(np.reshape(cells, (12, 5)).T, start=1):
        assert found["corruptions"]["mean"][f"severity {severity}"] == pytest.approx(of_severity.mean())


def test_without_corruptions(evaluate):
    report = evaluate("mlp", "--corruption_images=0")
    assert "robustness" not in report
    assert "Robustness" not in page().titles


def test_stage_val(evaluate, runs):
    report = evaluate("cnn", "--stage=val")
    labels, predicted, _ = answers(of(runs, "cnn"), "val")
    assert report["summary"]["images"] == 32
    assert report["summary"]["accuracy"] == pytest.approx((labels == predicted).mean())
    assert report["data"].startswith("32 validation images")
    data = CIFAR10DataModule(source="synthetic", train_size=64, val_size=32)
    data.setup("fit")
    wrong = set(data.val.indices[torch.from_numpy(labels != predicted)].tolist())
    shown = {row["index"] for row in report["mistakes"]["mistakes"].values()}
    assert shown <= wrong
    assert len(shown) == min(24, len(wrong))
    assert any("flatters" in text for text in report["calibration"]["text"])


def test_the_temperature_is_of_the_validation_set(evaluate, runs):
    found = evaluate("cnn")["calibration"]
    labels, _, probabilities = answers(of(runs, "cnn"), "val")
    z, target = torch.from_numpy(np.log(probabilities)).double(), torch.from_numpy(labels)
    nll = [torch.nn.functional.cross_entropy(z / (found["temperature"] * f), target) for f in (0.99, 1, 1.01)]
    assert min(nll) == nll[1]
    assert found["validation_images"] == 32
    headline = f"{100 * found['quality']['temperature scaled']['ECE']:.2f} % with temperature scaling"
    assert headline in page().words()


def test_no_validation_set(evaluate, refusal, runs):
    assert list(evaluate("all")["calibration"]["quality"]) == ["as it is"]
    assert "--data.val_size 0" in refusal("--stage=val", "--out=val", ckpt=of(runs, "all"))


def trained_from_python(**sizes: int) -> None:
    """A checkpoint as the README's own Python code leaves one, with no config."""
    torch.manual_seed(0)
    data, model = CIFAR10DataModule(source="synthetic", train_size=40, test_size=30, **sizes), MLP([8])
    trainer = L.Trainer(max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint("own.ckpt")


def test_what_was_held_out_in_python(evaluate):
    """The checkpoint tells: training images are never taken for validation images."""
    trained_from_python(val_size=16)
    report = evaluate(f".{os.sep}own.ckpt", "--stage=val")
    labels, predicted, _ = answers(f".{os.sep}own.ckpt", "val")
    assert report["summary"]["images"] == len(labels) == 16
    assert report["summary"]["accuracy"] == pytest.approx((labels == predicted).mean())


def test_nothing_was_held_out_in_python(evaluate, refusal):
    trained_from_python(val_size=0)
    assert "val_size 0" in refusal("--stage=val", "--out=val", ckpt="own.ckpt")
    assert list(evaluate(f".{os.sep}own.ckpt")["calibration"]["quality"]) == ["as it is"]


def test_a_checkpoint_that_does_not_tell_what_was_held_out(evaluate, refusal):
    trained_from_python(val_size=16)
    content = torch.load("own.ckpt", weights_only=True)
    del content["CIFAR10DataModule"]["val_size"]
    torch.save(content, "own.ckpt")
    assert "does not tell what was held out" in refusal("--stage=val", "--out=val", ckpt="own.ckpt")
    found = evaluate(f".{os.sep}own.ckpt")["calibration"]
    assert list(found["quality"]) == ["as it is"]
    assert any("does not tell which images were held out" in text for text in found["text"])


def test_cells_of_any_size_have_accuracies(evaluate, runs):
    """Classes that are not equally frequent in a cell do not make it another quantity; of two it is balanced."""
    found = evaluate("mlp", "--corruption_images=15")["robustness"]
    labels, predicted, _ = answers(of(runs, "mlp"))
    chosen = stratified_order(labels, np.random.default_rng(0))[:15]
    assert found["clean"] == pytest.approx((predicted == labels)[chosen].mean())
    labels, predicted, _ = answers(of(runs, "numpy"))
    found = evaluate("numpy", f"--corruption_images={len(labels)}", "--overwrite")["robustness"]
    recalls = [(predicted[labels == label] == label).mean() for label in (0, 1)]
    assert found["clean"] == pytest.approx(np.mean(recalls))


# Two models.


def test_two_models(evaluate, runs, capsys):
    found = evaluate("cnn", "--against", of(runs, "mlp"))["comparison"]
    labels, first, _ = answers(of(runs, "cnn"))
    second = answers(of(runs, "mlp"))[1]
    a, b = first == labels, second == labels
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    assert found["table"] == {
        "A right": {"B right": int((a & b).sum()), "B wrong": only_a},
        "A wrong": {"B right": only_b, "B wrong": int((~a & ~b).sum())},
    }
    assert found["difference"] == pytest.approx(b.mean() - a.mean())
    assert found["p_exact"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert found["difference_interval"]["low"] <= found["difference"] <= found["difference_interval"]["high"]
    assert found["text"][0] in capsys.readouterr().out


def test_a_model_is_not_better_than_itself(evaluate, runs):
    found = evaluate("cnn", "--against", of(runs, "cnn"))["comparison"]
    assert found["p_exact"] == 1
    assert found["text"][0].startswith("These images do not tell A and B apart")


def test_the_verdict_names_the_better_one():
    from zoo.evaluation.sections.comparison import conclusion
    from zoo.evaluation.significance import mcnemar

    better = conclusion(100, 200, 0.1, (0.06, 0.14), mcnemar(100, 200))
    assert better.startswith("B is better than A on images like these: it is right about 10.00 percentage points")
    assert "+6.00 to +14.00" in better
    worse = conclusion(200, 100, -0.1, (-0.14, -0.06), mcnemar(200, 100))
    assert worse.startswith("A is better than B on images like these")
    assert "+6.00 to +14.00" in worse
    unclear = conclusion(10, 12, 0.002, (-0.01, 0.014), mcnemar(10, 12))
    assert unclear.startswith("These images do not tell A and B apart: B is right about 0.20 percentage points more")
    assert "-1.00 to +1.40" in unclear
    assert "disagree" not in unclear
    plain = conclusion(150, 3800, 0.365, (0.35, 0.38), mcnemar(150, 3800))
    assert plain.endswith("would have a probability of less than 1e-300.")
    assert "too close to call" in conclusion(5, 14, 0.0009, (0.0001, 0.0018), mcnemar(5, 14))
    exact, _, approximate = mcnemar(4, 13)
    assert exact < 0.05 < approximate
    assert "B is better" in conclusion(4, 13, 0.009, (0.001, 0.018), mcnemar(4, 13)), "the exact probability decides"


def test_models_of_other_tasks_are_not_compared(refusal, runs, photographs):
    assert "data.task binary" in refusal("--out=a", "--against", of(runs, "numpy"))
    assert "data.source cifar10" in refusal("--out=a", "--against", photographs)
    assert "data.val_size 0" in refusal("--out=a", "--stage=val", "--against", of(runs, "all"))
    assert not Path("a").exists()


# Other test sets.


def write_sets(folder: Path, per_block: int = 20) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Files in the layout of CIFAR-10-C and CIFAR-10.1, of images as the tests' CIFAR-10 has them."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    labels = np.tile(rng.permutation(np.arange(per_block) % 10), 5).astype(np.uint8)
    names = ("fog", "snow", "spatter")
    images = {name: rng.integers(0, 256, (5 * per_block, 32, 32, 3), dtype=np.uint8) for name in names}
    for name, of_name in images.items():
        np.save(folder / f"{name}.npy", of_name)
    np.save(folder / "labels.npy", labels)
    np.save(folder / external_test_sets.CIFAR10_1[0], images["fog"][:30])
    np.save(folder / external_test_sets.CIFAR10_1[1], labels[:30].astype(np.int32))
    return images, labels


def test_published_test_sets(evaluate, photographs, official_layout):
    images, labels = write_sets(Path("sets"))
    report = evaluate(str(photographs), "--cifar10_c=sets", "--cifar10_1=sets", "--corruption_images=10")
    chosen = stratified_order(labels[:20], np.random.default_rng(0))[:10]  # of each block
    model = load(str(photographs)).model
    for name, pixels in images.items():
        with torch.no_grad():
            logits = model(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        right = (logits.argmax(1).numpy() == labels).reshape(5, 20)
        found = report["cifar10_c"]["cifar10_c"][name]
        assert [found[f"severity {severity}"] for severity in range(1, 6)] == pytest.approx(
            right[:, chosen].mean(1).tolist()
        )
        if name == "fog":
            new = right.reshape(-1)[:30].mean()
    rows = report["cifar10_c"]["cifar10_c"]
    published = (rows["fog"]["mean"] + rows["snow"]["mean"]) / 2  # spatter is for choices
    assert report["cifar10_c"]["mean_corruption_accuracy"] == pytest.approx(published)
    assert rows["mean"]["mean"] == pytest.approx(published)
    assert rows["spatter"]["mean"] != pytest.approx(published)
    assert report["cifar10_1"]["accuracy"] == pytest.approx(new)
    assert report["cifar10_1"]["images"] == 30
    assert report["summary"]["source"] == "CIFAR-10 copy (not the official files)"


def damage(name: str, value: object) -> None:
    write_sets(Path("sets"))
    if isinstance(value, bytes):
        Path("sets", name).write_bytes(value)
    elif value is None:
        Path("sets", name).unlink()
    else:
        np.save(Path("sets", name), value, allow_pickle=True)


IMAGES_OF_100 = np.zeros((100, 32, 32, 3), np.uint8)
DAMAGED = {
    "no labels": ("labels.npy", None, "has no labels.npy"),
    "garbage": ("labels.npy", b"garbage", "cannot be read as an array"),
    "pickle": ("labels.npy", np.array([{"a": 1}], dtype=object), "cannot be read as an array"),
    "no block": ("labels.npy", np.zeros(99, np.uint8), "not 5 blocks"),
    "floats": ("labels.npy", np.zeros(100), "expected one whole number"),
    "out of range": ("labels.npy", np.full(100, 10), "classes 10 to 10"),
    "too few": ("fog.npy", IMAGES_OF_100[:50], "expected uint8 (100, 32, 32, 3)"),
    "truncated": ("fog.npy", b"\x93NUMPY\x01\x00", "cannot be read as an array"),
    "floats as pixels": ("fog.npy", IMAGES_OF_100.astype(float), "expected uint8"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_test_sets(refusal, photographs, case):
    name, value, expected = DAMAGED[case]
    damage(name, value)
    assert expected in refusal("--cifar10_c=sets", "--out=report", ckpt=str(photographs))
    assert not Path("report").exists()


def test_a_test_set_is_not_read_whatever_its_size():
    Path("sets").mkdir()
    np.lib.format.open_memmap("sets/labels.npy", "w+", np.uint8, (6_000_000_000,))  # which takes no room on the disk
    Path("sets/fog.npy").touch()
    with pytest.raises(InputError, match="has 6,000,000,000 classes, expected 1 to 1,000,000"):
        external_test_sets.cifar10_c(Path("sets"))
    Path("sets/labels.npy").unlink()
    os.mkfifo("sets/labels.npy")
    with pytest.raises(InputError, match=r"labels\.npy. is not a regular file"):
        external_test_sets.cifar10_c(Path("sets"))


def test_missing_test_sets(refusal, photographs, runs):
    write_sets(Path("sets"))
    Path("empty").mkdir()
    assert "'none' is not a folder" in refusal("--cifar10_c=none", ckpt=str(photographs))
    assert "has no cifar10.1_v6_labels.npy" in refusal("--cifar10_1=empty", ckpt=str(photographs))
    assert "is a test set of CIFAR-10, and" in refusal("--cifar10_1=sets", "--out=report")
    shutil.copy("sets/labels.npy", "empty")
    assert "no images of CIFAR-10-C" in refusal("--cifar10_c=empty", ckpt=str(photographs))


# The three forms.


def test_the_page_is_whole_and_needs_nothing_else(evaluate, runs):
    evaluate("cnn", "--against", of(runs, "mlp"))
    found = page()
    assert found.titles == [
        "Summary", "Is B better than A?", "Confusion matrix", "Each class", "Calibration", "Worst mistakes",
        "Robustness", "Learning curves", "Speed", "Config and versions",
    ]  # fmt: skip
    assert len(found.ids) == len(set(found.ids))
    inner = {link[1:] for link in found.links if link.startswith("#")}
    assert inner == set(found.ids)
    assert all(re.match(r"data:image/(png|svg\+xml);base64,", source) for source in found.sources)
    assert len(found.sources) > 6
    assert all(link.startswith(("#", "https://arxiv.org/", "https://doi.org/")) for link in found.links)
    assert not found.tags & {"script", "link", "iframe", "object", "embed"}
    (style,) = re.findall("<style>(.*)</style>", Path("report", "report.html").read_text(), re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style


def test_all_forms_have_the_same_figures(evaluate):
    report = evaluate("cnn")
    text = Path("report", "report.md").read_text()
    html_text = page().words()
    summary, calibration = report["summary"], report["calibration"]
    figures = [f"{100 * summary['accuracy']:.2f} %", f"{summary['f1']:.4f}", f"{summary['parameters']:,}"]
    figures += [f"{calibration['temperature']:.4f}", f"{calibration['quality']['as it is']['Brier']:.4f}"]
    figures += [f"{100 * row['severity 5']:.1f} %" for row in report["robustness"]["corruptions"].values()]
    for figure in figures:
        assert figure in html_text
        assert figure in text
    linked = re.findall(r"!\[[^]]*\]\((pictures/[^)]+)\)", text)
    assert {path.name for path in Path("report", "pictures").iterdir()} == {Path(link).name for link in linked}


def test_what_a_checkpoint_or_a_path_says_is_no_markup(evaluate, runs):
    odd = Path("odd <b>&\"'|`*$x$")
    shutil.copytree(of(runs, "mlp"), odd)
    report = evaluate(f".{os.sep}{odd}")
    assert str(odd) in report["summary"]["checkpoint"]
    found = page()
    assert "b" not in found.tags
    assert str(odd) in "".join(found.text)
    lines = Path("report", "report.md").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("| Checkpoint |"))
    assert r"odd \<b\>\&" in line
    assert len(re.findall(r"(?<!\\)\|", line)) == 4


def small_report() -> Report:
    tile = Tile(np.zeros((32, 32, 3), np.uint8), {"truth": Fact("truth", "cat <i>")})
    blocks = [
        Text("1 < 2 & 3", "https://arxiv.org/abs/1706.04599"),
        Facts(
            {"none": Fact("None", None), "nan": Fact("NaN", float("nan"), ".2%"), "pair": Fact("p", (0.1, 0.25), ".1%")}
        ),
        Table("table", "name", {"a": ",", "b": ""}, {"row": [12345, "word|"], "empty": [None, ""]}),
        Plot("drawn", "svg", b"<svg/>", "a drawing", "A caption.", 100),
        Gallery("tiles", [tile]),
        Listing("code", "Code", "a: <b>\n```\n"),
    ]
    return Report("A <title>", "sub", [Fact("Figure", 0.5, ".1%", "note")], [Section("one", "One & only", blocks)])


def test_every_block_in_every_form(tmp_path):
    report = small_report()
    found = Page(html.write(report))
    assert "i" not in found.tags
    text = found.words()
    written = markdown.write(report)
    for expected in ("12,345", "50.0 %", "10.0 % to 25.0 %"):
        assert expected in text
        assert expected in written
    assert "1 \\< 2 \\& 3" in written
    assert "````\na: <b>\n```\n````" in written
    assert as_json(report)["one"]["pair"] == {"low": 0.1, "high": 0.25}
    report_writer.write(report, tmp_path / "new")
    content = json.loads((tmp_path / "new" / "report.json").read_text())
    assert content["one"]["nan"] is None
    assert content["one"]["table"]["row"] == {"a": 12345, "b": "word|"}
    assert {path.name for path in (tmp_path / "new" / "pictures").iterdir()} == {"drawn.svg", "tiles_01.png"}


def hostile_report(text: Hostile) -> Report:
    """A report with a hostile text in every field that a writer shows; keys and formats are never from outside."""
    blocks = [
        Text(text(), "https://arxiv.org/?a=<b>&amp;\"onload='z'"),
        Facts({"a": Fact(text(), text(), "", text())}),
        Table("table", text(), {text(): "", text(): ""}, {text(): [text(), text()]}, text()),
        Table("plain", text(), {"a": ","}, {"row": [1]}),
        Plot("drawn", "svg", b"<svg/>", text(), text(), 100),
        Gallery(
            "tiles", [Tile(np.zeros((32, 32, 3), np.uint8), {"a": Fact(text(), text()), "b": Fact(text(), text())})]
        ),
        Listing("code", text(), text()),
    ]
    return Report(text(), text(), [Fact(text(), text(), "", text())], [Section("one", text(), blocks)])


def test_no_text_of_a_page_is_markup():
    text = Hostile()
    report = hostile_report(text)
    found = Page(html.write(report))
    assert found.tags.isdisjoint({"b", "script"})
    known = "id class lang charset name content href src alt style scope role tabindex aria-label width height"
    assert {name for name, _ in found.attributes} <= set(known.split())
    paragraph, _, table, headed, drawn, *_ = report.sections[0].blocks
    assert set(text.texts) - {one for one in text.texts if one in found.words()} == {drawn.description}
    values = {name: [value for its_name, value in found.attributes if its_name == name] for name in known.split()}
    assert values["alt"] == [drawn.description, ""]
    assert values["aria-label"] == ["Contents", "Facts", table.caption, headed.head, drawn.description]
    assert paragraph.source in values["href"]
    assert paragraph.source.removeprefix("https://") in found.words()


def test_no_text_of_a_report_in_markdown_is_markup():
    text = Hostile()
    report = hostile_report(text)
    written = markdown.write(report)
    (listed,) = (block.text for block in report.sections[0].blocks if isinstance(block, Listing))
    notes = {report.highlights[0].note}  # which Markdown does not show
    for one in set(text.texts) - {listed} - notes:
        assert in_markdown(one) in written
    assert f"\n```\n{listed}\n```\n" in written


# Where it goes.


def test_it_lies_in_the_run_by_default(runs, capsys, monkeypatch):
    run = Path("my_run")
    shutil.copytree(of(runs, "mlp"), run)
    assert cli.main(["evaluate", "--ckpt=my_run", FEW]) == 0
    assert "report: my_run/report/report.html" in capsys.readouterr().out
    assert (run / "report" / "report.html").is_file()
    assert cli.main(["evaluate", "--ckpt=my_run", FEW]) == 2
    assert "my_run/report has a report already: add --overwrite" in capsys.readouterr().err
    before = (run / "report" / "report.html").stat().st_ino
    assert cli.main(["evaluate", "--ckpt=my_run", FEW, "--overwrite"]) == 0
    assert (run / "report" / "report.html").stat().st_ino != before
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) in ([], [".lock"])


def test_a_full_disk_leaves_the_old_report(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    report_writer.write(small_report(), folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(report):
        yield "first.png", b"first"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(markdown, "image_files", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        report_writer.write(small_report()._replace(title="New"), folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    with pytest.raises(InputError):
        report_writer.write(small_report(), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_an_exchange_that_fails_leaves_the_old_report(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    report_writer.write(small_report(), folder)
    rename = Path.rename

    def failing(self, target):
        if self.name.endswith(".part"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="Permission denied"):
        report_writer.write(small_report()._replace(title="New"), folder)
    assert "A &lt;title&gt;" in (folder / "report.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_only_a_report_is_written_over(refusal):
    Path("mine").mkdir()
    Path("mine", "thesis.txt").write_text("years of work")
    assert "holds more than a report (thesis.txt)" in refusal("--out=mine", "--overwrite")
    assert Path("mine", "thesis.txt").read_text() == "years of work"
    Path("photos", "pictures").mkdir(parents=True)
    assert "holds more than a report (pictures)" in refusal("--out=photos", "--overwrite")
    assert Path("photos", "pictures").is_dir()


def test_what_somebody_put_into_a_report_is_kept(refusal):
    report_writer.write(small_report(), Path("mine"))
    Path("mine", "pictures", "holiday.jpg").write_text("the sea")
    assert "holds more than a report (pictures/holiday.jpg)" in refusal("--out=mine", "--overwrite")
    Path("mine", "pictures", "holiday.jpg").unlink()
    Path("mine", "report.json").write_text('"somebody else\'s"')
    assert "holds more than a report" in refusal("--out=mine", "--overwrite")
    assert Path("mine", "report.html").is_file()


def test_what_a_killed_process_left_is_removed(tmp_path):
    old, new = tmp_path / ".report.01234567.part", tmp_path / ".report.76543210.part"
    for left in (old, new):
        left.mkdir()
    os.utime(old, (0, 0))
    report_writer.write(small_report(), tmp_path / "report")
    assert not old.exists()
    assert new.exists(), "another process may be writing it"


def test_where_no_report_can_lie(refusal):
    Path("file").write_text("a file")
    assert "file' is not a folder" in refusal("--out=file")
    assert "file' is not a folder" in refusal("--out=file/report")
    assert "cannot be looked at" in refusal(f"--out={'x' * 300}")
    assert Path("file").read_text() == "a file"
    assert "is the folder you are in" in refusal("--out=.")
    assert "is the folder you are in" in refusal("--out=..")
    assert "is too long" in refusal(f"--out={'x' * 245}")
    assert not any(Path.cwd().glob("x*"))


def test_a_folder_that_is_not_ours(refusal, monkeypatch):
    """The superuser, as whom tests may run, writes everywhere: what the system says is put in its mouth."""
    Path("theirs", "empty").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "theirs")
    assert "not yours to write to" in refusal("--out=theirs/empty")


def test_the_top_of_a_volume(refusal, monkeypatch):
    Path("volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "volume")
    assert "is the top of a volume" in refusal("--out=volume")


# Bad input.


def test_misspelled_command_lines(refusal):
    assert "unknown option '--corruption_image'. Did you mean '--corruption_images'?" in refusal("--corruption_image=3")
    assert "--stage tset is unknown. Did you mean 'test'?" in refusal("--stage=tset")
    assert "--corruption_images -1 is out of range" in refusal("--corruption_images=-1")
    assert "invalid int value: 'many'" in refusal("--corruption_images=many")
    assert "leave out --cifar10_c" in refusal("--corruption_images=0", "--cifar10_c=sets")
    assert "--cifar10_1 has test images, and --stage val is for choices" in refusal("--stage=val", "--cifar10_1=sets")


def test_checkpoints_that_cannot_be_read(refusal):
    Path("damaged.ckpt").write_bytes(b"PK\x03\x04damaged")
    assert "damaged.ckpt is no readable checkpoint" in refusal("--out=report", ckpt="damaged.ckpt")
    assert "there is no such file" in refusal("--out=report", "--against=nowhere.ckpt")
    assert not Path("report").exists()


def changed(runs: Path, change: Callable[[dict], None]) -> str:
    """A copy of a run whose checkpoint says something else."""
    shutil.copytree(of(runs, "mlp"), "changed")
    for path in Path("changed", "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)
    return "changed"


def test_answers_that_are_no_numbers(refusal, runs):
    def diverge(content: dict) -> None:
        for tensor in content["state_dict"].values():
            tensor.fill_(torch.nan)

    assert "are not finite numbers: its training diverged" in refusal("--out=report", ckpt=changed(runs, diverge))
    assert not Path("report").exists()


def test_a_checkpoint_with_sizes_that_are_none(refusal, runs):
    ckpt = changed(runs, lambda content: content["config"]["data"].update(val_size="many"))
    assert "cannot be had: --data.val_size=many: give a whole number" in refusal("--out=report", ckpt=ckpt)


@pytest.mark.parametrize("content", ["data,epoch,val/acc\nsynthetic,one,0.5\n", "data,epoch\nsynthetic,\n", "\xff"])
def test_damaged_curves(refusal, runs, content):
    shutil.copytree(of(runs, "mlp"), "copy")
    Path("copy", "metrics.csv").write_bytes(content.encode("latin1"))
    assert "metrics.csv' cannot be read" in refusal("--out=report", ckpt="copy")


def test_a_checkpoint_alone(evaluate, runs):
    shutil.copy(Path(of(runs, "mlp"), "checkpoints", "best.ckpt"), "alone.ckpt")
    report = evaluate(f".{os.sep}alone.ckpt")
    assert "best_epoch" not in report["summary"]
    assert "Learning curves" not in page().titles
    assert "source: synthetic" in report["origin"]["config"]


def test_a_checkpoint_beside_somebody_elses_files(evaluate, runs):
    """What lies beside it is not of its run."""
    Path("models").mkdir()
    shutil.copy(Path(of(runs, "mlp"), "checkpoints", "best.ckpt"), "models/alone.ckpt")
    for folder in ("models", "."):
        Path(folder, "metrics.csv").write_text("name,score\nanna,1\n")
        Path(folder, "config.yaml").write_text("api_key: 1\n")
    report = evaluate(f"models{os.sep}alone.ckpt")
    assert "best_epoch" not in report["summary"]
    assert "source: synthetic" in report["origin"]["config"]


def test_a_model_of_ones_own(evaluate, tmp_path, monkeypatch):
    text = (
        "from torch import nn\nfrom zoo.core.torch_classifier import TorchClassifier\n"
        "class OneLayer(TorchClassifier):\n"
        "    def __init__(self, num_classes: int = 10) -> None:\n"
        "        super().__init__(num_classes)\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs))\n"
    )
    Path("one_layer_net.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    fit = ["fit", *TINY, "--trainer.max_epochs=1", "--model=one_layer_net.OneLayer", "--runs_dir=own"]
    assert cli.main([*fit, "--trainer.enable_progress_bar=false"]) == 0
    run = str(next(Path("own").glob("*/*")))
    model = "one_layer_net.OneLayer"
    report = evaluate(run, f"--model={model}", f"--against={run}", f"--against_model={model}")
    assert report["summary"]["model"] == "OneLayer"


def test_its_help_and_bad_files_need_no_torch():
    code = (
        "import sys, cli\n"
        "assert cli.main(['evaluate', '--help']) == 0\n"
        "assert cli.main(['evaluate', '--cifar10_c', 'none']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    root = Path(cli.__file__).parent
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(root)})
