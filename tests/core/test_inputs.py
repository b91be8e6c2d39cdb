"""What a model accepts: images of one shape and dtype, and batches of ordinary data loaders."""

import warnings

import lightning as L
import numpy as np
import pytest
import torch
from torch.export import Dim
from torch.utils.data import DataLoader, TensorDataset

from datamodules.errors import InputError
from tests.helpers import MODELS
from zoo.catalogue import registry
from zoo.models.cnn import CNN
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8))
LABELS = torch.arange(6)
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)

NOT_IMAGES = {
    "channels last": (IMAGES.permute(0, 2, 3, 1), r"uint8 \(6, 32, 32, 3\); .*permute\(0, 3, 1, 2\)"),
    "64 x 64": (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"\(1, 3, 64, 64\); .*resize them to 32 x 32"),
    "96 x 96": (torch.zeros(2, 3, 96, 96, dtype=torch.uint8), r"\(2, 3, 96, 96\); .*resize them"),
    "0 to 1": (IMAGES / 255, r"float32 \(6, 3, 32, 32\); expected uint8 .*leave ToTensor and Normalize out"),
    "float16": (IMAGES.half(), "are float16 .*expected uint8"),
    "int64": (IMAGES.long(), r"are int64 .*images.to\(torch.uint8\)"),
    "gray": (IMAGES[:, :1], r"\(6, 1, 32, 32\); .*expand"),
    "four channels": (torch.zeros(2, 4, 32, 32, dtype=torch.uint8), r"\(2, 4, 32, 32\); .*red, green and blue"),
    "one image": (IMAGES[0], r"\(3, 32, 32\); .*images\[None\]"),
    "flat": (IMAGES.flatten(1), r"\(6, 3072\)"),
    "an array": (IMAGES.numpy(), r"a numpy.ndarray of shape \(6, 3, 32, 32\); .*as_tensor"),
    "a list": ([1, 2], "a list; expected uint8"),
}


@pytest.mark.parametrize("build", [CNN, MLP, NumPyMLP])
@pytest.mark.parametrize("case", NOT_IMAGES)
def test_other_images_are_refused_and_break_nothing(build, case):
    images, told = NOT_IMAGES[case]
    model = build().eval()
    expected = model(IMAGES[:1]).detach().clone()
    with pytest.raises(InputError, match=told) as caught:
        model(images)
    assert "\n" not in str(caught.value)
    assert torch.equal(model(IMAGES[:1]), expected)
    assert len(model(IMAGES)) == 6, "a larger batch than before"


def test_a_numpy_model_refuses_pixels_whose_gradient_would_be_lost():
    pixels = IMAGES.float().requires_grad_()
    with pytest.raises(InputError, match="are float32"):
        NumPyMLP()(pixels)
    (gradient,) = torch.autograd.grad(CNN()(pixels).sum(), pixels)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("way", ["trace", "onnx", "export", "strict export", "fx", "compile"])
def test_a_traced_model_takes_batches_of_any_size(way, tmp_path):
    model = CNN().eval()
    expected, two = model(IMAGES), IMAGES[:2]
    if way == "trace":
        with warnings.catch_warnings():
            warnings.filterwarnings("error", category=torch.jit.TracerWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            traced = model.to_torchscript(method="trace", example_inputs=two)
    elif way == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        path, names = tmp_path / "model.onnx", {"input_names": ["images"], "dynamic_axes": {"images": {0: "n"}}}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("error", category=torch.jit.TracerWarning)
            model.to_onnx(path, two, dynamo=False, **names)
        session = onnxruntime.InferenceSession(path)
        traced = lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])  # noqa: E731
    elif way == "fx":
        traced = torch.fx.symbolic_trace(model)
    elif way == "compile":
        traced = torch.compile(model, backend="eager", fullgraph=True)
    else:
        strict = way == "strict export"
        traced = torch.export.export(model, (two,), dynamic_shapes=({0: Dim("n")},), strict=strict).module()
    torch.testing.assert_close(traced(IMAGES), expected, atol=1e-4, rtol=1e-4)


class TestLoaders:
    """Batches of an ordinary `DataLoader`, with a plain `L.Trainer`."""

    DATASETS = (
        TensorDataset(IMAGES, LABELS),
        TensorDataset(IMAGES, LABELS.to(torch.uint8), LABELS),
        [(image, int(label)) for image, label in zip(IMAGES, LABELS, strict=True)],
    )

    @staticmethod
    def trainer(**options) -> L.Trainer:
        return L.Trainer(accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, **QUIET, **options)

    @staticmethod
    def build(name: str) -> L.LightningModule:
        torch.manual_seed(0)
        return registry.load(name)()

    @pytest.mark.parametrize("name", MODELS)
    def test_every_stage(self, name):
        found = []
        for dataset in self.DATASETS:
            model, trainer = self.build(name), self.trainer()
            loader = DataLoader(dataset, batch_size=2)
            trainer.fit(model, loader, loader)
            assert int(model.metrics["train_metrics"].confusion.sum()) == 6
            assert sum(map(sum, model.results["val"]["confusion"])) == 6
            trainer.test(model, loader, verbose=False)
            probabilities = torch.cat(trainer.predict(model, loader))
            assert probabilities.shape == (6, 10)
            right = (probabilities.argmax(1) == LABELS).double().mean().item()
            assert model.results["test"]["acc"] == pytest.approx(right)
            for images_alone in (TensorDataset(IMAGES), IMAGES):
                assert torch.equal(torch.cat(trainer.predict(model, DataLoader(images_alone, 2))), probabilities)
            found.append(probabilities)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])

    @pytest.mark.parametrize("name", ["MLP", "NumPyMLP"])
    @pytest.mark.parametrize(
        ("dataset", "told"),
        [
            (IMAGES, r"is uint8 \(2, 3, 32, 32\); expected \(images, labels\)"),
            (TensorDataset(IMAGES / 255, LABELS), r"the images are float32 .* leave ToTensor"),
            (
                TensorDataset(IMAGES, LABELS / 2),
                r"the labels of a batch of 2 images are float32 \(2,\); expected class",
            ),
            (TensorDataset(IMAGES, LABELS[:, None]), r"labels .* are int64 \(2, 1\)"),
            (TensorDataset(IMAGES, LABELS, LABELS, LABELS), r"is \(uint8 .*, \.\.\.\); expected \(images, labels\)"),
            ([{"img": image, "label": 1} for image in IMAGES], "a dict of 'img', 'label'; expected"),
            ([("a text", 1)] * 6, r"is \(a tuple, int64 \(2,\)\)"),
        ],
    )
    def test_what_is_not_a_batch_of_images(self, name, dataset, told):
        with pytest.raises(InputError, match=told) as caught:
            self.trainer().fit(self.build(name), DataLoader(dataset, 2))
        assert "\n" not in str(caught.value)
