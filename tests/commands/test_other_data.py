"""Each command on other data than CIFAR-10: gray images, other sizes, a hundred classes, hostile names of classes."""

import contextlib
import csv
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cli
from datamodules.errors import InputError
from tests import other_data, plugins
from tests.helpers import in_markdown, refusal
from tests.other_data import GRAY, HOSTILE, HUNDRED
from zoo.evaluation import latency
from zoo.evaluation.sections import robustness
from zoo.trained import trained_model

pytestmark = pytest.mark.pictures

QUICK = ["--data.val_size=40", "--data.train_size=200", "--data.test_size=120", "--data.batch_size=20"]
QUICK += ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
RUNS = {
    "gray": ["--model=CNN", "--data=GrayData"],
    "one": ["--model=NumPyMLP", "--data=GrayData", f"--data.one_class={HOSTILE[2]}"],
    "other_one": ["--model=NumPyMLP", "--data=GrayData", f"--data.one_class={HOSTILE[3]}"],
    "many": ["--model=NumPyMLP", "--data=ManyData", "--data.train_size=600", "--data.val_size=100"],
}


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """What each run has printed."""
    return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, written) -> Path:
    """A folder of the runs, which it names."""
    folder = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        other_data.install(patch)
        for name, options in RUNS.items():
            text = io.StringIO()
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                assert cli.main(["fit", *QUICK, *options, f"--name={name}", f"--runs_dir={folder}"]) == 0
            written[name] = text.getvalue()
    return folder


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    other_data.install(monkeypatch)
    monkeypatch.setattr(latency, "WARM_UP", 0)
    monkeypatch.setattr(latency, "TURNS", {"batch": 1, "single": 1})


def of(folder: Path, name: str) -> Path:
    return next(folder.glob(f"{name}-*/*"))


@pytest.mark.parametrize("name", RUNS)
def test_fit_draws_everything(folder, written, name):
    assert "warning" not in written[name]
    assert max(map(len, written[name].splitlines())) < 150
    run = of(folder, name)
    facts = json.loads((run / "metrics.json").read_text())
    first = tuple(facts["test/acc_per_class"])
    expected = {"gray": HOSTILE, "many": HUNDRED, "one": (HOSTILE[2], f"not {HOSTILE[2]}")}
    assert first == expected.get(name, (HOSTILE[3], f"not {HOSTILE[3]}"))
    log = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    log.Reload()
    assert len([tag for tag in log.Tags()["tensors"] if tag.startswith("pr/")]) == len(first)
    assert {"weights/first_layer", "images/predictions", "test/confusion_matrix"} <= {*log.Tags()["images"]}
    if name == "gray":
        assert {"images/class_activation", "features/net.0"} <= {*log.Tags()["images"]}
        sprite = np.asarray(Image.open(run / "tensorboard/projector/images.png"))
        np.testing.assert_array_equal(sprite, sprite[..., :1].repeat(3, 2))
        assert sprite.shape == (7 * 28, 7 * 28, 3), "of 40 images"


def test_validate_and_resume_know_the_data(folder):
    assert cli.main(["validate", f"--ckpt={of(folder, 'gray')}", "--data.data_dir=."]) == 0


@pytest.mark.parametrize("name", ["gray", "many", "one"])
def test_evaluate(folder, name):
    assert cli.main(["evaluate", f"--ckpt={of(folder, name)}", "--out=report", "--corruption_images=8"]) == 0
    report = json.loads(Path("report/report.json").read_text())
    trained = trained_model.load(of(folder, name))
    data = trained.data()
    data.setup("test")
    with torch.no_grad():
        predicted = trained.model.predict_classes(trained.model(data.test.images.permute(0, 3, 1, 2)))
    assert report["summary"]["accuracy"] == pytest.approx((predicted == data.test.labels).double().mean().item())
    assert tuple(report["classes"]["per_class"]) == tuple(report["confusion"]["confusion_matrix"]) == data.class_names
    assert ("saturation" in report["robustness"]["corruptions"]) == (name == "many")
    assert len(report["robustness"]["parameters"]["pixelate"]) == 6
    page, text = (Path(f"report/report.{suffix}").read_text() for suffix in ("html", "md"))
    for class_name in data.class_names:
        assert in_markdown(class_name) in text
    assert "<b>x" not in page + text
    assert ("for color images: saturation" in page) == (name != "many")
    assert page.count("<tr>") < 400, "no table of 100 columns"
    largest = max(len(line.split(" | ")) for line in text.splitlines())
    assert largest < 20
    if name == "one":
        assert f"binary {in_markdown(HOSTILE[2])} against the rest" in text.replace(" | ", " ")


@pytest.mark.parametrize("name", ["gray", "many", "one"])
def test_explain(folder, name, capsys):
    assert cli.main(["explain", f"--ckpt={of(folder, name)}", "--method=all", "--images=3", "--out=pages"]) == 0
    pages = {path.stem for path in Path("pages").glob("*.png")}
    assert pages == {"attributions", "filters", "features", "neighbours"}
    assert ("no cam" in capsys.readouterr().err) == (name != "gray"), "the others have no convolution"


def test_predict_leaves_the_names_of_classes_as_they_are(folder):
    """For programs, as all of a CSV file: a spreadsheet would take "=1+1" for a formula."""
    assert cli.main(["predict", f"--ckpt={of(folder, 'gray')}", "--test_set", "--out=found.csv"]) == 0
    heads, *rows = csv.reader(Path("found.csv").read_text().splitlines())
    assert tuple(heads[4:]) == HOSTILE
    assert len(rows) == 120
    assert {row[1] for row in rows} == set(HOSTILE)


@pytest.mark.parametrize(("name", "file_format"), [("gray", "pt2"), ("one", "npz"), ("many", "safetensors")])
def test_export(folder, name, file_format):
    out = f"model.{file_format}"
    assert cli.main(["export", f"--ckpt={of(folder, name)}", f"--format={file_format}", f"--out={out}"]) == 0
    trained = trained_model.load(of(folder, name))
    channels, size, _ = trained.model.image_shape
    card = Path(f"{out}.md").read_text()
    assert f"{'gray' if channels == 1 else 'color'} images of {size} x {size} pixels" in card
    assert f"shape (n, {channels}, {size}, {size})" in card
    assert "32 x 32" not in card
    assert (in_markdown(HOSTILE[2]) in card) == (name != "many")
    assert ("against the rest" in card) == (name == "one")
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(noise).save("picture.png")
    seen: list = []
    known = {"print": lambda *values: seen.extend(values)}
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        exec(code, known)
    gray = np.array(Image.fromarray(noise).convert("L"))[None]
    pixels = torch.from_numpy(gray if channels == 1 else noise.transpose(2, 0, 1))[None]
    with torch.no_grad():
        expected = trained.model.predict_probabilities(trained.model(pixels))[0]
    assert seen[0] == trained.class_names[expected.argmax()]
    assert seen[1] == pytest.approx(expected.max().item(), abs=1e-4)


def test_compare_never_mixes_data_or_classes(folder, capsys):
    runs = [str(of(folder, name)) for name in RUNS]
    capsys.readouterr()
    assert cli.main(["compare", *runs, "--format=csv"]) == 0
    rows = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert [row["data"] for row in rows] == [GRAY.title] * 3 + ["Many"]
    ones = [f"binary ({name} against the rest)" for name in HOSTILE[2:4]]
    assert [row["task"] for row in rows] == ["multiclass", *ones, "multiclass"]
    assert cli.main(["compare", *runs]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line and not line.startswith(" ")]
    assert titles == [f"{GRAY.title}, multiclass", *(f"{GRAY.title}, {one}" for one in ones), "Many, multiclass"]


def test_the_recall_of_compare_is_that_of_the_class(folder, capsys):
    capsys.readouterr()
    assert cli.main(["compare", str(of(folder, "one")), "--format=csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    facts = json.loads((of(folder, "one") / "metrics.json").read_text())
    confusion = np.array(facts["test/confusion"])
    assert confusion.sum(1).tolist() == [24, 96], "the class, and the rest"
    assert float(row[f"recall of {HOSTILE[2]}_mean"]) == pytest.approx(confusion[0, 0] / 24, abs=1e-6)


@pytest.mark.parametrize(("other", "told"), [("many", "data.class_path"), ("one", "data.task")])
def test_models_of_other_data_are_not_compared(folder, capsys, other, told):
    words = ["evaluate", "--ckpt", of(folder, "gray"), "--against", of(folder, other), "--out=a"]
    assert f"has {told} " in refusal(capsys, *words, notes=("note: ",))
    assert not Path("a").exists()


def test_models_of_other_classes_are_not_compared(folder, capsys):
    words = ["evaluate", "--ckpt", of(folder, "one"), "--against", of(folder, "other_one"), "--out=a"]
    line = refusal(capsys, *words, notes=("note: ",))
    assert f"has classes {HOSTILE[3]}, not {HOSTILE[3]}" in line


@pytest.mark.parametrize("option", ["cifar10_c", "cifar10_1"])
def test_other_test_sets_of_cifar10_are_refused(folder, capsys, monkeypatch, option):
    monkeypatch.setattr(f"zoo.evaluation.external_test_sets.{option}", lambda folder: None)
    line = refusal(capsys, "evaluate", "--ckpt", of(folder, "gray"), f"--{option}=sets", "--out=a", notes=("note: ",))
    assert f"--{option} is a test set of CIFAR-10, and" in line
    assert f"was trained on {GRAY.title}: leave it out" in line


def test_the_labels_of_cifar10_c_are_those_of_the_class():
    subject = SimpleNamespace(data=SimpleNamespace(task="binary"), class_names=("cat", "not cat"))
    assert robustness._task_labels(subject, np.arange(10)).tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    subject.data.task = "multiclass"
    assert robustness._task_labels(subject, np.arange(10)).tolist() == [*range(10)]


ESCAPE = "\x1b[31mred"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_names": [ESCAPE, "b"]}, r"a class with the name '\x1b[31mred'"),
        ({"class_names": ["a" * 101, "b"]}, "1 to 100 printable characters"),
        ({"class_names": ["a", "b", "a"]}, "two classes with the name 'a'"),
        ({"class_names": ["a"]}, "has one class, 'a'"),
        ({"class_names": []}, "has no classes"),
        ({"class_names": "ab"}, "the names of its classes are not a list of strings"),
        ({"class_names": ["a", 1]}, "the names of its classes are not a list of strings"),
        ({"title": ESCAPE}, r"the title '\x1b[31mred'"),
        ({"title": 3}, "the title 3"),
        ({"one_class": ESCAPE}, "of the binary task is not among"),
    ],
)
def test_names_in_a_strangers_checkpoint(folder, capsys, changes, told):
    content = torch.load(of(folder, "one") / "checkpoints/last.ckpt", weights_only=True)
    content["GrayData"] |= changes
    if "one_class" in changes:
        content["config"]["data"]["init_args"] |= changes
    torch.save(content, "stranger.ckpt")
    line = refusal(capsys, "predict", "--ckpt=stranger.ckpt", "--test_set", "--out=a.csv")
    assert told in line
    assert line.isprintable()
    assert not Path("a.csv").exists()


def test_a_checkpoint_whose_data_are_not_installed_keeps_the_names_of_its_classes(folder, monkeypatch):
    """One that a trainer in Python wrote, and that has no config."""
    content = torch.load(of(folder, "gray") / "checkpoints/last.ckpt", weights_only=True)
    torch.save(content | {"config": None}, "gray.ckpt")
    plugins.claim(monkeypatch, [])
    trained = trained_model.load("gray.ckpt")
    assert trained.class_names == HOSTILE
    assert trained.data_title == GRAY.title
    with pytest.raises(InputError, match="other data"):
        trained.data()


def test_images_that_have_moved(tmp_path, monkeypatch, capsys):
    """The old place is told, with what lies near it; the new one goes on."""
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        path = Path("photos", "ab"[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
    fit = ["fit", "--model=MLP", "--data=ImageFolder", "--data.data_dir=photos", "--data.image_size=8"]
    assert cli.main([*fit, "--data.batch_size=8", "--trainer.max_epochs=1"]) == 0
    (run,) = Path("runs").glob("*/*")
    Path("photos").rename("photo")
    told = "--data.data_dir=photos is not a folder. Did you mean 'photo'?"
    for command in (["test", f"--ckpt={run}"], ["evaluate", f"--ckpt={run}"], ["fit", f"--resume={run}"]):
        assert told in refusal(capsys, *command)
    assert cli.main(["test", f"--ckpt={run}", "--data.data_dir=photo"]) == 0
