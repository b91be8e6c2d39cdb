"""`explain`, as it is called: its pages and where they go, own pictures, bad input."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cli
from datamodules.data_sets import CIFAR10
from tests import forked, helpers
from zoo.commands import explain
from zoo.core import files
from zoo.interpretation import attribution, layer_outputs
from zoo.plots import explanation, mosaic
from zoo.trained.trained_model import load

TINY = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
OWN_MODEL = """
from torch import nn
from zoo.core.torch_classifier import TorchClassifier

class MyNet(TorchClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, self.num_outputs),
        )
"""


@pytest.fixture
def run(runs) -> Callable[[str], Path]:
    """Copy a run to the working directory, and return it."""

    def run(name: str) -> Path:
        return Path(shutil.copytree(next(runs.glob(f"{name}-synthetic/*")), Path("runs", name, "2026-01-01_00-00-00")))

    return run


@pytest.fixture
def call(capsys) -> Callable[..., tuple[list[str], str]]:
    """Call `explain`; return the lines that it prints, and what it says beside them."""

    def call(*arguments: object) -> tuple[list[str], str]:
        capsys.readouterr()
        assert cli.main(["explain", *map(str, arguments)]) == 0
        output = capsys.readouterr()
        assert "warn" not in output.err.lower()
        return output.out.splitlines(), output.err

    return call


@pytest.fixture
def refusal(capsys) -> Callable[..., str]:
    """Call in a wrong way; return the one line that says so. Nothing is written."""

    def refusal(*arguments: object) -> str:
        before = sorted(Path().rglob("*"))
        line = helpers.refusal(capsys, "explain", *arguments, notes=("note: ", "skipped "))
        assert sorted(Path().rglob("*")) == before
        return line

    return refusal


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """What is written on the pages with rows of images."""
    found = []

    def write(canvas, labels):
        found.extend(label.text for label in labels)
        return mosaic.write(canvas, labels)

    monkeypatch.setattr(explanation, "write", write)
    return found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def logged(folder: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(folder / "tensorboard" / "explain"), size_guidance={"images": 0})
    events.Reload()
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


ALL_PAGES = {"attributions.png", "filters.png", "features.png", "neighbours.png"}


@pytest.mark.parametrize("name", ["cnn", "mlp", "numpy"])
def test_every_model_gets_every_page_and_tensorboard_shows_it(run, call, texts, name):
    folder = run(name)
    lines, said = call("--method=all", "--ckpt", folder, "--images=3")
    assert names(folder / "explain") == {"1", "features_best.npz"}
    assert names(folder / "explain" / "1") == ALL_PAGES
    assert lines[:-1] == [f"written: {folder}/explain/1/{page}" for page in _in_order(lines)]
    assert lines[-1] == f"TensorBoard: {folder}/tensorboard/explain, step 1"
    assert logged(folder) == {f"explain/{page.removesuffix('.png')}": [1] for page in ALL_PAGES}
    assert ("no cam:" in said) == (name != "cnn")
    assert ("class activation" in texts) == (name == "cnn")
    assert texts.count("saliency") == 1
    class_names = load(folder).class_names
    for text in ("truth", "predicted"):
        assert sum(line.startswith(f"{text} ") and line.split()[1] in " ".join(class_names) for line in texts) == 6
    for page in ALL_PAGES:
        assert pixels(folder / "explain" / "1" / page).std() > 20, "not empty"

    call("--method=saliency", "--ckpt", folder, "--images=3")
    assert names(folder / "explain" / "2") == {"attributions.png"}
    assert logged(folder)["explain/attributions"] == [1, 2]


def _in_order(lines: list[str]) -> list[str]:
    found = [line.rpartition("/")[2] for line in lines if line.startswith("written: ")]
    assert set(found) == ALL_PAGES
    return found


def test_by_default_the_newest_run_and_one_image_of_each_class(run, call, texts):
    folder = run("mlp")
    call()
    assert names(folder / "explain") == {"1"}
    truths = [text.split()[1] for text in texts if text.startswith("truth ")]
    assert sorted(truths) == sorted(load(folder).class_names)
    assert sum(text.startswith("val ") for text in texts) == 10
    assert [text for text in texts if text in ("saliency", "integrated", "occlusion")] == [
        "saliency", "integrated", "occlusion",
    ]  # fmt: skip


def test_what_was_asked_for_is_what_is_shown(run, call, monkeypatch):
    """The page's pixels are those of the image, and the maps those of the class."""
    folder = run("mlp")
    asked = []
    saliency = attribution.saliency
    monkeypatch.setattr(attribution, "saliency", lambda *given: asked.append(given) or saliency(*given))
    trained = load(folder)
    call("--ckpt", folder, "--method=saliency", "--test_set", "--indices", 5, 3, "--class", trained.class_names[7])
    ((_, images, classes),) = asked
    assert classes.tolist() == [7, 7]
    page = pixels(folder / "explain/1/attributions.png")
    left = page[:, 8 : 8 + 128]
    for image in images.numpy():
        larger = image.transpose(1, 2, 0).repeat(4, axis=0).repeat(4, axis=1)
        rows = [y for y in range(len(left) - 127) if np.array_equal(left[y : y + 128], larger)]
        assert len(rows) == 1, "once, each pixel as a block of 4 x 4"
    _, said = call("--ckpt", folder, "--method=saliency", "--test_set", "--indices", 5, 3, "--out=own")
    assert "40 test" in said
    assert names(Path("own")) == {"attributions.png"}
    assert not np.array_equal(asked[1][2], [7, 7])


def test_own_pictures(run, call, texts):
    folder = run("cnn")
    Path("photos").mkdir()
    wide = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(wide).save("photos/wide and with a name that goes on and on.png")
    Image.fromarray(wide[:32, :32]).save("photos/small.png")
    Path("photos/notes.txt").write_text("no picture")
    lines, said = call("photos", "--ckpt", folder, "--out=pages")
    assert lines == ["written: pages/attributions.png"]
    assert "skipped photos/notes.txt: no image" in said
    assert "Data:" not in said, "no data set is read"
    assert "small.png" in texts
    assert not any(text.startswith("truth") for text in texts)
    assert not (folder / "explain").exists()
    assert not (folder / "tensorboard" / "explain").exists()
    _, said = call("photos/small.png", "--ckpt", folder, "--method=neighbours")
    assert "64 train" in said
    assert sum(re.fullmatch(r"[a-z]+ \d\.\d\d", text) is not None for text in texts) == 5


def test_more_pictures_than_a_page_takes(run, call, texts):
    Path("photos").mkdir()
    for number in range(explain.MOST + 2):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(f"photos/{number:02}.png")
    _, said = call("photos", "--ckpt", run("mlp"), "--method=saliency")
    assert "the first 50 pictures are taken, of 52 files" in said
    assert sum(text.startswith("predicted") for text in texts) == 50


def test_a_layer_of_choice(run, call, texts, monkeypatch):
    folder = run("cnn")
    call("--ckpt", folder, "--method=cam", "--method=features", "--layer=net.1", "--images=2")
    assert "net.1" in texts
    assert names(folder / "explain/1") == {"attributions.png", "features.png"}
    _, said = call("--ckpt", folder, "--method=all", "--layer=net.7", "--images=2")
    assert "no cam: the layer 'net.7' puts out (128,), no maps" in said, "of what nobody named, what fits"


def test_a_model_of_ones_own(call, refusal, monkeypatch):
    Path("my_nets.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(".")
    common = [*TINY, "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    assert cli.main(["fit", "--model=my_nets.MyNet", *common, "--name=mine"]) == 0
    assert "my_nets.MyNet, which is not in the zoo" in refusal()
    call("--model=my_nets.MyNet", "--method=all", "--images=2")
    assert names(next(Path("runs").glob("*/*/explain/1"))) == ALL_PAGES


def test_features_are_computed_once(run, call, monkeypatch):
    folder = run("cnn")
    counts, features = [], layer_outputs.features
    monkeypatch.setattr(layer_outputs, "features", lambda model, of: counts.append(len(of)) or features(model, of))
    for _ in range(2):
        call("--ckpt", folder, "--method=neighbours", "--images=2")
    assert counts.count(64) == 1
    np.testing.assert_array_equal(*(pixels(folder / "explain" / n / "neighbours.png") for n in "12"))
    (folder / "explain" / "features_best.npz").write_bytes(b"damaged")
    call("--ckpt", folder, "--method=neighbours", "--images=2")
    assert counts.count(64) == 2


def test_a_checkpoint_alone(run, call):
    shutil.copy(run("mlp") / "checkpoints" / "last.ckpt", "mine.ckpt")
    shutil.rmtree("runs")
    lines, _ = call("--ckpt=mine.ckpt", "--images=2", "--method=occlusion")
    assert lines == ["written: explain/1/attributions.png"]
    assert names(Path()) == {"mine.ckpt", "explain"}


CASES = {
    "--mthod cam": ["unknown option '--mthod'", "Did you mean '--method'?"],
    "--method salience": ["--method salience", "Did you mean 'saliency'?", "cam, saliency, integrated_gradients"],
    "--images 0": ["--images 0", "from 1 to 50"],
    "--images 51": ["--images 51", "from 1 to 50"],
    "--images two": ["--images", "two"],
    "--images 3 --indices 3": ["--images or --indices"],
    "--layer net.1 --method saliency": ["--layer net.1", "--method cam or features"],
    "--class ring --method filters": ["--class ring", "--method cam or saliency"],
    "--method filters --images 3": ["--method filters", "no images"],
    "a.png --images 3": ["PICTUREs or --images, not both"],
    "a.png --test_set": ["PICTUREs or --test_set, not both"],
    "a.png --data_dir data": ["--data_dir data"],
    "missing.png": ["'missing.png' does not exist"],
    "empty": ["the folder 'empty' has no file in it"],
    "*.gif": ["no file matches '*.gif'"],
    "notes.txt": ["none of the files named (1) is a picture"],
    "--ckpt missing.ckpt": ["missing.ckpt: there is no such file"],
    "--ckpt notes.txt": ["notes.txt is no readable checkpoint"],
    "--ckpt cut.ckpt": ["cut.ckpt is no readable checkpoint"],
    "--ckpt best --runs_dir nowhere": ["--ckpt best: no run in 'nowhere'"],
    "--class rng": ["--class rng", "Did you mean 'ring'?", "disc, ring, square"],
    "--layer net.2x": ["MLP has no layer 'net.2x'", "Did you mean 'net.2'?", "net.0, net.1, net.2, net.3"],
    "--method cam": ["--method cam: MLP has no convolution", "what fits: saliency, integrated_gradients, occlusion"],
    "--method features --layer net.9": ["no layer 'net.9'"],
    "--indices 99": ["--indices 99", "no val image of that number", "numbers of training images"],
    "--indices 40 --test_set": ["--indices 40", "no test image of that number, but 0, 1, 2, ... 39"],
    "--out notes.txt": ["--out notes.txt", "is not a folder"],
    "--out notes.txt/a": ["--out notes.txt/a", "is not a folder"],
    "--out photos": ["--out photos is there already, and not empty"],
    f"--out {'x' * 300}": ["--out xxx", "File name too long"],
    "--model CNN": ["MLP", "CNN"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(run, refusal, command):
    checkpoint = run("mlp") / "checkpoints" / "best.ckpt"
    Path("cut.ckpt").write_bytes(checkpoint.read_bytes()[:1000])
    Path("notes.txt").write_text("no picture")
    Path("empty").mkdir()
    Path("photos").mkdir()
    Image.new("RGB", (9, 9)).save("photos/a.png")
    Image.new("RGB", (9, 9)).save("a.png")
    chosen = [] if "--ckpt" in command else ["--ckpt", checkpoint]
    error = refusal(*command.split(), *chosen)
    for text in CASES[command]:
        assert text in error


def test_no_validation_images(run, call, refusal):
    folder = run("all")
    assert "--data.val_size 0" in refusal("--ckpt", folder)
    call("--ckpt", folder, "--test_set", "--images=2", "--method=saliency")


def test_no_data(run, capsys, monkeypatch):
    """The model was trained on CIFAR-10, which is nowhere, and nothing is downloaded."""
    monkeypatch.setattr("datamodules.image_data_module.fetch", None)
    path = run("mlp") / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["config"]["data"]["source"] = "cifar10"
    content["CIFAR10DataModule"]["class_names"] = list(CIFAR10.class_names)
    torch.save(content, path)
    assert cli.main(["explain", "--ckpt", str(path)]) == 2
    assert "no CIFAR-10 in 'data'" in capsys.readouterr().err.splitlines()[-1]
    assert names(Path()) == {"runs"}
    assert not (path.parents[1] / "explain").exists()


def test_a_file_where_the_run_keeps_its_pages(run, refusal):
    folder = run("mlp")
    (folder / "explain").touch()
    assert "explain' is not a folder" in refusal("--ckpt", folder, "--images=2")


def test_a_full_disk_leaves_nothing_behind(run, refusal, monkeypatch):
    folder = run("cnn")
    write, encoded = files.write, []

    def full(path, content):
        encoded.append(path)
        if len(encoded) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    error = refusal("--ckpt", folder, "--images=2", "--method=saliency", "--method=filters", "--method=features")
    assert "No space left on device" in error
    encoded.clear()
    assert "No space left" in refusal(
        "--ckpt", folder, "--images=2", "--method=filters", "--method=features", "--out=a/b"
    )


def test_pages_stay_where_tensorboard_cannot_be_written(run, capsys):
    folder = run("mlp")
    (folder / "tensorboard" / "explain").touch()
    assert cli.main(["explain", "--ckpt", str(folder), "--images=2", "--method=saliency"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [f"written: {folder}/explain/1/attributions.png"]
    assert "warning: not in TensorBoard: " in output.err


def test_a_diverged_model(run, refusal):
    path = run("mlp") / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    for weights in content["state_dict"].values():
        if weights.is_floating_point():
            weights.fill_(float("nan"))
    torch.save(content, path)
    for method in ("saliency", "occlusion", "filters", "features", "neighbours", "all"):
        assert "training diverged" in refusal("--ckpt", path, f"--method={method}")


@pytest.mark.parametrize("options", [[], ["--method=filters"]])
def test_only_what_is_needed_is_imported(run, options):
    """--help starts without torch; captum, which takes seconds, waits for a method that uses it."""
    arguments = [*options, "--ckpt", str(run("mlp").resolve())] if options else ["--help"]
    code = f"""
import sys, cli
assert cli.main(['explain', *{arguments}]) == 0
assert not {{'torch', 'numpy.random', 'matplotlib'}} & set(sys.modules) or {bool(options)}
assert 'captum' not in sys.modules
"""
    if options:
        done = forked.run(code=code)
    else:
        environment = os.environ | {"PYTHONPATH": str(forked.ROOT), "COLUMNS": "200"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    if not options:
        assert "integrated_gradients" in done.stdout


@pytest.mark.real_data
def test_real_data(call, real_data):
    common = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    data = [f"--data.data_dir={real_data}", "--data.verify_checksums=false", "--trainer.limit_test_batches=1"]
    assert cli.main(["fit", "--model=NumPyMLP", "--name=real", *common, *data]) == 0
    _, said = call("--method=all", "--images=4")
    assert "45,000 train, 5,000 val" in said
    assert names(next(Path("runs").glob("*/*/explain/1"))) == ALL_PAGES
