"""HParams, texts, PR curves, projector and histograms, read by TensorBoard's own plugins."""

import copy
import csv
import html
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from sklearn.metrics import average_precision_score, precision_score, recall_score
from tensorboard.backend.application import TensorBoardWSGI
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.pr_curve.pr_curves_plugin import PrCurvesPlugin
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from tensorboard.plugins.text.text_plugin import TextPlugin
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from werkzeug.test import Client

import cli
from datamodules.cifar10 import CIFAR10DataModule
from tests import forked
from tests.helpers import Hostile, quiet_trainer, random_images, run_of, scalars
from zoo.core.torch_classifier import TorchClassifier
from zoo.interpretation import layer_outputs
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.trained import trained_model
from zoo.trained.inference import probabilities
from zoo.training.callbacks import dead_units
from zoo.training.tensorboard import embeddings, histograms, run_summary

pytestmark = pytest.mark.pictures

DATA = ["--data.source=synthetic", "--data.train_size=64", "--data.val_size=30", "--data.test_size=40"]
DATA += [
    "--data.batch_size=16",
    "--data.eval_batch_size=16",
    "--trainer.enable_model_summary=false",
    "--trainer.max_epochs=2",
]
NUMPY = ["fit", "--model=NumPyMLP", "--model.hidden_sizes=[6]", "--model.activation=sigmoid", *DATA]
NUMPY += ["--data.crop_padding=2", "--data.horizontal_flip=true", "--data.cutout=8", "--seed_everything=3"]
BINARY = ["fit", "--model=MLP", "--optimizer=SGD", "--optimizer.lr=0.02", "--optimizer.momentum=0.9", *DATA]
BINARY += ["--data.task=binary", "--lr_schedule=Cosine", "--name=two-classes"]
CNN = ["fit", "--model=CNN", *DATA]
SMALL = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", *DATA]


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """Runs of NumPyMLP, of MLP on two classes, and of CNN with histograms and a test of several views."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        return [run_of(*NUMPY), run_of(*BINARY), run_of(*CNN, "--config=histograms", "--tta=both")]


class Board:
    """TensorBoard's own code over a folder of runs, without its server."""

    def __init__(self, folder: Path) -> None:
        multiplexer = EventMultiplexer(tensor_size_guidance={"text": 100, "pr_curves": 100})
        multiplexer.AddRunsFromDirectory(str(folder)).Reload()
        provider = MultiplexerDataProvider(multiplexer, str(folder))
        context = TBContext(data_provider=provider, logdir=str(folder), multiplexer=multiplexer)
        plugins = [kind(context) for kind in (HParamsPlugin, PrCurvesPlugin, ProjectorPlugin, TextPlugin)]
        self.client = Client(TensorBoardWSGI(plugins, data_provider=provider))

    def get(self, plugin: str, path: str, **query: object) -> bytes:
        response = self.client.get(f"/data/plugin/{plugin}/{path}", query_string=query)
        assert response.status_code == 200, response.data
        return response.data

    def post(self, plugin: str, path: str, **request: object) -> dict:
        response = self.client.post(f"/data/plugin/{plugin}/{path}", json=request)
        assert response.status_code == 200, response.data
        return response.json

    def rows(self) -> dict[str, dict]:
        """Return the HParams table: for each run its columns by displayed name, and its status."""
        experiment = self.post("hparams", "experiment", includeMetrics=True)
        statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        request = {"startIndex": 0, "sliceSize": 100, "includeMetrics": True, "allowedStatuses": statuses}
        groups = self.post("hparams", "session_groups", **request)
        names = {info["name"]["tag"]: info["displayName"] for info in experiment["metricInfos"]}
        rows = {}
        for group in groups["sessionGroups"]:
            (session,) = group["sessions"]
            metrics = {names[metric["name"]["tag"]]: metric["value"] for metric in group.get("metricValues", [])}
            rows[group["name"]] = group["hparams"] | metrics | {"status": session["status"]}
        return rows

    def text(self, run: str, tag: str) -> str:
        """Return a run's only text of that tag, as a browser gets it."""
        (event,) = json.loads(self.get("text", "text", run=run, tag=f"{tag}/text_summary"))
        return event["text"]


def log_of(run: Path) -> EventAccumulator:
    """Return a run's events over epochs."""
    return EventAccumulator(str(run / "tensorboard"), {"histograms": 0, "scalars": 0}).Reload()


def of_board(run: Path) -> str:
    """The name that TensorBoard knows a run by."""
    return f"{run.parent.name}/{run.name}/tensorboard"


class TestHParams:
    def test_a_row_for_each_run(self, three_runs):
        numpy, binary, cnn = three_runs
        rows = Board(numpy.parent.parent).rows()
        assert rows.keys() == {of_board(run) for run in three_runs}
        same = {"batch size": 16, "epochs": 2, "data": "synthetic", "training images": 64, "epochs done": 2}
        same["status"] = "STATUS_SUCCESS"
        differing = {
            numpy: {
                "model": "NumPyMLP", "model arguments": "hidden_sizes [6], activation sigmoid",
                "optimizer": "NumPyMomentum", "lr": 0.01, "schedule": "Constant", "seed": 3, "task": "multiclass",
                "augmentation": "crop 2, mirror, cutout 8", "parameters": 3072 * 6 + 6 + 6 * 10 + 10,
            },
            binary: {
                "model": "MLP", "model arguments": "defaults", "optimizer": "SGD, momentum 0.9",
                "lr": 0.02, "schedule": "Cosine", "seed": 0,
                "task": "binary (disc against the rest)", "augmentation": "none", "parameters": 3072 * 64 + 64 + 64 + 1,
            },
            cnn: {
                "model": "CNN", "model arguments": "defaults", "optimizer": "AdamW",
                "lr": 0.001, "schedule": "Constant", "seed": 0,
                "task": "multiclass", "augmentation": "none", "parameters": 545_098,
            },
        }  # fmt: skip
        for run, expected in differing.items():
            found, written = rows[of_board(run)], json.loads((run / "metrics.json").read_text())
            figures = {
                "best val accuracy": pytest.approx(written["val/acc"], abs=1e-6),
                "test accuracy": pytest.approx(written["test/acc"], abs=1e-6),
                "seconds of training": pytest.approx(written["fit_seconds"], abs=0.06),
            }
            assert found == same | expected | figures

    def test_what_tells_most_comes_first(self, three_runs):
        experiment = Board(three_runs[0].parent).post("hparams", "experiment")
        first = [info["name"] for info in experiment["hparamInfos"][:5]]
        assert set(first) == {"model", "optimizer", "lr", "batch size", "epochs"}

    def test_no_placeholder_is_a_curve(self, three_runs):
        for run in three_runs:
            log = log_of(run)
            assert "hp_metric" not in log.Tags()["scalars"]
            assert [event.step for event in log.Scalars("hp/val_acc")] == [1, 2]
            assert [event.step for event in log.Scalars("hp/test_acc")] == [2]

    def test_the_best_accuracy_is_that_so_far(self):
        """With a much too large learning rate, the first epoch stays the best."""
        run = run_of(*SMALL, "--optimizer.lr=0.3", "--trainer.max_epochs=4")
        found = [float(row["val/acc"]) for row in csv.DictReader((run / "metrics.csv").open())]
        log = log_of(run)
        best = [event.value for event in log.Scalars("hp/val_acc")]
        assert best == pytest.approx(list(np.maximum.accumulate(found)), abs=1e-5)

    def test_a_run_that_goes_on_shows_what_it_goes_on_with(self):
        run = run_of(*NUMPY)
        again = ["fit", "--resume", "--trainer.max_epochs=3", "--optimizer.lr=0.005", "--data.cutout=4"]
        assert cli.main(again) == 0
        rows = Board(Path("runs")).rows()
        assert rows.keys() == {of_board(run)}
        row = rows[of_board(run)]
        assert (row["epochs"], row["epochs done"], row["lr"]) == (3, 3, 0.005)
        assert row["augmentation"] == "crop 2, mirror, cutout 4"
        written = json.loads((run / "metrics.json").read_text())
        assert row["test accuracy"] == pytest.approx(written["test/acc"])
        log = log_of(run)
        assert [event.step for event in log.Scalars("hp/epochs")] == [1, 2, 3]
        assert "max_epochs: 3" in Board(Path("runs")).text(of_board(run), "config")

    def test_a_run_that_was_stopped(self):
        stop = '--trainer.callbacks=[{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 5}}]'
        run = run_of(*SMALL, stop, code=143)
        row = Board(Path("runs")).rows()[of_board(run)]
        assert row["status"] == "STATUS_UNKNOWN"
        assert row["epochs done"] == 1
        (first,) = csv.DictReader((run / "metrics.csv").open())
        assert row["best val accuracy"] == pytest.approx(float(first["val/acc"]))
        assert row.get("test accuracy") is None
        assert cli.main(["fit", "--resume", f"--config={run}/config.yaml"]) == 0
        row = Board(Path("runs")).rows()[of_board(run)]
        assert (row["status"], row["epochs done"]) == ("STATUS_SUCCESS", 2)

    def test_without_validation_images(self):
        run = run_of(*NUMPY, "--data.val_size=0")
        row = Board(Path("runs")).rows()[of_board(run)]
        assert row.get("best val accuracy") is None
        written = json.loads((run / "metrics.json").read_text())
        assert row["test accuracy"] == pytest.approx(written["test/acc"])

    def test_a_run_without_a_number_of_epochs_takes_the_column_from_no_other(self):
        endless = run_of(*SMALL, "--trainer.max_epochs=-1", "--trainer.max_steps=2")
        run = run_of(*SMALL)
        board = Board(Path("runs"))
        rows = board.rows()
        assert "epochs" not in rows[of_board(endless)]
        assert rows[of_board(run)]["epochs"] == 2
        names = {info["name"] for info in board.post("hparams", "experiment")["hparamInfos"]}
        assert rows[of_board(run)].keys() >= names == run_summary.COLUMNS.keys()

    @pytest.mark.parametrize(
        ("augmentation", "expected"),
        [
            ({}, "none"),
            ({"crop_padding": 4}, "crop 4"),
            ({"horizontal_flip": True}, "mirror"),
            ({"crop_padding": 2, "horizontal_flip": True, "cutout": 8}, "crop 2, mirror, cutout 8"),
            ({"mixup": 0.2, "cutmix": 1.0}, "mixup 0.2, CutMix 1"),
            (
                {"policy": "autoaugment", "color_jitter": 0.4, "random_erasing": 0.25},
                "autoaugment, color jitter 0.4, random erasing 0.25",
            ),
        ],
    )
    def test_augmentation(self, augmentation, expected):
        assert CIFAR10DataModule(**augmentation).augmentation.describe() == expected


class TestTexts:
    def test_config(self, three_runs):
        for run in three_runs:
            shown = Board(run.parent).text(f"{run.name}/tensorboard", "config")
            assert shown.count("<pre>") == shown.count("<code") == 1
        text = run_summary.config_text(yaml.safe_load((three_runs[0] / "config.yaml").read_text()))
        found = yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```\n"))
        assert found["model"]["init_args"]["hidden_sizes"] == [6]
        assert list(found)[-1] == "trainer"
        assert "null" not in text

    def test_what_a_user_wrote_is_no_markup(self):
        """As TensorBoard itself renders it."""
        text = Hostile()
        argv = ["fit", f"--name={text()}", "`--model=`"]
        page = markdown_to_safe_html(run_summary.environment_text(argv, quiet_trainer()))
        (shown,) = re.findall(r"<p><code>(.*?)</code></p>", page)
        assert shlex.split(html.unescape(shown)) == ["python", "cli.py", *argv]
        assert "<table>" in page

    def test_environment(self, three_runs):
        for run, command in zip(three_runs[:2], (NUMPY, BINARY), strict=True):
            shown = Board(run.parent).text(f"{run.name}/tensorboard", "environment")
            for expected in ("<table>", torch.__version__.split("+")[0], "CPU", " ".join(["cli.py", *command[:2]])):
                assert expected in shown

    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("'--data.data_dir=/home/ann/secret project/cifar10'", "'--data.data_dir=…/cifar10'"),
            ("--config file:///home/ann/a.yaml", "--config …/a.yaml"),
            ("data_dir: C:\\Users\\ann bee\\cifar10", "data_dir: …/cifar10"),
            ("/home/ann/a.yaml --config /home/bob/b.yaml", "…/a.yaml --config …/b.yaml"),
            ("--config /home/ann/a.yaml --config cnn", "--config …/a.yaml --config cnn"),
            ("--config configs/milestone4/best.yaml --runs_dir ../runs", None),
            ("--data.mirrors=[https://ann:pass@place.org/files/x]", "--data.mirrors=[https://place.org/files/x]"),
            ("optimizer.lr: 1/2", None),
        ],
    )
    def test_without_places(self, said, shown):
        assert run_summary.without_places(said) == (shown or said)

    def test_no_folder_of_the_machine_is_told(self):
        run = run_of(*NUMPY, f"--runs_dir={Path('runs').resolve()}", f"--data.data_dir={Path('my-data').resolve()}")
        content = (run / "tensorboard" / run_summary.FILE).read_bytes()
        assert str(Path().resolve()).encode() not in content
        assert "…/my-data".encode() in content


class TestPRCurves:
    def test_are_those_of_scikit_learn(self, three_runs):
        for run in three_runs:
            network, data = trained_model.load(str(run)).model, _data(run)
            found = probabilities(network, data.test.images.permute(0, 3, 1, 2)).numpy()
            board = Board(run.parent)
            tags = json.loads(board.get("pr_curves", "tags"))[f"{run.name}/tensorboard"]
            assert set(tags) == {f"pr/{name}" for name in data.class_names}
            for label, name in enumerate(data.class_names):
                query = {"run": f"{run.name}/tensorboard", "tag": f"pr/{name}"}
                (curve,) = json.loads(board.get("pr_curves", "pr_curves", **query))[query["run"]]
                assert curve["step"] == 2
                truth, scores = data.test.labels.numpy() == label, found[:, label]
                for threshold, precision, recall in zip(
                    curve["thresholds"], curve["precision"], curve["recall"], strict=True
                ):
                    answers = np.floor(scores * 126) >= np.floor(threshold * 126 + 0.5)
                    assert precision == pytest.approx(precision_score(truth, answers, zero_division=0), abs=1e-6)
                    assert recall == pytest.approx(recall_score(truth, answers), abs=1e-6)

    def test_area_is_the_average_precision(self, three_runs):
        """TensorBoard shows 127 thresholds."""
        run = three_runs[2]
        network, data = trained_model.load(str(run)).model, _data(run)
        found = probabilities(network, data.test.images.permute(0, 3, 1, 2)).numpy()
        scores = np.floor(found[:, 2] * 126)
        query = {"run": f"{run.name}/tensorboard", "tag": f"pr/{data.class_names[2]}"}
        (curve,) = json.loads(Board(run.parent).get("pr_curves", "pr_curves", **query))[query["run"]]
        precision, recall = np.array(curve["precision"]), np.array([*curve["recall"], 0])
        area = (-np.diff(recall) * precision).sum()
        assert area == pytest.approx(average_precision_score(data.test.labels.numpy() == 2, scores), abs=1e-5)

    def test_a_class_without_images_has_none(self):
        run = run_of(*NUMPY, "--data.test_size=5")
        tags = json.loads(Board(run.parent).get("pr_curves", "tags"))[f"{run.name}/tensorboard"]
        assert len(tags) == 5

    def test_of_the_images_that_were_tested(self):
        run = run_of(*NUMPY, "--trainer.limit_test_batches=1", "--data.eval_batch_size=16")
        query = {"run": f"{run.name}/tensorboard"}
        board = Board(run.parent)
        counts = 0
        for tag in json.loads(board.get("pr_curves", "tags"))[query["run"]]:
            (curve,) = json.loads(board.get("pr_curves", "pr_curves", tag=tag, **query))[query["run"]]
            counts += curve["true_positives"][0]
        assert counts == 16


class TestProjector:
    def test_a_name_stays_in_its_cell(self):
        embeddings.write(
            Path(), "2 images", torch.eye(2), ["a\tb", "c"], ["d\ne", "c"], np.zeros((2, 3, 32, 32), np.uint8)
        )
        lines = Path("projector/classes.tsv").read_text().splitlines()
        assert [line.split("\t") for line in lines[1:]] == [["a b", "d e", "wrong"], ["c", "c", "right"]]

    def test_shows_what_the_best_checkpoint_makes_of_validation_images(self, three_runs):
        for run in three_runs:
            board, query = Board(run.parent), {"run": f"{run.name}/tensorboard"}
            assert json.loads(board.get("projector", "runs")) == [query["run"]]
            (info,) = json.loads(board.get("projector", "info", **query))["embeddings"]
            query["name"] = info["tensorName"]
            assert info["tensorName"] == "30 validation images"

            network, data = trained_model.load(str(run)).model, _data(run)
            images = data.val.images.permute(0, 3, 1, 2)
            expected = layer_outputs.features(network, images).numpy()
            found = np.frombuffer(board.get("projector", "tensor", **query), np.float32).reshape(30, -1)
            assert info["tensorShape"] == list(found.shape)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)

            header, *rows = board.get("projector", "metadata", **query).decode().splitlines()
            assert header.split("\t") == ["class", "answer", "verdict"]
            answers = probabilities(network, images).argmax(1)
            for row, label, answer in zip(rows, data.val.labels, answers, strict=True):
                names = [data.class_names[label], data.class_names[answer]]
                assert row.split("\t") == [*names, "right" if label == answer else "wrong"]

            sprite = np.asarray(Image.open(io.BytesIO(board.get("projector", "sprite_image", **query))))
            assert sprite.shape == (6 * 32, 6 * 32, 3)
            assert info["sprite"]["singleImageDim"] == [32, 32]
            assert np.array_equal(sprite[32:64, :32], data.val.images[6]), "the first of the second row"

    def test_principal_components_keep_the_largest_distances(self):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(50, 4, generator=generator) @ torch.randn(4, 300, generator=generator) + 5
        reduced = embeddings.principal_components(features, 10)
        assert reduced.shape == (50, 10)
        found, expected = (torch.cdist(points.double(), points.double()) for points in (reduced, features))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
        assert (reduced.var(0).diff() <= 1e-6).all()
        assert embeddings.principal_components(features, 300) is features

    def test_a_run_that_goes_on_has_one(self):
        run = run_of(*NUMPY)
        (run / "tensorboard/projector/points.tsv").write_text("of the first two epochs")
        assert cli.main(["fit", "--resume", "--trainer.max_epochs=3"]) == 0
        board, query = Board(run.parent), {"run": f"{run.name}/tensorboard"}
        assert len(json.loads(board.get("projector", "info", **query))["embeddings"]) == 1
        files = {path.name: path.read_text(errors="replace") for path in run.glob("tensorboard/projector/*")}
        assert files.keys() == {"points.tsv", "classes.tsv", "images.png"}
        assert files["points.tsv"].count("\n") == 30

    def test_what_fails_costs_a_line(self, monkeypatch, capsys):
        monkeypatch.setattr(layer_outputs, "features", lambda *arguments: 1 / 0)
        run = run_of(*NUMPY)
        assert "warning: no projector in TensorBoard: ZeroDivisionError" in capsys.readouterr().err
        assert (run / "metrics.json").is_file()


class Squares(MLP):
    """Of which nobody asked what a unit is."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__([4], num_classes)
        self.net[2] = nn.Tanh()


class Shared(TorchClassifier):
    """One ReLU at three places: after a convolution, between dense layers, and on a number per image."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        relu = nn.ReLU()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), relu, nn.Flatten(), nn.Linear(64, 6), relu)
        self.last = nn.Linear(6, self.num_outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inner = self.net(self.normalize(images))
        return self.last(inner) + self.net[1](inner.sum(1))[:, None]


class TestDeadUnits:
    @pytest.mark.parametrize(
        ("shape", "where", "units"),
        [((5, 3), (4, 1), 3), ((5, 3, 2, 2), (4, 1, 0, 1), 3), ((5, 7, 3), (4, 6, 1), 3)],
        ids=["dense", "convolution", "tokens"],
    )
    def test_units_of_any_layer(self, shape, where, units):
        output = torch.zeros(shape)
        output[where] = 1
        assert dead_units.alive(output).tolist() == [False, True, False]

    def test_a_number_for_each_image_is_of_one_unit(self):
        assert dead_units.alive(torch.tensor([0.0, 2.0])).tolist() == [True]
        assert dead_units.alive(torch.tensor(0.0)).tolist() == [False]

    def test_a_unit_that_fires_in_one_batch_is_alive(self):
        """One unit fires for the black images of the first batch, one for the white ones of the second, one never."""
        model = MLP([3])
        with torch.no_grad():
            model.net[1].weight.copy_(torch.tensor([[-1.0], [1.0], [0.0]]).expand(3, 3072))
            model.net[1].bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
        images = torch.tensor([0, 0, 255, 255], dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 32, 32)
        trainer = quiet_trainer(callbacks=[dead_units.DeadUnits()])
        for shown, expected in ((images, 1 / 3), (images[:2], 2 / 3)):
            trainer.validate(model, DataLoader(TensorDataset(shown, torch.arange(len(shown))), 2), verbose=False)
            assert trainer.callback_metrics["val/dead_units"].item() == pytest.approx(expected)

    def test_a_module_that_is_used_in_several_places(self, monkeypatch):
        monkeypatch.syspath_prepend(Path(__file__).parent)
        watching = "--trainer.callbacks=[{'class_path': 'zoo.training.callbacks.dead_units.DeadUnits'}, "
        watching += "{'class_path': 'zoo.training.tensorboard.histograms.Histograms'}]"
        log = log_of(run_of("fit", "--model=test_tensorboard.Shared", *DATA, watching))
        found = {tag for tag in log.Tags()["scalars"] if tag.startswith("val_dead_units")}
        assert found == {f"val_dead_units/net.1{units}" for units in ("", ", 6 units", ", 1 units")}
        assert "activations/net.1" in log.Tags()["histograms"]


class TestHistograms:
    def test_are_there_before_the_first_step_and_after_each_epoch(self, three_runs):
        log = log_of(three_runs[2])
        convolutions, dense, bends = ("net.0", "net.3"), ("net.7", "net.9"), ("net.1", "net.4", "net.8")
        expected = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in convolutions + dense}
        expected |= {f"activations/{name}" for name in bends}
        assert set(log.Tags()["histograms"]) == expected
        for tag in expected:
            assert [event.step for event in log.Histograms(tag)] == [0, 1, 2]
        for name in bends:
            assert [event.step for event in log.Scalars(f"dead/{name}")] == [0, 1, 2]
        assert log.Histograms("weights/net.0")[0].histogram_value.num == 32 * 3 * 3 * 3
        assert log.Histograms("activations/net.1")[0].histogram_value.num == 30 * 32 * 32 * 32

    def test_opt_in(self, three_runs):
        log = log_of(three_runs[0])
        assert not log.Tags()["histograms"]

    @pytest.mark.parametrize("command", [NUMPY, CNN, [*BINARY, "--trainer.gradient_clip_val=0.1"]])
    def test_change_nothing(self, command):
        """The weights of two epochs are the same, bit for bit, and so are the curves; for NumPy, too."""
        plain, watched = run_of(*command), run_of(*command, "--config=histograms")
        a, b = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (plain, watched))
        for name, value in a["state_dict"].items():
            assert torch.equal(value, b["state_dict"][name]), name
        found = {tag: curve for tag, curve in scalars(watched).items() if not tag.startswith(("dead", "saturation"))}
        assert found == scalars(plain)

    def test_are_not_drawn_again_by_a_run_that_goes_on(self):
        stop = {"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 5}}
        callbacks = json.dumps([{"class_path": "zoo.training.tensorboard.histograms.Histograms"}, stop])
        run = run_of(*SMALL, f"--trainer.callbacks={callbacks}", code=143)
        assert cli.main(["fit", "--resume", f"--config={run}/config.yaml"]) == 0
        log = log_of(run)
        assert [event.step for event in log.Histograms("weights/net.1")] == [0, 1, 2]
        assert [event.step for event in log.Scalars("dead/net.2")] == [0, 1, 2]

    def test_are_drawn_once_by_a_run_that_starts_anew(self):
        stop = {"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 1}}
        callbacks = json.dumps([{"class_path": "zoo.training.tensorboard.histograms.Histograms"}, stop])
        options = [f"--trainer.callbacks={callbacks}", "--trainer.enable_checkpointing=false"]
        run = run_of(*SMALL, *options, code=143)
        config = (run / "config.yaml").read_text().replace("enable_checkpointing: false", "enable_checkpointing: true")
        (run / "config.yaml").write_text(config.replace("step: 1", "step: -1"))
        assert cli.main(["fit", "--resume", f"--config={run}/config.yaml"]) == 0
        log = log_of(run)
        assert [event.step for event in log.Scalars("dead/net.2")] == [0, 1, 2]

    def test_gradients_of_a_numpy_network(self, images, labels):
        torch.manual_seed(0)
        model = NumPyMLP([5], "sigmoid")
        model.network.flat_gradients[:] = 7
        parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
        inputs = torch.from_numpy(model.normalized(images).copy()).flatten(1)
        hidden = torch.sigmoid(inputs @ parameters[0] + parameters[1])
        F.cross_entropy(hidden @ parameters[2] + parameters[3], labels).backward()
        found = histograms.gradients(model, images, labels)
        assert found.keys() == {"layers.1", "layers.3"}
        torch.testing.assert_close(found["layers.1"], parameters[0].grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found["layers.3"], parameters[2].grad, rtol=1e-4, atol=1e-6)
        assert (model.network.flat_gradients == 7).all(), "training's own are left alone"

    def test_gradients_of_a_pytorch_network(self, images, labels):
        torch.manual_seed(0)
        model = MLP([5])
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 7)
        twin = copy.deepcopy(model)
        twin.zero_grad()
        twin.loss(twin(images), labels).backward()
        found = histograms.gradients(model, images, labels)
        assert found.keys() == {"net.1", "net.3"}
        torch.testing.assert_close(found["net.1"], twin.net[1].weight.grad)
        assert all((parameter.grad == 7).all() for parameter in model.parameters())
        assert model.training

    @pytest.mark.parametrize(
        ("activation", "output", "expected"),
        [
            (nn.ReLU(), [[0, 0, 2], [0, 1, 0]], ("dead", 1 / 3)),
            (nn.ReLU(), [[0, 0], [0, 0]], ("dead", 1)),
            (nn.Sigmoid(), [[0.01, 0.5], [0.99, 0.03]], ("saturation", 0.5)),
            (nn.Sigmoid(), [[0.5, 0.5], [0.5, 0.999]], ("saturation", 0.25)),
            (nn.Tanh(), [[-0.97, 0.01], [0.0, 0.95]], ("saturation", 0.25)),
            (nn.Tanh(), [[-1, 1]], ("saturation", 1)),
        ],
    )
    def test_flatness(self, activation, output, expected):
        kind, share = histograms.flatness(activation, torch.tensor(output, dtype=torch.float))
        assert (kind, share) == (expected[0], pytest.approx(expected[1]))

    def test_a_channel_is_dead_where_it_is_0_at_all_places(self):
        output = torch.zeros(2, 4, 3, 3)
        output[1, 2, 0, 1] = 1
        assert histograms.flatness(nn.ReLU(), output) == ("dead", 0.75)

    @pytest.mark.parametrize(("model", "name"), [(NumPyMLP([4], "tanh"), "layers.2"), (Squares(), "net.2")])
    def test_large_weights_saturate(self, model, name, images):
        output = histograms.activations(model, images)
        assert output.keys() == {name}
        module = histograms.activation_of(model, name)
        before = histograms.flatness(module, output[name])[1]
        with torch.no_grad():
            next(p for p in model.parameters() if p.ndim == 2).mul_(1000)
        after = histograms.flatness(module, histograms.activations(model, images)[name])[1]
        assert before < 0.7 < 0.95 < after


@pytest.fixture
def images() -> torch.Tensor:
    return random_images(12)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.arange(12) % 10


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.fast_dev_run=true"],
        ["--trainer.logger=false"],
        ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=csv"],
        ["--trainer.logger=lightning.pytorch.loggers.TensorBoardLogger", "--trainer.logger.save_dir=theirs"],
    ],
    ids=["fast_dev_run", "no-logger", "CSV", "of-Lightning"],
)
def test_nothing_without_a_log_of_ours(options, capsys):
    assert cli.main([*NUMPY, "--config=histograms", *options]) == 0
    files = {path.name for path in Path().rglob("*")}
    assert not files & {"projector", "projector_config.pbtxt", run_summary.FILE}
    for folder in {path.parent for path in Path().rglob("events*")}:
        tags = EventAccumulator(str(folder)).Reload().Tags()
        assert not tags["histograms"]
        assert not tags["tensors"]
    output = capsys.readouterr()
    assert "TensorBoard" not in output.out + output.err


def test_a_sanity_check_is_no_validation():
    """It leaves no metrics: Lightning's option runs a few batches before training, as a test."""
    dead = "--trainer.callbacks=zoo.training.callbacks.dead_units.DeadUnits"
    usual, checked = run_of(*CNN, dead), run_of(*CNN, dead, "--trainer.num_sanity_val_steps=2")
    rows = [(run / "metrics.csv").read_text().splitlines()[0] for run in (usual, checked)]
    assert rows[0] == rows[1]
    for folder in ("", "steps"):
        logs = [EventAccumulator(str(run / "tensorboard" / folder)).Reload() for run in (usual, checked)]
        assert logs[0].Tags()["scalars"] == logs[1].Tags()["scalars"]
        for tag in logs[0].Tags()["scalars"]:
            found = [[(event.step, event.value) for event in log.Scalars(tag)] for log in logs]
            if tag.startswith(("val", "test", "batch")):
                assert found[0] == found[1], tag
            else:
                assert [step for step, _ in found[0]] == [step for step, _ in found[1]], tag


class ByItself(MLP):
    """Uses manual optimization, and returns no loss."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__([4], num_classes)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()


def test_a_step_that_returns_no_loss(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    run = run_of("fit", "--model=test_tensorboard.ByItself", *DATA, "--trainer.log_every_n_steps=2")
    log = EventAccumulator(str(run / "tensorboard" / "steps")).Reload()
    assert [event.step for event in log.Scalars("batch/lr")] == [2, 4, 6, 8]
    assert "batch/loss" not in log.Tags()["scalars"]


def test_a_persons_own_callback_finds_the_log():
    run_of(*SMALL, "--trainer.callbacks=tests.callbacks.WantsTheLog")


def test_the_command_to_look_at_it(capsys):
    run_of(*NUMPY)
    assert "\nTensorBoard: tensorboard --logdir runs --samples_per_plugin images=200\n" in capsys.readouterr().out


def test_two_processes():
    """The curves contain all test images once; everything else is written once."""
    options = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp", "--config=histograms"]
    done = forked.run(*CNN, *options, "--data.test_size=41")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    (run,) = Path("runs").glob("*/*")
    board, name = Board(Path("runs")), of_board(run)
    assert board.rows()[name]["batch size"] == 32
    positives = []
    for tag in json.loads(board.get("pr_curves", "tags"))[name]:
        (curve,) = json.loads(board.get("pr_curves", "pr_curves", run=name, tag=tag))[name]
        positives.append(curve["true_positives"][0])
    assert sum(positives) == 41
    assert len(json.loads(board.get("projector", "info", run=name))["embeddings"]) == 1
    log = log_of(run)
    assert [event.step for event in log.Histograms("weights/net.0")] == [0, 1, 2]


def _data(run: Path):
    """The data of a run."""
    config = yaml.safe_load((run / "config.yaml").read_text())["data"]
    # Without what is done to training images, which the others go without.
    kept = {key: config[key] for key in ("source", "task", "train_size", "val_size", "test_size")}
    data = CIFAR10DataModule(**kept)
    data.setup()
    return data
