"""What runs on the second device: every command, with every model of the zoo. test_second_device.py starts this file.

Alone: python -m pytest tests/second_device/on_second_device.py
"""

import csv
import json
import shutil
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

import cli
from tests.second_device import second_device
from tests.second_device.second_device import NAME, Counts, counts
from zoo.commands import export
from zoo.core import devices, views
from zoo.evaluation import latency
from zoo.trained import trained_model
from zoo.training.lightning_cli import ZooCLI

pytestmark = pytest.mark.pictures

ON_DEVICE = [f"--trainer.accelerator={NAME}", f"--trainer.strategy={NAME}"]
DATA = [
    "--data.source=synthetic", "--data.train_size=64", "--data.val_size=20", "--data.test_size=30",
    "--data.batch_size=16", "--data.crop_padding=2", "--data.horizontal_flip=true", "--data.cutout=8",
    "--data.policy=randaugment", "--data.color_jitter=0.4", "--data.random_erasing=0.5",
]  # fmt: skip
FIT = ["fit", *DATA, "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
SMALL = "--model.widths=[8,8,8]"
LOOKAHEAD = ["--config=speedrun95", SMALL, "--data.drop_last=false"]
EMA = '{"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}'
RUNS = {
    "CNN": ["--config=cnn", "--config=histograms"],
    "ImprovedCNN": ["--config=improved_cnn", "--data.mixup=0.4", "--data.cutmix=1"],
    "MLP": ["--config=mlp"],
    "SpeedrunNet": ["--config=speedrun94", SMALL],
}


@pytest.fixture(scope="session", autouse=True)
def _device(pytestconfig):
    second_device.register(pytestconfig.cache.mkdir("second_device"))


class Steps(L.Callback):
    """Makes every wait for the device an error, from the start of an epoch's first step to the end of its last.

    Nothing is copied to the device, either: the images and the random numbers of a step are there.
    """

    epochs = 0  # number of watched epochs
    _before: Counts

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        assert {tensor.device.type for tensor in (*batch[:3], *(batch.partners or ()))} == {NAME}
        if batch_idx == 0:
            self._before = counts()
            second_device.trap(True)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.is_last_batch:
            second_device.trap(False)
            assert counts() == self._before
            Steps.epochs += 1

    def on_exception(self, trainer, pl_module, exception):
        second_device.trap(False)


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Return for each model a run on the device, and one on the CPU as "CNN on cpu"."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, options in RUNS.items():
        for place, where in ((name, ON_DEVICE), (f"{name} on cpu", ["--trainer.accelerator=cpu"])):
            command = [*FIT, *options, *where, f"--runs_dir={folder}", f"--name={place}"]
            with pytest.MonkeyPatch.context() as patch:
                if where is ON_DEVICE:
                    patch.setattr(ZooCLI, "instantiate_trainer", _with_steps)
                assert cli.main(command) == 0
            (found[place],) = folder.glob(f"{place}-synthetic/*")
    assert Steps.epochs == len(RUNS)
    return found


def _with_steps(self, _original=ZooCLI.instantiate_trainer, **options) -> L.Trainer:
    trainer = _original(self, **options)
    trainer.callbacks.insert(0, Steps())
    return trainer


@pytest.fixture(params=RUNS)
def name(request) -> str:
    return request.param


@pytest.fixture
def run(runs, name, tmp_path) -> Path:
    """A copy of the model's run on the device."""
    return shutil.copytree(runs[name], tmp_path / name)


def rows(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    return [{k: float(v) for k, v in line.items() if k != "data" and "seconds" not in k} for line in lines]


def results(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_the_device_refuses_what_a_gpu_refuses():
    on_device, on_cpu = torch.ones(3, device=NAME), torch.ones(3)
    with pytest.raises(RuntimeError, match=r"same device|different devices"):
        on_device + on_cpu
    before = counts()
    second_device.trap(True)
    try:
        for wait in (torch.Tensor.sum, torch.nonzero, torch.Tensor.cpu):
            with pytest.raises(RuntimeError, match="waits for the device"):
                wait(on_device).cpu()
    finally:
        second_device.trap(False)
    assert (on_device + 1).cpu().tolist() == [2, 2, 2]
    assert counts() == before._replace(reads=before.reads + 1, to_cpu=before.to_cpu + 3)


class TestTraining:
    def test_it_learns_as_on_the_cpu(self, runs, name):
        """The random numbers of network and augmentation are the same; the device augments images itself."""
        on_device, on_cpu = runs[name], runs[f"{name} on cpu"]
        for row, expected in zip(rows(on_device), rows(on_cpu), strict=True):
            assert row == pytest.approx(expected, rel=1e-3)
        assert results(on_device)["hardware"] == f"1 x {NAME}"
        assert results(on_device)["test/loss"] == pytest.approx(results(on_cpu)["test/loss"], rel=1e-3)
        pictures = {path.relative_to(on_cpu) for path in on_cpu.rglob("*.png")}
        assert len(pictures) >= 3
        assert {path.relative_to(on_device) for path in on_device.rglob("*.png")} == pictures

    def test_it_goes_on_and_is_evaluated(self, run):
        assert cli.main(["fit", f"--resume={run}", *ON_DEVICE, "--trainer.max_epochs=2"]) == 0
        assert [row["epoch"] for row in rows(run)] == [1, 2]
        for command, key in (("test", "test/loss"), ("validate", "val/loss")):
            losses = []
            for place in (ON_DEVICE, ["--trainer.accelerator=cpu"]):
                assert cli.main([command, f"--ckpt={run}", *place]) == 0
                folders = run.glob(f"{key.partition('/')[0]}/*/metrics.json")
                newest = max(folders, key=lambda path: path.stat().st_mtime_ns)
                losses.append(json.loads(newest.read_text())[key])
            assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    @pytest.mark.parametrize(
        "options",
        [
            LOOKAHEAD,
            ["--config=mlp", f"--trainer.callbacks+={EMA}"],
            ["--config=improved_cnn", "--ema=0.9", "--sam=0.05", "--l1=1e-4", "--l2=1e-3"],
            ["--config=mlp", "--swa=0.5"],
        ],
        ids=["Lookahead", "EMAWeightAveraging", "EMA", "SWA"],
    )
    def test_weights_are_averaged(self, options):
        """No step with an average of ours, a penalty or a second gradient waits for the device."""
        found, epochs = [], Steps.epochs
        for where in (ON_DEVICE, ["--trainer.accelerator=cpu"]):
            with pytest.MonkeyPatch.context() as patch:
                if where is ON_DEVICE and options[1].startswith(("--ema", "--swa")):
                    patch.setattr(ZooCLI, "instantiate_trainer", _with_steps)
                assert cli.main([*FIT, *options, *where]) == 0
            (run,) = Path("runs").glob("*/*")
            found.append(results(run.rename(Path(f"{len(found)}")))["test/loss"])
        assert found[0] == pytest.approx(found[1], rel=1e-3)
        Steps.epochs = epochs  # `runs` counts its own


class TestTrainedModels:
    """Each command computes on the device what it computes on the CPU."""

    def test_evaluate(self, run, runs, name, monkeypatch):
        monkeypatch.setattr(latency, "WARM_UP", 1)
        monkeypatch.setattr(latency, "TURNS", {"batch": 2, "single": 5})
        options = ["--corruption_images=0"]
        if name == "CNN":
            options = ["--corruption_images=2", f"--against={runs['MLP']}"]
        reports = []
        for kind in (NAME, "cpu"):
            command = ["evaluate", f"--ckpt={run}", *options]
            before = counts()
            assert cli.main([*command, f"--out={kind}", f"--accelerator={kind}"]) == 0
            reports.append(json.loads((Path(kind) / "report.json").read_text()))
            waited = counts().synchronized - before.synchronized
            assert waited >= 7 if kind == NAME else waited == 0, "latency is of what is done"
        hardware = [report.pop("speed")["hardware"] for report in reports]
        assert hardware[0] == NAME != hardware[1]
        assert_close(*reports)

    def test_explain(self, run):
        for kind in (NAME, "cpu"):
            command = ["explain", f"--ckpt={run}", "--method=all", "--images=1", f"--out={kind}"]
            assert cli.main([*command, f"--accelerator={kind}"]) == 0
        pages = sorted(path.name for path in Path("cpu").iterdir())
        assert len(pages) == 4
        assert pages == sorted(path.name for path in Path(NAME).iterdir())
        for page in pages:
            found, expected = (np.asarray(Image.open(Path(kind) / page)).astype(int) for kind in (NAME, "cpu"))
            assert np.abs(found - expected).mean() < 0.1, page

    def test_predict(self, run):
        found = []
        for kind in (NAME, "cpu"):
            command = ["predict", "--test_set", f"--ckpt={run}", "--format=csv", f"--out={kind}.csv"]
            assert cli.main([*command, f"--accelerator={kind}"]) == 0
            found.append([line.split(",") for line in Path(f"{kind}.csv").read_text().splitlines()])
        assert len(found[0]) == 31
        for row, expected in zip(*found, strict=True):
            assert row[:3] == expected[:3]
        numbers = [np.array([row[3:] for row in rows[1:]], dtype=float) for rows in found]
        np.testing.assert_allclose(*numbers, atol=2e-6)

    @pytest.mark.parametrize("kind", sorted({*export.FORMATS} - {"npz"}))
    def test_export(self, kind, run, name, monkeypatch):
        """The file is the same as on the CPU, and it is compared with the model on the device."""
        if kind == "onnx" and name != "CNN":
            pytest.skip("slow: one model will do")
        moved: list[str] = []
        move = devices.move
        monkeypatch.setattr(devices, "move", lambda model, device: (moved.append(device.type), move(model, device)))
        command = ["export", f"--ckpt={run}", f"--format={kind}", f"--out=m.{kind}"]
        assert cli.main([*command, f"--accelerator={NAME}"]) == 0
        assert moved[-1] == NAME
        module = __import__(f"zoo.exporting.{kind}", fromlist=["probabilities"])
        images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
        model = trained_model.load(str(run)).model
        with torch.no_grad():
            tta = views.NO_VIEWS if kind == "safetensors" else model.tta  # weights alone hold no views
            logits = views.mean_logits(model, torch.from_numpy(images), tta)
        expected = model.predict_probabilities(logits).numpy()
        np.testing.assert_allclose(module.probabilities(f"m.{kind}", images), expected, atol=1e-5)


def assert_close(found, expected, where: str = "") -> None:
    """Check that two reports have the same texts, and the same numbers up to rounding."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_close(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for position, pair in enumerate(zip(found, expected, strict=True)):
            assert_close(*pair, f"{where}/{position}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5), where
    else:
        assert found == expected, where


def test_a_numpy_model_stays_on_the_cpu_beside_it(tmp_path, capsys):
    assert cli.main([*FIT, "--model=NumPyMLP", "--name=numpy"]) == 0
    (run,) = Path("runs").glob("numpy-synthetic/*")
    assert "CPU" in results(run)["hardware"]
    commands = "predict --test_set", "explain --images=1", "evaluate --corruption_images=0", "export --format=npz"
    for command in commands:
        capsys.readouterr()
        assert cli.main([*command.split(), f"--accelerator={NAME}"]) == 2
        assert "NumPyMLP computes on the CPU" in capsys.readouterr().err
        assert cli.main(command.split()) == 0
    assert cli.main([*FIT, "--model=NumPyMLP", *ON_DEVICE]) == 2
