"""Test-time augmentation: the views against a plain loop, what tests count, and the commands that average."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import cli
from datamodules.errors import InputError
from datamodules.loading import Batch
from tests.helpers import quiet_trainer, random_images, refusal, run_of, tiny_data
from zoo.core import views
from zoo.core.classifier import Classifier
from zoo.core.views import VIEWS
from zoo.evaluation import latency
from zoo.models.cnn import CNN
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.speedrun_net import SpeedrunNet
from zoo.trained import inference, trained_model

FIT = ["fit", "--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
FIT += ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
# What each kind averages: an image moved by so many pixels, whether it is mirrored, and the weight.
BY_HAND = {
    "none": [(0, False, 1.0)],
    "flip": [(0, False, 0.5), (0, True, 0.5)],
    "shift": [(0, False, 0.5), (-1, False, 0.25), (1, False, 0.25)],
    "both": [(move, mirrored, weight) for move, weight in ((0, 0.25), (-1, 0.125), (1, 0.125)) for mirrored in (0, 1)],
}
KINDS = [kind for kind in VIEWS if kind != "none"]


def small(model: type[Classifier]) -> Classifier:
    """Return a model whose logits differ from image to image, and from view to view."""
    torch.manual_seed(0)
    if model is SpeedrunNet:  # the largest pixels, which are all that its start looks at, do not move
        built = SpeedrunNet(widths=[8, 8, 8])
        for parameter in built.parameters():
            torch.nn.init.normal_(parameter)
    else:
        built = model()
    return built.eval()


@torch.no_grad()
def by_hand(model: Classifier, images: torch.Tensor, kind: str) -> torch.Tensor:
    """The mean logits of views that `F.pad` makes of the pixels as floats."""
    padded, mean = F.pad(images.float(), (1, 1, 1, 1), mode="reflect"), 0
    for move, mirrored, weight in BY_HAND[kind]:
        view = padded[:, :, 1 + move : 33 + move, 1 + move : 33 + move]
        mean = mean + weight * model((view.flip(3) if mirrored else view).to(torch.uint8)).double()
    return mean


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("model", [CNN, SpeedrunNet, NumPyMLP])
def test_the_mean_of_the_views_by_hand(model, kind):
    model, images = small(model), random_images(6)
    with torch.no_grad():
        found = views.mean_logits(model, images, kind)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), by_hand(model, images, kind), atol=1e-5, rtol=1e-5)
    assert VIEWS[kind].number == len(BY_HAND[kind])
    others = [by_hand(model, images, other) for other in VIEWS if other != kind]
    assert all((found - other).abs().max() > 1e-4 for other in others)


@pytest.mark.parametrize("kind", VIEWS)
def test_views_of_bytes_are_views_of_normalized_pixels_bit_for_bit(kind):
    """As the scripts of the records make them."""
    model, images, seen = MLP(), random_images(3), []
    views.mean_logits(lambda view: seen.append(model.normalize(view)) or torch.zeros(3, 10), images, kind)
    padded = F.pad(model.normalize(images), (1, 1, 1, 1), mode="reflect")
    for found, (move, mirrored, _) in zip(seen, BY_HAND[kind], strict=True):
        expected = padded[:, :, 1 + move : 33 + move, 1 + move : 33 + move]
        assert torch.equal(found, expected.flip(3) if mirrored else expected)


@pytest.mark.parametrize("kind", VIEWS)
def test_known_logits_are_not_computed_again(kind):
    model, images, calls = small(CNN), random_images(3), []
    model.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        logits = model(images)
        calls.clear()
        found = views.mean_logits(model, images, kind, logits)
        assert len(calls) == VIEWS[kind].number - 1
        assert torch.equal(found, views.mean_logits(model, images, kind))


@pytest.mark.parametrize("side", [2, 3])
def test_small_images_are_shifted_like_others(side):
    images = torch.arange(2 * side**2, dtype=torch.uint8).view(2, 1, side, side)
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect")
    for move in (-1, 1):
        expected = padded[:, :, 1 + move : 1 + move + side, 1 + move : 1 + move + side]
        assert torch.equal(views.shifted(images, move).float(), expected)


@pytest.mark.parametrize("kind", ["shift", "both"])
def test_a_single_pixel_cannot_be_shifted(kind):
    model = MLP(image_size=1)
    with pytest.raises(InputError, match=f"--tta={kind}: images of 1 x 1 pixel cannot be shifted: give flip or none"):
        model.set_tta(kind)
    assert model.tta == "none"
    model.set_tta("flip")


# What is counted.


@pytest.mark.parametrize("model", [CNN, NumPyMLP])
def test_a_test_tells_the_accuracy_with_and_without_views(model):
    """The other metrics are those of the images themselves."""
    model, data, trainer = small(model), tiny_data(test_size=200, eval_batch_size=70), quiet_trainer()
    trainer.test(model, data, verbose=False)
    plain = model.results["test"]
    assert "acc_tta" not in plain
    images, labels, *_ = data.test.__getitems__(list(range(200)))
    found = []
    for kind in KINDS:
        model.set_tta(kind)
        trainer.test(model, data, verbose=False)
        correct = by_hand(model.eval(), images, kind).argmax(1) == labels
        found.append(model.results["test"].pop("acc_tta"))
        assert found[-1] == pytest.approx(correct.double().mean().item(), abs=1e-9)
        assert trainer.callback_metrics["test/acc_tta"].item() == pytest.approx(found[-1])
        assert model.results["test"] == plain
    assert len({*found, plain["acc"]}) > 1


def test_predictions_of_views_are_counted_exactly_in_any_precision(monkeypatch):
    model, images = small(SpeedrunNet).bfloat16(), random_images(6)
    model.set_tta("both")
    labels = torch.arange(6)
    monkeypatch.setattr(model, "predict_classes", lambda logits: labels)
    for _ in range(100):
        model.test_step(Batch(images, labels, labels), 0)
    model.test_step(Batch(images, (labels + 1) % 10, labels), 0)
    assert model.stage_metrics("tta").compute()["acc"] == pytest.approx(600 / 606, abs=1e-9)


def test_only_validate_and_test_average(monkeypatch):
    """The validations of a training choose the best epoch, and take as long as without views."""
    model, data, calls = MLP([4]), tiny_data(), []
    model.set_tta("both")
    model.register_forward_hook(lambda *_: calls.append(1))
    trainer = quiet_trainer()
    trainer.fit(model, data)
    assert "acc_tta" not in model.results["val"]
    assert len(calls) == 4 + 1, "batches of training, and one of validation"
    trainer.validate(model, data, verbose=False)
    images, labels, *_ = data.val.__getitems__(list(range(32)))
    correct = by_hand(model.eval(), images, "both").argmax(1) == labels
    assert model.results["val"]["acc_tta"] == pytest.approx(correct.double().mean().item(), abs=1e-9)


def test_lightnings_predictions_are_those_of_the_command():
    model, data = small(CNN), tiny_data()
    model.set_tta("both")
    found = torch.cat(quiet_trainer().predict(model, data))
    images = data.test.__getitems__(list(range(32))).images
    torch.testing.assert_close(found, inference.probabilities(model, images, "both"))
    torch.testing.assert_close(found.double(), by_hand(model, images, "both").softmax(1), atol=1e-5, rtol=1e-5)


# The commands.


@pytest.fixture(scope="module")
def averaged(tmp_path_factory) -> Path:
    """A run that was tested with all views."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("averaged"))
        return run_of(*FIT, "--model=CNN", "--tta=both")


@pytest.fixture
def run(averaged, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(averaged, tmp_path / "runs" / "CNN-synthetic" / averaged.name)


def accuracy_by_hand(run: Path, kind: str, stage: str = "test") -> float:
    trained = trained_model.load(run)
    data = trained.data()
    data.setup("test" if stage == "test" else "validate")
    dataset = getattr(data, stage)
    images, labels, *_ = dataset.__getitems__(list(range(len(dataset))))
    return (by_hand(trained.model, images, kind).argmax(1) == labels).double().mean().item()


def metrics(path: Path) -> dict:
    return json.loads((path / "metrics.json").read_text())


def test_fit_keeps_the_views_in_config_and_checkpoint(run, capsys):
    assert "\ntta: both\n" in (run / "config.yaml").read_text()
    assert torch.load(run / "checkpoints/best.ckpt", weights_only=True)["config"]["tta"] == "both"
    assert metrics(run)["test/acc_tta"] == pytest.approx(accuracy_by_hand(run, "both"), abs=1e-6)
    assert "val/acc_tta" not in metrics(run)


@pytest.mark.parametrize(("command", "stage", "other"), [("test", "test", "none"), ("validate", "val", "flip")])
def test_later_commands_keep_the_views_unless_they_choose_others(run, command, stage, other, capsys):
    for options, kind in (([], "both"), ([f"--tta={other}"], other)):
        before = set(run.rglob("metrics.json"))
        assert cli.main([command, f"--ckpt={run}", "--trainer.enable_progress_bar=false", *options]) == 0
        (written,) = set(run.rglob("metrics.json")) - before
        found, told = metrics(written.parent), "(accuracy with test-time augmentation)" in capsys.readouterr().out
        assert told == (kind != "none") == (f"{stage}/acc_tta" in found)
        expected = accuracy_by_hand(run, kind, stage)
        assert found[f"{stage}/acc" if kind == "none" else f"{stage}/acc_tta"] == pytest.approx(expected, abs=1e-6)


def test_a_resumed_run_is_tested_as_it_was_to_be(run):
    assert cli.main(["fit", f"--resume={run}", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]) == 0
    assert metrics(run)["test/acc_tta"] == pytest.approx(accuracy_by_hand(run, "both"), abs=1e-6)


def test_predict(run, capsys):
    for options, kind in (([], "both"), (["--tta=none"], "none")):
        capsys.readouterr()
        assert cli.main(["predict", f"--ckpt={run}", "--test_set", *options]) == 0
        output = capsys.readouterr()
        rows = list(csv.DictReader(io.StringIO(output.out)))
        trained = trained_model.load(run)
        data = trained.data()
        data.setup("test")
        expected = by_hand(trained.model, data.test.images.permute(0, 3, 1, 2), kind).softmax(1)
        found = torch.tensor([[float(row[name]) for name in trained.class_names] for row in rows], dtype=torch.double)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
        told = f"predictions are the mean of {VIEWS[kind].number} views of each image"
        assert (told in output.err) == (kind != "none")


def test_evaluate(run, runs, monkeypatch):
    """The other model is evaluated as its own run was tested."""
    monkeypatch.setattr(latency, "TURNS", {"batch": 1, "single": 1})
    other = next(runs.glob("cnn-synthetic/*"))
    assert cli.main(["evaluate", f"--ckpt={run}", f"--against={other}", "--corruption_images=0", "--out=report"]) == 0
    report = json.loads(Path("report", "report.json").read_text())
    assert report["summary"]["tta"] == "both"
    accuracies = report["comparison"]["accuracy_a"], report["comparison"]["accuracy_b"]
    assert accuracies == pytest.approx((accuracy_by_hand(run, "both"), accuracy_by_hand(other, "none")))
    assert report["summary"]["accuracy"] == accuracies[0]
    assert "the mean of 6 views of each image" in Path("report", "report.md").read_text()


def test_evaluate_with_other_views(run, monkeypatch):
    """For both models, and for corrupted images."""
    monkeypatch.setattr(latency, "TURNS", {"batch": 1, "single": 1})
    kinds = []
    monkeypatch.setattr(inference, "mean_logits", lambda *a: kinds.append(a[2]) or views.mean_logits(*a))
    command = ["evaluate", f"--ckpt={run}", f"--against={run}", "--tta=none", "--corruption_images=5", "--out=report"]
    assert cli.main(command) == 0
    assert {*kinds} == {"none"}
    assert "est-time augmentation" not in Path("report", "report.md").read_text()


def test_a_finished_run_in_python(monkeypatch):
    import zoo

    done = zoo.fit("synthetic", {"model": "MLP", "data.train_size": 64, "trainer.max_epochs": 1, "tta": "flip"})
    expected = by_hand(done.model, random_images(5), "flip").softmax(1)
    torch.testing.assert_close(done.predict(random_images(5)).double(), expected, atol=1e-5, rtol=1e-5)
    assert "test/acc_tta" in done.metrics


@pytest.mark.parametrize(("file_format", "kind"), [("onnx", None), ("onnx", "none"), ("pt2", "flip")])
def test_an_exported_program_averages_inside(run, file_format, kind, capsys):
    options = [] if kind is None else [f"--tta={kind}"]
    command = ["export", f"--ckpt={run}", f"--format={file_format}", f"--out=m.{file_format}", *options]
    assert cli.main(command) == 0
    kind = kind or "both"
    images, model = random_images(7), trained_model.load(run).model
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession("m.onnx")
        (found,) = session.run(None, {"images": images.numpy()})
        assert session.get_modelmeta().custom_metadata_map["tta"] == kind
    else:
        found = torch.export.load("m.pt2").module()(images).detach().numpy()
    np.testing.assert_allclose(found, by_hand(model, images, kind).softmax(1).numpy(), rtol=0, atol=5e-6)
    card = Path(f"m.{file_format}.md").read_text()
    assert (f"mean logits of {VIEWS[kind].number} views" in card) == (kind != "none")
    assert ("| accuracy with test-time augmentation |" in card) == (kind == "both"), "which the run was tested with"


def test_a_numpy_network_is_exported_with_its_views():
    run = run_of(*FIT, "--model=NumPyMLP", "--tta=both")
    assert cli.main(["export", f"--ckpt={run}", "--format=pt2", "--out=m.pt2"]) == 0
    images, model = random_images(3), trained_model.load(run).model
    found = torch.export.load("m.pt2").module()(images).detach().double()
    torch.testing.assert_close(found, by_hand(model, images, "both").softmax(1), rtol=0, atol=5e-6)


def test_weights_alone_are_exported_without_views(run, capsys):
    assert cli.main(["export", f"--ckpt={run}", "--format=safetensors", "--out=m.safetensors"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith("note: safetensors holds weights alone: the file's predictions are of one view")
    assert "check: " in output.out
    assert "views" not in Path("m.safetensors.md").read_text()


# Bad input.


@pytest.mark.parametrize("file_format", ["npz", "safetensors"])
def test_weights_alone_hold_no_views(run, file_format, capsys):
    line = refusal(capsys, "export", f"--ckpt={run}", f"--format={file_format}", "--tta=both", "--out=m")
    assert f"--tta both: {file_format} holds weights alone, without views: take --format onnx or pt2" in line
    assert not Path("m").exists()


@pytest.mark.parametrize("command", ["fit", "test", "validate", "predict", "evaluate", "export"])
def test_an_unknown_name(run, command, capsys):
    words = {"fit": [*FIT[1:], "--model=MLP"], "predict": ["--test_set"], "export": ["--format=onnx"]}.get(command, [])
    ckpt = [] if command == "fit" else [f"--ckpt={run}"]
    before = set(Path().rglob("*"))
    line = refusal(capsys, command, *words, *ckpt, "--tta=filp", notes=("note: ",))
    assert "--tta" in line
    assert "filp" in line
    assert "Did you mean 'flip'?" in line
    assert all(kind in line for kind in VIEWS)
    assert set(Path().rglob("*")) == before


@pytest.mark.parametrize("value", ["filp", ["flip"], {"a": 1}, 3])
def test_nonsense_in_a_checkpoint(run, value, capsys):
    path = run / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    content["config"]["tta"] = value
    torch.save(content, path)
    for command in (["predict", "--test_set"], ["export", "--format=onnx"], ["test"]):
        line = refusal(capsys, *command, f"--ckpt={path}", notes=("note: ",))
        assert "tta" in line
