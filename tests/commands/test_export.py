"""`export`: every model in every format gives what the original gives, and a wrong export leaves nothing behind."""

import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import ExifTags, Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import cli
from datamodules.data_sets import CIFAR10, SOURCES
from datamodules.errors import InputError, RunError
from datamodules.readers import image_files
from tests import plugins
from tests.helpers import ALWAYS_CHECKED, MODELS, Hostile, in_markdown, quiet_trainer, tiny_data
from zoo.catalogue import registry
from zoo.core.about import About
from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.core.torch_classifier import TorchClassifier
from zoo.core.torch_twin import MODULES, TorchTwin
from zoo.exporting import card, check, npz, program, safetensors
from zoo.models.cnn import CNN, ImprovedCNN
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.scratch import activations
from zoo.scratch.activations import Activation, ReLU, Sigmoid, Tanh
from zoo.scratch.fast import FAST
from zoo.scratch.initializers import glorot
from zoo.scratch.layers import Dense, Flatten
from zoo.scratch.losses import CategoricalCrossEntropy
from zoo.scratch.network import Network
from zoo.trained import trained_model as trained
from zoo.trained.trained_model import Trained

TORCH_FORMATS = ("onnx", "pt2", "safetensors")
FORMATS = (*TORCH_FORMATS, "npz")


class OwnNumPyNet(NumPyClassifier):
    """A NumPy network of another package, with every activation there is."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        rng, layers = self.rng(), [Flatten()]
        for size, before, activation in ((8, 3072, Tanh()), (7, 8, Sigmoid()), (6, 7, ReLU())):
            layers += [Dense(before, size, glorot, rng), activation]
        layers.append(Dense(6, self.num_outputs, glorot, rng))
        self.set_network(Network(layers), CategoricalCrossEntropy())


class Square(Activation):
    """An activation that no export knows."""

    def function(self, z: np.ndarray) -> np.ndarray:
        return np.square(z)

    def slope(self, a: np.ndarray) -> np.ndarray:
        return 2 * np.sqrt(a)


class SquareNet(NumPyClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        layers = [Flatten(), Dense(3072, self.num_outputs, glorot, self.rng()), Square()]
        self.set_network(Network(layers), CategoricalCrossEntropy())


class DataDependentNet(TorchClassifier):
    """Its Python looks at the pixels, so that there is no one graph of it."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs))

    def forward(self, images: Tensor) -> Tensor:
        normalized = self.normalize(images)
        if normalized.mean() > 0:
            normalized = -normalized
        return self.net(normalized)


SHAPE = {"num_classes": 10, "channels": 3, "image_size": 32}  # arguments of every model
PLUGINS = {net.__name__: net for net in (OwnNumPyNet, SquareNet, DataDependentNet)}


@pytest.fixture
def _plugins(monkeypatch) -> None:
    """The classes above as models of another package."""
    points = [EntryPoint(name, f"{__name__}:{name}", registry.ENTRY_POINT_GROUP) for name in PLUGINS]
    plugins.claim(monkeypatch, points)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Callable[..., Path]:
    """Train a model for two steps, once, and return its checkpoint."""
    made: dict[tuple, Path] = {}

    def checkpoint(kind: type[Classifier], task: str = "multiclass", **arguments: object) -> Path:
        key = (kind, task, str(arguments))
        if key not in made:
            torch.manual_seed(len(made))
            model = kind(num_classes=2 if task == "binary" else 10, **arguments)
            trainer = quiet_trainer(max_steps=2)
            trainer.fit(model, tiny_data(task=task))
            made[key] = tmp_path_factory.mktemp("model") / "model.ckpt"
            trainer.save_checkpoint(made[key])
        return made[key]

    return checkpoint


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    """A run of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        sizes = {"train_size": 64, "val_size": 32, "test_size": 40, "batch_size": 16}
        options = [f"--data.{name}={value}" for name, value in sizes.items()]
        options += [
            "--trainer.max_epochs=2",
            "--trainer.enable_model_summary=false",
            "--seed_everything=7",
            "--l2=1e-3",
        ]
        assert cli.main(["fit", "--model=MLP", "--data.source=synthetic", *options]) == 0
        (path,) = Path("runs").resolve().glob("*/2*")
        return path


@pytest.fixture
def export(capfd) -> Callable[..., tuple[int, list[str], str]]:
    """Run `export`; return its exit code, the lines that it prints, and its errors."""

    def export(*arguments: object) -> tuple[int, list[str], str]:
        capfd.readouterr()
        code = cli.main(["export", *(str(argument) for argument in arguments)])
        output = capfd.readouterr()
        return code, output.out.splitlines(), output.err

    return export


def images(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)


def expected(model: Classifier, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.predict_probabilities(model(torch.from_numpy(pixels))).numpy()


def run_onnx(path: Path, model: Classifier, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path))
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, entry.shape[1:]) == ("images", "tensor(uint8)", [3, 32, 32])
    assert (result.name, result.type) == ("probabilities", "tensor(float)")
    return session.run(None, {"images": pixels})[0]


def run_pt2(path: Path, model: Classifier, pixels: np.ndarray) -> np.ndarray:
    return torch.export.load(path).module()(torch.from_numpy(pixels)).detach().numpy()


def run_safetensors(path: Path, model: Classifier, pixels: np.ndarray) -> np.ndarray:
    """A new object of the class, with the file's weights and the file's normalization."""
    with safe_open(path, "pt") as file:
        arguments = json.loads(file.metadata()["arguments"])
    tensors = load_file(path)
    again = type(model)(**arguments).eval()
    again.load_state_dict(tensors)
    return expected(again, pixels)


def run_card(path: Path, model: Classifier, pixels: np.ndarray) -> np.ndarray:
    """The code of the card, in a process that has no torch."""
    code, _ = code_of(path)
    np.save("pixels.npy", pixels)
    block = "import sys; sys.modules['torch'] = sys.modules['zoo'] = None\n"
    save = f"\nnp.save('found.npy', probabilities({str(path)!r}, np.load('pixels.npy')))"
    subprocess.run([sys.executable, "-c", block + code + save], check=True)
    return np.load("found.npy")


RUN = {"onnx": run_onnx, "pt2": run_pt2, "safetensors": run_safetensors, "npz": run_card}


def code_of(path: Path) -> list[str]:
    """The blocks of Python in a file's card."""
    return re.findall(r"```python\n(.*?)```", card_of(path), re.DOTALL)


def card_of(path: Path) -> str:
    return path.with_name(f"{path.name}.md").read_text(encoding="utf-8")


def assert_same(path: Path, model: Classifier) -> None:
    for n in (1, 2, 11):
        pixels = images(n)
        found = RUN[path.suffix[1:]](path, model.eval(), pixels)
        assert found.dtype == np.float32
        assert found.shape == (n, model.num_classes)
        np.testing.assert_allclose(found, expected(model, pixels), rtol=0, atol=5e-6)


CASES = [
    pytest.param(name, task, file_format, marks=() if name in ALWAYS_CHECKED else pytest.mark.full)
    for name in MODELS
    for task in ("multiclass", "binary")
    for file_format in FORMATS
    if (file_format != "npz" or issubclass(registry.load(name), NumPyClassifier))
    and (task == "multiclass" or name in ("NumPyMLP", "CNN"))  # the last lines are the same for all
]


class TestEveryModel:
    @pytest.mark.parametrize(("name", "task", "file_format"), CASES)
    def test_gives_the_same_probabilities(self, export, checkpoint, name, task, file_format):
        path = checkpoint(registry.load(name), task)
        code, lines, error = export("--ckpt", path, "--format", file_format, "--out", f"here/m.{file_format}")
        assert (code, error) == (0, "")
        assert [line.split(":")[0] for line in lines] == ["from", "file", "card", "check"]
        assert_same(Path(f"here/m.{file_format}"), trained.load(str(path)).model)
        assert sorted(path.name for path in Path("here").iterdir()) == [f"m.{file_format}", f"m.{file_format}.md"]
        content = Path(f"here/m.{file_format}").read_bytes()
        for folder in (Path(cli.__file__).parent, Path(torch.__file__).parent):
            assert str(folder).encode() not in content, "a place on this machine"

    @pytest.mark.parametrize("file_format", ["onnx", "npz"])  # the graph of pt2 is that of onnx
    @pytest.mark.parametrize(
        "arguments",
        [
            {"hidden_sizes": [6, 5], "activation": "tanh", "pixels": "unit"},
            {"hidden_sizes": [4], "activation": "sigmoid"},
            {"hidden_sizes": []},
        ],
    )
    def test_numpy_networks(self, export, checkpoint, arguments, file_format):
        path = checkpoint(NumPyMLP, **arguments)
        assert export("--ckpt", path, "--format", file_format, "--out", f"m.{file_format}")[0] == 0
        assert_same(Path(f"m.{file_format}"), trained.load(str(path)).model)

    @pytest.mark.usefixtures("_plugins")
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_of_another_package(self, export, checkpoint, file_format):
        path = checkpoint(OwnNumPyNet)
        assert export("--ckpt", path, "--format", file_format, "--out", f"m.{file_format}")[0] == 0
        assert_same(Path(f"m.{file_format}"), trained.load(str(path)).model)

    @pytest.mark.parametrize("file_format", TORCH_FORMATS)
    def test_batch_norm_as_it_was_learnt_and_channels_last(self, file_format):
        torch.manual_seed(0)
        model = ImprovedCNN()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.running_mean.normal_(0, 0.3)
                    module.running_var.uniform_(0.5, 2)
                    module.weight.uniform_(0.5, 2)
                    module.bias.normal_(0, 0.3)
        model.configure_model()
        assert model.net[0].weight.is_contiguous(memory_format=torch.channels_last)
        path = Path(f"m.{file_format}")
        about = {"model": "ImprovedCNN", "arguments": "{}"}
        path.write_bytes(import_module(f"zoo.exporting.{file_format}").content(model.eval(), about))
        assert_same(path, model)

    def test_every_activation_is_known(self):
        """To the twin in PyTorch and to the lines of NumPy; `test_of_another_package` has all of them."""
        own = {kind for kind in vars(activations).values() if isinstance(kind, type) and issubclass(kind, Activation)}
        known = {kind for kind in MODULES if issubclass(kind, Activation)} - set(FAST.values())
        assert known == own - {Activation}


class TestFiles:
    def test_onnx_is_one_file_that_knows_its_classes(self, export, checkpoint):
        export("--ckpt", checkpoint(CNN), "--format", "onnx", "--out", "m.onnx")
        model = onnx.load("m.onnx", load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
        about = onnxruntime.InferenceSession("m.onnx").get_modelmeta().custom_metadata_map
        assert json.loads(about["class_names"]) == list(tiny_data().class_names)
        assert about["class"] == "zoo.models.cnn.CNN"
        assert json.loads(about["arguments"]) == SHAPE

    def test_pt2_knows_its_classes(self, export, checkpoint):
        export("--ckpt", checkpoint(CNN, "binary"), "--format", "pt2", "--out", "m.pt2")
        about = {"class_names": "", "epochs": ""}
        torch.export.load("m.pt2", extra_files=about)
        assert len(json.loads(about["class_names"])) == 2

    def test_safetensors_holds_the_state_dict_and_the_normalization(self, export, checkpoint):
        export("--ckpt", checkpoint(ImprovedCNN, dropout=0.25), "--format", "safetensors", "--out", "m.safetensors")
        model = trained.load(str(checkpoint(ImprovedCNN, dropout=0.25))).model
        tensors = load_file("m.safetensors")
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensors.pop(name), tensor)
        assert not tensors
        assert {"scale", "shift"} <= model.state_dict().keys()
        with safe_open("m.safetensors", "pt") as file:
            about = file.metadata()
        assert json.loads(about["arguments"]) == {"dropout": 0.25} | SHAPE
        assert json.loads(about["class_names"]) == list(tiny_data().class_names)
        assert "torch" in json.loads(about["versions"])

    def test_safetensors_brings_its_own_normalization(self, checkpoint):
        """Which may be another one than that of the class, where that changes one day."""
        model = trained.load(str(checkpoint(MLP))).model
        model.scale, model.shift = model.scale * 2, model.shift + 1
        about = {"model": "MLP", "class": "zoo.models.mlp.MLP", "arguments": "{}"}
        Path("m.safetensors").write_bytes(safetensors.content(model, about))
        found = safetensors.probabilities("m.safetensors", images(3))
        np.testing.assert_array_equal(found, expected(model, images(3)))

    def test_safetensors_does_not_choose_what_is_imported(self, checkpoint, tmp_path, monkeypatch):
        Path("chosen.py").write_text("from zoo.models.mlp import MLP\nopen('it-ran', 'w')\n")
        monkeypatch.syspath_prepend(tmp_path)
        about = {"model": "chosen.MLP", "class": "chosen.MLP", "arguments": "{}"}
        model = trained.load(str(checkpoint(MLP))).model
        Path("m.safetensors").write_bytes(safetensors.content(model, about))
        with pytest.raises(ImportError, match="its class is in chosen: where you trust that, import it first"):
            safetensors.probabilities("m.safetensors", images(1))
        assert not Path("it-ran").exists()

    def test_npz_is_plain_arrays(self, export, checkpoint):
        export("--ckpt", checkpoint(NumPyMLP), "--format", "npz", "--out", "m.npz")
        with np.load("m.npz", allow_pickle=False) as net:
            arrays = {name: net[name] for name in net}
        assert [arrays[f"activation_{k}"] for k in (0, 1)] == ["ReLU", "Identity"]
        assert arrays["weights_0"].shape == (3072, 64)
        assert arrays["scale"].dtype == arrays["weights_1"].dtype == np.float32
        assert arrays["class_names"].tolist() == list(tiny_data().class_names)


class TestCard:
    def test_of_a_run(self, export, run_dir):
        code, lines, _ = export("--ckpt", run_dir, "--format", "onnx")
        assert code == 0
        assert str(run_dir / "export" / "MLP.onnx") in lines[1]
        card = card_of(run_dir / "export" / "MLP.onnx")
        facts = json.loads((run_dir / "metrics.json").read_text())
        assert "class: `zoo.models.mlp.MLP` of the package cifar10-zoo" in card
        assert "`hidden_sizes=[64]`" in card or "`hidden_sizes=None`" in card
        assert "parameters: 197,322" in card
        assert "uint8, shape (n, 3, 32, 32)" in card
        assert "float32, shape (n, 10)" in card
        assert all(name in card for name in tiny_data().class_names)
        assert f"- epochs: {facts['best_epoch']}" in card
        assert "- data: 64 images of synthetic, multiclass" in card
        assert "max_epochs: 2" in card
        assert "l2: 0.001\n" in card
        assert not re.search(r"^(l1|ema|sam|layer_decay|decay_norms):", card, re.MULTILINE), "defaults"
        assert "On 40 test images of synthetic, multiclass. It is one run, of seed 7" in card
        assert f"| accuracy | {facts['test/acc']:.4f} |" in card
        assert "on 108 synthetic images" in card
        assert re.search(r"probability from the original model's is \d\.\de[+-]\d\d", card)
        assert f"onnxruntime {onnxruntime.__version__}" in card
        assert "MIT" in card
        assert str(run_dir.parent.parent) not in card

    def test_no_text_is_markup(self, checkpoint, monkeypatch):
        """Whatever a checkpoint, its run, its package and the name of a file hold."""
        text, code = Hostile(), Hostile()
        facts = {"seed": text(), "checkpoint": "checkpoints/best.ckpt", "test/images": 9, "test/acc": 0.5}
        facts |= {"data": {"train": 8, "source": text(), "task": "multiclass"}, "test/acc_per_class": {text(): 0.5}}
        Path("run", "checkpoints").mkdir(parents=True)
        Path("run", "metrics.json").write_text(json.dumps(facts))
        Path("run", "config.yaml").write_text(
            yaml.safe_dump({"seed_everything": "a\n```\n<b>", "init_from": f"/me/{text()}"})
        )
        Path("run", "config_<b>_epochs.yaml").touch()
        entry = registry.Entry("Net", f"`{code()}:Net", text())
        monkeypatch.setattr(card, "entry", lambda trained: entry)
        model = trained.load(str(checkpoint(MLP))).model
        model.__class__ = type(text(), (MLP,), {"__doc__": text(), "about": About(paper=text())})
        config = {"model": {"init_args": {code(): code()}}, "data": {"source": "synthetic", "task": "multiclass"}}
        file = card.File(code(), 1, "onnx", "x", (), npz.probabilities, check.Checked(0.0, text()))
        written = card.text(Trained(model, Path("run/checkpoints/best.ckpt"), config, (text(), text()), 1, "x"), file)

        blocks = r"^(`{3,})(?:python|yaml)\n.*?^ {0,3}\1 *$"
        spans = r"(?<![`\\])(`+)(?!`).+?(?<!`)\1(?!`)"
        prose = re.sub(spans, "", re.sub(blocks, "", written, flags=re.DOTALL | re.MULTILINE))
        for one in text.texts:
            assert in_markdown(one) in prose
        plain = re.sub(r"\\.", "", prose)
        assert not re.search("[<`*~$]", plain)
        assert {line.count("|") for line in plain.splitlines() if "|" in line} == {3}
        for one in code.texts:
            assert any(shown in written for shown in (one, repr(one)[1:-1]))
        other = {"checkpoint": text()}
        Path("run", "metrics.json").write_text(json.dumps(facts | other))
        written = card.text(Trained(model, Path("run/checkpoints/best.ckpt"), config, ("a", "b"), 1, "x"), file)
        assert f"another checkpoint, {in_markdown(other['checkpoint'])}." in written

    @pytest.mark.parametrize(
        ("config", "start"),
        [
            ({}, None),
            ({"model": {"class_path": "TimmModel", "init_args": {"pretrained": False}}}, None),
            ({"model": {"class_path": "TimmModel", "init_args": {"pretrained": True}}}, "the pretrained ones"),
            ({"init_from": "/home/me/runs/CNN/2026-01-01/checkpoints/best.ckpt"}, "those of CNN/2026-01-01/checkpo"),
            ({"ckpt_path": "/home/me/net.ckpt"}, "net.ckpt"),
        ],
    )
    def test_says_which_weights_the_training_started_with(self, checkpoint, config, start):
        config = {"freeze": 2, "layer_decay": 1.0} | config
        Path("run", "checkpoints").mkdir(parents=True)
        Path("run", "config.yaml").write_text(yaml.safe_dump(config))
        taken = trained.load(str(checkpoint(MLP)))._replace(path=Path("run/checkpoints/best.ckpt"))
        file = card.File("net.npz", 1, "npz", "x", (), npz.probabilities, check.Checked(0.0, "images"))
        written = card.text(taken, file)
        assert ("- weights at the start: " in written) == (start is not None)
        assert start is None or in_markdown(start) in written.partition("weights at the start: ")[2]
        assert "freeze: 2" in written
        assert "layer_decay" not in written

    def test_its_code_takes_any_name_of_a_file(self, export, checkpoint, capfd):
        name = "a \"'`\\.npz"
        assert export("--ckpt", checkpoint(NumPyMLP), "--format", "npz", "--out", name)[0] == 0
        Image.fromarray(images(1)[0].transpose(1, 2, 0)).save("picture.png")
        exec("".join(code_of(Path(name))), {})
        assert capfd.readouterr().out.split()[0] in tiny_data().class_names

    def test_figures_of_another_checkpoint_are_not_shown(self, export, run_dir):
        assert export("--ckpt", run_dir / "checkpoints/last.ckpt", "--format", "safetensors", "--out", "m.st")[0] == 0
        card = card_of(Path("m.st"))
        assert "None were measured: those of its run are of another checkpoint, checkpoints/best.ckpt" in card
        assert "| accuracy" not in card

    def test_of_a_checkpoint_alone(self, export, checkpoint):
        path = checkpoint(CNN)
        assert export("--ckpt", path, "--format", "safetensors")[0] == 0
        card = card_of(path.parent / "export" / "CNN.safetensors")
        assert "lies in no run" in card
        assert "the run has no results" in card
        assert "- paper: http" in card

    @pytest.mark.usefixtures("_plugins")
    def test_of_another_package_has_a_license_of_its_own(self, export, checkpoint):
        export("--ckpt", checkpoint(OwnNumPyNet), "--format", "npz", "--out", "m.npz")
        assert "which has a license of its own" in card_of(Path("m.npz"))

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_its_code_classifies_a_picture(self, export, checkpoint, capfd, file_format):
        path = checkpoint(NumPyMLP)
        export("--ckpt", path, "--format", file_format, "--out", f"m.{file_format}")
        pixels = images(1)
        Image.fromarray(pixels[0].transpose(1, 2, 0)).save("picture.png")
        exec("".join(code_of(Path(f"m.{file_format}"))), {})
        row = expected(trained.load(str(path)).model, pixels)[0]
        name, share = capfd.readouterr().out.split()
        assert name == tiny_data().class_names[row.argmax()]
        assert float(share) == pytest.approx(row.max(), abs=1e-5)

    def test_its_code_sees_pictures_as_predict_does(self, export, checkpoint):
        """With an EXIF orientation, and transparency where the mode has it."""
        export("--ckpt", checkpoint(NumPyMLP), "--format", "npz", "--out", "m.npz")
        code = "".join(code_of(Path("m.npz")))
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6  # rotated
        for width, height in ((50, 70), (71, 40), (33, 32), (32, 32), (20, 31)):
            noise = np.random.default_rng(width).integers(0, 256, (height, width, 4), dtype=np.uint8)
            for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK"):
                name = f"{mode}_{width}.{'tiff' if mode == 'CMYK' else 'png'}"
                transparent = {"transparency": 3} if mode == "P" else {}
                Image.fromarray(noise).convert(mode).save(name, exif=exif, **transparent)
                seen: dict[str, Any] = {}
                exec(code.replace("picture.png", name), seen)
                assert np.array_equal(seen["pixels"], image_files.read(Path(name)).pixels), name

    def test_results_that_cannot_be_read(self, export, checkpoint):
        folder = Path("copy")
        folder.mkdir()
        (folder / "m.ckpt").write_bytes(checkpoint(NumPyMLP).read_bytes())
        for text in ("[", "5", '{"test/images": 3}'):
            (folder / "metrics.json").write_text(text)
            code, _, error = export("--ckpt", folder / "m.ckpt", "--format", "npz")
            assert (code, error.count("\n")) == (2, 1)
            assert "metrics.json" in error
            assert not (folder / "export").exists()


def wrong_npz(model: Classifier, about: dict[str, str], original=npz.content) -> bytes:
    model.shift += 0.5
    content = original(model, about)
    model.shift -= 0.5
    return content


def wrong_safetensors(model: Classifier, about: dict[str, str], original=safetensors.content) -> bytes:
    first = next(model.parameters())
    before = first.detach().clone()
    first.data += 0.1
    content = original(model, about)
    first.data.copy_(before)
    return content


WRONG = {
    "no softmax": ("onnx", program.Program, "forward", lambda self, images: self.network(images).float()),
    "no normalization": (
        "pt2",
        TorchTwin,
        "forward",
        lambda self, images: self.layers(images.float() / 255),
    ),
    "pixel order": (
        "onnx",
        TorchTwin,
        "forward",
        lambda self, images: self.layers((images * self.scale + self.shift).transpose(2, 3)),
    ),
    "softmax twice": (
        "pt2",
        program.Program,
        "forward",
        lambda self, images: self._to_probabilities(self.network(images)).softmax(1),
    ),
    "shape": ("onnx", program.Program, "forward", lambda self, images: self.network(images)[:, :1]),
    "dtype": ("pt2", program.Program, "forward", lambda self, images: self.network(images).double()),
    "normalization of arrays": ("npz", npz, "content", wrong_npz),
    "weights": ("safetensors", safetensors, "content", wrong_safetensors),
}


class TestCheck:
    @pytest.mark.parametrize("wrong", WRONG)
    def test_a_wrong_export_leaves_nothing_but_an_error(self, export, checkpoint, monkeypatch, wrong):
        file_format, *attribute = WRONG[wrong]
        monkeypatch.setattr(*attribute)
        path = checkpoint(NumPyMLP)
        code, lines, error = export("--ckpt", path, "--format", file_format, "--out", f"new/m.{file_format}")
        assert (code, lines) == (1, [])
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert "nothing was written" in error
        assert not list(Path().iterdir())

    def test_a_difference_in_one_image_of_the_largest_batch(self, checkpoint):
        model = trained.load(str(checkpoint(NumPyMLP))).model

        def nearly(path: str, pixels: np.ndarray) -> np.ndarray:
            found = expected(model, pixels)
            if len(pixels) == max(check.BATCH_SIZES):
                found[-1, 3] += 2 * check.TOLERANCE
            return found

        shown = check.Images(images(sum(check.BATCH_SIZES)), "random images")
        assert check.compare(Path("m"), lambda path, pixels: expected(model, pixels), model, shown).difference == 0
        with pytest.raises(RunError, match=r"by up to 0\.0002 on 100 images"):
            check.compare(Path("m"), nearly, model, shown)

    def test_nan_is_different(self, checkpoint):
        model = trained.load(str(checkpoint(NumPyMLP))).model
        shown = check.Images(images(sum(check.BATCH_SIZES)), "random images")
        with pytest.raises(RunError, match="other probabilities"):
            check.compare(Path("m"), lambda path, pixels: expected(model, pixels) * np.float32("nan"), model, shown)

    def test_a_file_for_one_batch_size(self, checkpoint):
        model = trained.load(str(checkpoint(NumPyMLP))).model
        shown = check.Images(images(sum(check.BATCH_SIZES)), "random images")

        def of_one(path: str, pixels: np.ndarray) -> np.ndarray:
            if len(pixels) != 1:
                raise ValueError("expected 1 image")
            return expected(model, pixels)

        with pytest.raises(RunError, match="cannot be run on 7 images, so nothing was written: expected 1 image"):
            check.compare(Path("m"), of_one, model, shown)

    def test_a_model_that_diverged(self, checkpoint):
        model = trained.load(str(checkpoint(MLP))).model
        next(model.parameters()).data[:] = float("nan")
        shown = check.Images(images(sum(check.BATCH_SIZES)), "random images")
        with pytest.raises(InputError, match="MLP gives no finite probabilities"):
            check.compare(Path("m"), lambda path, pixels: expected(model, pixels), model, shown)

    def images_for(self, source: str, **data: object) -> check.Images:
        data_set, config = SOURCES[source], {"data": {"task": "multiclass", "source": source, **data}}
        found = check.images_for(Trained(MLP(), Path(), config, data_set.class_names, 1, data_set.title))
        assert found.pixels.shape == (sum(check.BATCH_SIZES), 3, 32, 32)
        assert found.pixels.dtype == np.uint8
        return found

    def test_is_on_the_images_that_the_model_is_for(self, official_layout, monkeypatch):
        drawn = self.images_for(source="synthetic")
        assert drawn.description == "108 synthetic images"
        instead = self.images_for(source="cifar10")
        assert instead.description == "108 synthetic images, because this machine has no CIFAR-10"
        real = "108 test images of CIFAR-10 copy (not the official files)"
        named = self.images_for(source="cifar10", data_dir=str(official_layout))
        assert named.description == real
        assert (named.pixels == named.pixels[:, :1, :1, :1]).all(), "the made-up ones have one color each"
        monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
        assert self.images_for(source="cifar10").description == real

    @pytest.mark.real_data
    def test_on_real_images(self, real_data, monkeypatch):
        monkeypatch.setenv("CIFAR10_DIR", str(real_data))
        found = self.images_for(source="cifar10")
        assert found.description.startswith("108 test images of CIFAR-10")
        test = CIFAR10.read(real_data, "test", verify_checksums=False).images
        known = {image.tobytes() for image in test}
        assert all(image.tobytes() in known for image in found.pixels)


BAD = {
    "": ["export: ", "--format"],
    "--format onxx": ["--format onxx is unknown", "Did you mean 'onnx'?", "onnx, pt2, safetensors, npz"],
    "--formt onnx": ["--format"],
    "--format onnx --output x": ["unknown option '--output'"],
    "--format onnx": ["no run in 'runs' has a checkpoints/best.ckpt"],
    "--format onnx --ckpt nothing.ckpt": ["nothing.ckpt: there is no such file"],
    "--format onnx --runs_dir elsewhere --ckpt last": ["no run in 'elsewhere'"],
    "--format pt2 --out .": ["--out . is a folder"],
    f"--format pt2 --out {'x' * 300}": ["--out xxx"],
}


class TestBadInput:
    @pytest.mark.parametrize("command", BAD)
    def test_is_one_line(self, export, command):
        code, lines, error = export(*command.split())
        assert (code, lines) == (2, [])
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        for text in BAD[command]:
            assert text in error
        assert not list(Path().iterdir())

    @pytest.mark.parametrize(
        ("package", "file_format"),
        [("onnx", "onnx"), ("onnxscript", "onnx"), ("onnxruntime", "onnx"), ("safetensors", "safetensors")],
    )
    def test_a_missing_package(self, export, monkeypatch, package, file_format):
        monkeypatch.setitem(sys.modules, package, None)
        code, _, error = export("--format", file_format)
        assert code == 2
        assert f"needs {package}, which is not installed: pip install 'cifar10-zoo[export]'" in error

    def test_a_file_that_is_there(self, export, checkpoint):
        path = checkpoint(NumPyMLP)
        for name in ("m.npz", "m.npz.md"):
            Path(name).write_text("mine")
            code, _, error = export("--ckpt", path, "--format", "npz", "--out", "m.npz")
            assert code == 2
            assert f"{name} is there already: add --overwrite" in error
            assert [file.read_text() for file in Path().iterdir()] == ["mine"]
            Path(name).unlink()
        (path.parent / "export").mkdir(exist_ok=True)
        (path.parent / "export/NumPyMLP.npz").write_text("mine")
        assert export("--ckpt", path, "--format", "npz")[0] == 2
        assert export("--ckpt", path, "--format", "npz", "--overwrite")[0] == 0
        assert (path.parent / "export/NumPyMLP.npz").read_bytes()[:2] == b"PK"

    def test_a_place_that_cannot_be_written(self, export, checkpoint):
        Path("file").write_text("")
        code, _, error = export("--ckpt", checkpoint(NumPyMLP), "--format", "npz", "--out", "file/m.npz")
        assert (code, error.count("\n")) == (2, 1)
        assert "m.npz cannot be" in error

    def test_arrays_of_a_torch_model(self, export, checkpoint):
        code, _, error = export("--ckpt", checkpoint(CNN), "--format", "npz")
        assert code == 2
        assert "CNN is none: take onnx, pt2 or safetensors" in error

    @pytest.mark.usefixtures("_plugins")
    @pytest.mark.parametrize("file_format", ["onnx", "pt2"])
    def test_python_that_looks_at_the_pixels(self, export, checkpoint, file_format):
        code, lines, error = export("--ckpt", checkpoint(DataDependentNet), "--format", file_format)
        assert (code, lines) == (2, [])
        assert error.count("\n") == 1
        assert "DataDependentNet cannot be made a program of its own: " in error
        assert "data-dependent" in error
        assert "test_export.py, line " in error
        assert "if normalized.mean() > 0:" in error
        assert export("--ckpt", checkpoint(DataDependentNet), "--format", "safetensors", "--overwrite")[0] == 0

    def test_exporters_keep_quiet_and_their_errors_pass(self, capsys):
        logger = logging.getLogger("exporter")
        logger.addHandler(logging.StreamHandler(sys.stderr))  # which is the one of before

        def export() -> None:
            with program.quiet():
                print("progress")
                print("progress", file=sys.stderr)
                logger.error("trouble")
                warnings.warn("trouble", stacklevel=1)
                raise ValueError("cause")

        with pytest.raises(ValueError, match="cause"):
            export()
        logger.error("mine")
        assert tuple(capsys.readouterr()) == ("", "mine\n")

    @pytest.mark.usefixtures("_plugins")
    def test_an_activation_of_another_package(self, export, checkpoint):
        for file_format in ("onnx", "pt2", "npz"):
            code, _, error = export("--ckpt", checkpoint(SquareNet), "--format", file_format)
            assert (code, error.count("\n")) == (2, 1)
            assert "has the layer Square, which has no counterpart in zoo/core/torch_twin.py" in error
        assert export("--ckpt", checkpoint(SquareNet), "--format", "safetensors", "--overwrite")[0] == 0

    def test_help_needs_no_torch(self):
        code = "import cli, sys\ntry: cli.main(['export', '--help'])\nfinally: assert 'torch' not in sys.modules"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(cli.__file__).parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "--overwrite" in done.stdout
