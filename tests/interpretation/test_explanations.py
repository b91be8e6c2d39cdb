"""What `explain` computes, against captum, autograd, finite differences, loops by hand and scikit-learn; its pages."""

import copy
import errno
import os
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from tests.helpers import MODELS, heavy
from zoo.catalogue import registry
from zoo.core import files
from zoo.core.torch_classifier import TorchClassifier
from zoo.interpretation import (
    attribution,
    class_activation,
    images,
    layer_outputs,
    neighbours,
    page_writer,
    pages,
    pixels,
)
from zoo.models.cnn import CNN, ImprovedCNN
from zoo.models.mlp import MLP
from zoo.models.mlp_mixer import MLPMixer
from zoo.models.mobilenet_v2 import MobileNetV2
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.torchvision_model import TorchvisionModel
from zoo.models.vit import ViT
from zoo.plots import explanation, feature_maps, mosaic
from zoo.plots.explanation import AMOUNT, SIDE, SIGNED, Cell, Column, Row
from zoo.plots.mosaic import LETTER, LINE, Label
from zoo.trained import inference
from zoo.trained.trained_model import Trained

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8))
CLASSES = torch.tensor([1, 0, 1])


class Frozen(TorchClassifier):
    """Has activations that change the convolutions' outputs in place, and weights without gradients."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 5, stride=2), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 8, 1), nn.ReLU(inplace=True), nn.Flatten(),
            nn.Linear(8, self.num_outputs),
        )  # fmt: skip
        self.requires_grad_(False)


class BytesOnly(Frozen):
    """Accepts bytes only."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        return super().forward(images)


class UnitFloats(Frozen):
    """Expects floating-point pixels from 0 to 1."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * 255 if images.is_floating_point() else images)


class OwnWeights(TorchClassifier):
    """Has no layers."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.weights = nn.Parameter(torch.ones(3, self.num_outputs))

    def forward(self, images: Tensor) -> Tensor:
        return self.normalize(images).mean((2, 3)) @ self.weights


class Mirrored(TorchClassifier):
    """Passes an image and its mirror image through the same network; its layers have no biases."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 8, stride=8, bias=False), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, self.num_outputs, bias=False),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        floats = self.normalize(images)
        return (self.net(floats) + self.net(floats.flip(3))) / 2


def build(make, **arguments):
    torch.manual_seed(0)
    model = make(**arguments).eval()
    with torch.no_grad():  # batch norm that does something, and no heads or biases of zeros
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                for parameter in module.parameters():
                    if not parameter.any():
                        parameter.uniform_(-0.5, 0.5)
    return model


def zoo() -> list[type]:
    return [registry.load(name) for name in MODELS]


def score(model, images: Tensor, classes: Tensor) -> Tensor:
    """Return the logit of a class; class 0 of two has the opposite of the only logit."""
    logits = model(images)
    if logits.shape[1] == 1:
        return torch.where(classes == 1, logits[:, 0], -logits[:, 0])
    return logits[torch.arange(len(logits)), classes]


def numpy_score(model: NumPyMLP, activation: str, floats: Tensor, classes: Tensor) -> Tensor:
    """A NumPy network's `score` by PyTorch, in float64, of float pixels (n, c, h, w)."""
    bend = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[activation]
    scale, shift = model.scale, model.shift
    found = floats.permute(0, 2, 3, 1).flatten(1) * scale.double() + shift.double()
    for layer in model.network.layers[1:]:
        if layer.parameters:
            weight, bias = (torch.from_numpy(array).double() for array in layer.parameters.values())
            found = found @ weight + bias
        else:
            found = bend(found)
    return score(lambda logits: logits, found, classes)


def gradients(of, floats: Tensor) -> Tensor:
    floats = floats.clone().requires_grad_()
    return torch.autograd.grad(of(floats).sum(), floats)[0]


class TestClassActivation:
    @pytest.mark.parametrize("num_classes", [2, 10])
    @pytest.mark.parametrize("make", [*heavy(zoo()), Frozen])
    def test_agrees_with_captum_on_convolutions_of_the_zoo(self, make, num_classes):
        """Of a deep network, on the last one and four others.

        captum gets the model without in-place activations, which would change the outputs that it keeps.
        """
        model = build(make, num_classes=num_classes)
        convolutions = layer_outputs.convolutions(model)
        assert convolutions or make not in (CNN, ImprovedCNN)
        oracle = copy.deepcopy(model).requires_grad_(True)
        for module in oracle.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        for name in [*convolutions[: -1 : max(1, len(convolutions) // 4)], *convolutions[-1:]]:
            found = class_activation.maps(model, IMAGES, CLASSES, name)
            gradcam = LayerGradCam(lambda x: score(oracle, x.byte(), CLASSES), oracle.get_submodule(name))
            expected = gradcam.attribute(IMAGES.float(), relu_attributions=True)[:, 0].detach()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
        if convolutions and layer_outputs.last_convolution(model):
            assert found.max() > 0
            # The last one is the one that is taken.
            torch.testing.assert_close(class_activation.maps(model, IMAGES, CLASSES), found)

    def test_a_convolution_of_one_place_is_not_the_last(self):
        assert layer_outputs.last_convolution(build(Frozen)) == "net.2"
        assert layer_outputs.convolutions(build(Frozen)) == ["net.0", "net.2"]

    @pytest.mark.parametrize("make", [ViT, MLPMixer])
    def test_the_places_of_patches_that_were_mixed_are_none_of_the_image(self, make):
        model = build(make)
        (patches,) = layer_outputs.convolutions(model)
        assert layer_outputs.last_convolution(model) is None
        with pytest.raises(
            InputError, match="^" + make.__name__ + " mixes the patches of its convolution, and so has no"
        ):
            class_activation.maps(model, IMAGES, CLASSES)
        assert class_activation.maps(model, IMAGES, CLASSES, patches).shape == (3, 8, 8), "whoever asks for it gets it"

    def test_refusals(self):
        with pytest.raises(InputError, match="MLP has no convolution"):
            class_activation.maps(build(MLP), IMAGES, CLASSES)
        with pytest.raises(InputError, match=r"'net\.8' puts out \(10,\), no maps"):
            class_activation.maps(build(Frozen), IMAGES, CLASSES, "net.8")
        with pytest.raises(InputError, match=r"no layer 'net\.9'.*Did you mean 'net\..'\? It has: net\.0, net\.1, "):
            class_activation.maps(build(Frozen), IMAGES, CLASSES, "net.9")


TORCH = heavy([make for make in zoo() if issubclass(make, TorchClassifier)])
NUMPY = [([], "relu"), ([5], "tanh"), ([5, 4], "sigmoid"), ([6], "relu")]


class TestSaliency:
    @pytest.mark.parametrize("num_classes", [2, 10])
    @pytest.mark.parametrize("make", [*TORCH, Frozen])
    def test_agrees_with_autograd(self, make, num_classes):
        model = build(make, num_classes=num_classes)
        expected = gradients(lambda floats: score(model, floats, CLASSES), IMAGES.float()).abs().amax(1)
        found = attribution.saliency(model, IMAGES, CLASSES)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
        assert found.shape == (3, 32, 32)

    @pytest.mark.parametrize("num_classes", [2, 10])
    @pytest.mark.parametrize(("hidden_sizes", "activation"), NUMPY)
    def test_of_numpy_networks_agrees_with_autograd_and_with_finite_differences(
        self, hidden_sizes, activation, num_classes
    ):
        model = build(NumPyMLP, hidden_sizes=hidden_sizes, activation=activation, num_classes=num_classes)

        def of(floats: Tensor) -> Tensor:
            return numpy_score(model, activation, floats, CLASSES)

        floats = IMAGES.double()
        torch.testing.assert_close(of(floats).float(), score(model, IMAGES, CLASSES), rtol=1e-4, atol=1e-5)
        expected = gradients(of, floats)
        found = attribution.saliency(model, IMAGES, CLASSES)
        torch.testing.assert_close(found, expected.abs().amax(1).float(), rtol=1e-3, atol=1e-7)
        for place in [(0, 0, 0), (2, 5, 17)]:
            step = torch.zeros(3, 32, 32, dtype=torch.float64)
            step[place] = 1e-4
            difference = (of(floats + step) - of(floats - step)) / 2e-4
            torch.testing.assert_close(difference, expected[:, *place], rtol=1e-4, atol=1e-9)

    def test_a_numpy_network_that_was_asked_in_between(self):
        model = build(NumPyMLP)
        first, second = (IMAGES[[n]].float().requires_grad_() for n in (0, 1))
        expected = gradients(lambda floats: model.torch_module()(floats).sum(), first.detach())
        module = model.torch_module()
        answers = [module(floats).sum() for floats in (first, second)]
        torch.testing.assert_close(torch.autograd.grad(answers[0], first)[0], expected, rtol=0, atol=0)

    def test_leaves_gradients_and_modes_alone(self):
        model = build(ImprovedCNN).train()
        attribution.saliency(model, IMAGES, CLASSES)
        assert all(parameter.grad is None for parameter in model.parameters())
        assert model.training

    @pytest.mark.parametrize(("make", "problem"), [(BytesOnly, "cannot be differ"), (UnitFloats, "other logits")])
    def test_a_model_whose_pixels_cannot_be_asked_about_is_refused(self, make, problem):
        for explain in (attribution.saliency, attribution.integrated_gradients):
            with pytest.raises(InputError, match=f"{make.__name__} .*{problem}"):
                explain(build(make), IMAGES, CLASSES)

    @pytest.mark.parametrize("make", [*heavy(zoo()), Frozen])
    def test_the_zoo_can_be_asked(self, make):
        pixels.check(build(make), IMAGES)


# The kinks of MobileNetV2's 35 ReLU6 need more than the 64 steps, and so do those of torchvision's ShuffleNet.
ROUGH = (MobileNetV2, TorchvisionModel)
SMOOTH = [make for make in TORCH if getattr(make, "values", (make,))[0] not in ROUGH]


class TestIntegratedGradients:
    @pytest.mark.parametrize("num_classes", [2, 10])
    @pytest.mark.parametrize("make", [*SMOOTH, Frozen, NumPyMLP])
    def test_adds_up_to_the_difference_to_the_baseline(self, make, num_classes):
        model = build(make, num_classes=num_classes)
        found = attribution.integrated_gradients(model, IMAGES, CLASSES).sum((1, 2))
        gray = attribution.baseline(model).byte().expand_as(IMAGES)
        expected = (score(model, IMAGES, CLASSES) - score(model, gray, CLASSES)).detach()
        # An integral over the kinks of ReLU, by 64 steps.
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))

    @pytest.mark.parametrize("num_classes", [2, 10])
    @pytest.mark.parametrize(("hidden_sizes", "activation"), [case for case in NUMPY if case[1] != "relu"])
    def test_of_smooth_numpy_networks_agrees_with_the_trapezoidal_rule(self, hidden_sizes, activation, num_classes):
        model = build(NumPyMLP, hidden_sizes=hidden_sizes, activation=activation, num_classes=num_classes)
        gray = attribution.baseline(model).double().expand(IMAGES.shape)
        steps = torch.linspace(0, 1, 2001, dtype=torch.float64)
        of_first = torch.stack([gray[0] + t * (IMAGES[0].double() - gray[0]) for t in steps])
        along = gradients(
            lambda floats: numpy_score(model, activation, floats, CLASSES[:1].expand(len(floats))), of_first
        )
        expected = ((IMAGES[0] - gray[0]) * torch.trapezoid(along, steps, dim=0)).sum(0).float()
        found = attribution.integrated_gradients(model, IMAGES[:1], CLASSES[:1])[0]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))

    def test_of_a_linear_network_is_the_gradient_times_the_difference(self):
        model = build(NumPyMLP, hidden_sizes=[], num_classes=2)
        weights = torch.from_numpy(model.network.layers[1].parameters["weight"][:, 0]) * model.scale
        change = IMAGES.float() - attribution.baseline(model)
        expected = (change * weights.reshape(32, 32, 3).permute(2, 0, 1)).sum(1) * (2 * CLASSES - 1)[:, None, None]
        found = attribution.integrated_gradients(model, IMAGES, CLASSES)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


class TestOcclusion:
    @pytest.mark.parametrize("num_classes", [2, 10])
    @pytest.mark.parametrize("make", [CNN, BytesOnly, NumPyMLP])
    def test_agrees_with_a_loop(self, make, num_classes):
        model = build(make, num_classes=num_classes)
        color = torch.tensor([125, 123, 114], dtype=torch.uint8)[:, None, None]
        total, times = torch.zeros(3, 32, 32), torch.zeros(32, 32)
        with torch.no_grad():
            for top in range(0, 32 - 7, 4):
                for left in range(0, 32 - 7, 4):
                    covered, square = IMAGES.clone(), (..., slice(top, top + 8), slice(left, left + 8))
                    covered[square] = color
                    lost = score(model, IMAGES, CLASSES) - score(model, covered, CLASSES)
                    total[square] += lost[:, None, None]
                    times[square] += 1
        found = attribution.occlusion(model, IMAGES, CLASSES)
        torch.testing.assert_close(found, total / times, rtol=1e-4, atol=1e-5)

    def test_squares_have_a_quarter_of_the_side(self):
        """Of gray images of 28 x 28 pixels: 7 pixels, one square every 3."""
        model, images = build(NumPyMLP, num_classes=3, channels=1, image_size=28), IMAGES[:, :1, :28, :28].contiguous()
        gray = attribution.baseline(model)[0, :, :1, :1].to(torch.uint8)
        total, times = torch.zeros(3, 28, 28), torch.zeros(28, 28)
        with torch.no_grad():
            for top in range(0, 28 - 6, 3):
                for left in range(0, 28 - 6, 3):
                    covered, square = images.clone(), (..., slice(top, top + 7), slice(left, left + 7))
                    covered[square] = gray
                    lost = score(model, images, CLASSES) - score(model, covered, CLASSES)
                    total[square] += lost[:, None, None]
                    times[square] += 1
        torch.testing.assert_close(attribution.occlusion(model, images, CLASSES), total / times, rtol=1e-4, atol=1e-5)


class TestLayers:
    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch):
        monkeypatch.setattr(inference, "BATCH_SIZE", 2)

    def test_a_model_without_layers(self):
        model = build(OwnWeights)
        for method in ("features", "neighbours"):
            assert "OwnWeights has no layer with weights" in str(pages.misfit(model, method, None))
        assert pages.misfit(model, "saliency", None) is None
        assert "does not see the pixels of an image" in str(pages.misfit(model, "filters", None))

    def test_layers_with_weights(self):
        assert layer_outputs.with_weights(build(Frozen)) == ["net.0", "net.2", "net.5", "net.8"]
        assert layer_outputs.with_weights(build(NumPyMLP, hidden_sizes=[4])) == ["layers.1", "layers.3"]

    def test_a_layer_with_a_parametrization_is_a_layer(self):
        model = build(Mirrored)
        expected = layer_outputs.outputs(model, IMAGES, ["net.0"])["net.0"]
        nn.utils.parametrizations.weight_norm(model.net[0])
        assert layer_outputs.names(model) == ["net.0", "net.1", "net.2", "net.3"]
        assert layer_outputs.last_convolution(model) == "net.0"
        torch.testing.assert_close(layer_outputs.outputs(model, IMAGES, ["net.0"])["net.0"], expected)

    def test_a_layer_that_an_image_passes_through_twice(self):
        """Its first output and its first input count."""
        model = build(Mirrored)
        floats = model.normalize(IMAGES)
        found = layer_outputs.outputs(model, IMAGES, ["net.0"])["net.0"]
        torch.testing.assert_close(found, model.net[0](floats), rtol=1e-4, atol=1e-5)
        expected = model.net[:3](floats)
        torch.testing.assert_close(layer_outputs.features(model, IMAGES), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("make", [MLP, NumPyMLP])
    def test_the_first_weights_of_a_dense_layer_are_pictures(self, make):
        """Without hidden layers, a logit is the sum of its picture times the pixels, plus a bias."""
        model = build(make, hidden_sizes=[])
        change = model.normalize(IMAGES[:1]) - model.normalize(IMAGES[1:2])
        expected = (model(IMAGES[:1]) - model(IMAGES[1:2]))[0]
        found = (layer_outputs.first_weights(model) * change).sum((1, 2, 3))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)

    def test_whom_the_first_units_are_for(self):
        names = ("first", "second")
        for make in (Mirrored, MLP, CNN):
            assert layer_outputs.names_of_first_units(build(make, num_classes=2), names) == ()
        assert layer_outputs.names_of_first_units(build(MLP, hidden_sizes=[], num_classes=2), names) == ("second",)

    @pytest.mark.parametrize("make", zoo())
    def test_what_fits(self, make):
        model = build(make)
        unfit = {method for method in ("cam", "saliency", "filters", "features") if pages.misfit(model, method, None)}
        assert unfit == ({"cam"} if make in (MLP, NumPyMLP, MLPMixer, ViT) else set())


class TestNeighbours:
    TRAINING = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8))
    CACHE = Path("features.npz")

    @pytest.fixture
    def looked_at(self, monkeypatch) -> list[int]:
        """The numbers of images whose features were computed."""
        counts, features = [], layer_outputs.features

        def count(model, images):
            counts.append(len(images))
            return features(model, images)

        monkeypatch.setattr(layer_outputs, "features", count)
        return counts

    @pytest.mark.parametrize("make", zoo())
    def test_agrees_with_scikit_learn(self, make, monkeypatch):
        monkeypatch.setattr(neighbours, "AT_ONCE", 64)
        model = build(make)
        directions = neighbours.directions(model, self.TRAINING, self.CACHE)
        found = neighbours.nearest(model, IMAGES, directions, 5)
        training, asked = (layer_outputs.features(model, which).double().numpy() for which in (self.TRAINING, IMAGES))
        expected = NearestNeighbors(n_neighbors=5, metric="cosine").fit(training)
        distances, _ = expected.kneighbors(asked)
        # Half-precision features: where two are about as near, either is right.
        np.testing.assert_allclose(1 - found.similarities, distances, atol=1e-3)
        of_found = np.take_along_axis(training @ asked.T, found.positions.T, axis=0).T
        lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(training, axis=1)[found.positions]
        np.testing.assert_allclose(of_found / lengths, found.similarities, atol=1e-3)

    def test_an_image_is_nearest_to_itself(self):
        model = build(CNN)
        directions = neighbours.directions(model, self.TRAINING, self.CACHE)
        positions, similarities = neighbours.nearest(model, self.TRAINING[[7, 42]], directions, 3)
        assert positions[:, 0].tolist() == [7, 42]
        np.testing.assert_allclose(similarities[:, 0], 1, atol=1e-3)

    def test_fewer_than_asked_for(self):
        directions = neighbours.directions(build(CNN), self.TRAINING[:2], self.CACHE)
        assert neighbours.nearest(build(CNN), IMAGES, directions, 5).positions.shape == (3, 2)

    def test_is_computed_once(self, looked_at):
        model = build(CNN)
        first = neighbours.directions(model, self.TRAINING, self.CACHE)
        looked_at.clear()
        again = neighbours.directions(model, self.TRAINING, self.CACHE)
        assert max(looked_at) == neighbours.PROBES, "a few, for the key"
        np.testing.assert_array_equal(first, again)

    @pytest.mark.parametrize("change", ["weights", "data", "order", "code"])
    def test_is_computed_anew_after_a_change(self, looked_at, change, monkeypatch):
        model, training = build(CNN), self.TRAINING
        neighbours.directions(model, training, self.CACHE)
        looked_at.clear()
        if change == "weights":
            with torch.no_grad():
                model.net[7].weight[0, 0] += 1
        elif change == "data":
            training = training.clone()
            training[-1, 0, 0, 0] ^= 1
        elif change == "order":
            training = training.flip(0)
        else:
            monkeypatch.setattr(model.net[8], "forward", torch.sigmoid)
        found = neighbours.directions(model, training, self.CACHE)
        assert max(looked_at) == len(training)
        np.testing.assert_array_equal(found, neighbours.directions(model, training, Path("other")))
        looked_at.clear()
        neighbours.directions(model, training, self.CACHE)
        assert max(looked_at) == neighbours.PROBES, "the old ones are replaced"

    def test_a_weight_that_the_first_images_do_not_depend_on(self, looked_at):
        """They are black, and black is 0."""
        training = torch.cat([torch.zeros_like(self.TRAINING[: neighbours.PROBES]), self.TRAINING])
        model = build(NumPyMLP, hidden_sizes=[8], pixels="unit")
        neighbours.directions(model, training, self.CACHE)
        model.network.layers[1].parameters["weight"][:] *= -1
        looked_at.clear()
        neighbours.directions(model, training, self.CACHE)
        assert max(looked_at) == len(training)

    @pytest.mark.parametrize("damage", ["cut off", "no archive", "empty", "pickled", "short"])
    def test_a_damaged_file_is_written_anew(self, looked_at, damage):
        model = build(CNN)
        expected = neighbours.directions(model, self.TRAINING, self.CACHE)
        whole = self.CACHE.read_bytes()
        key = np.load(self.CACHE)["key"]
        if damage == "pickled":
            np.savez(self.CACHE, key=key, directions=np.array([{}], dtype=object))
        elif damage == "short":
            np.savez(self.CACHE, key=key, directions=expected[:-1])
        else:
            self.CACHE.write_bytes({"cut off": whole[: len(whole) // 2], "no archive": b"x" * 99, "empty": b""}[damage])
        np.testing.assert_array_equal(neighbours.directions(model, self.TRAINING, self.CACHE), expected)
        looked_at.clear()
        neighbours.directions(model, self.TRAINING, self.CACHE)
        assert max(looked_at) == neighbours.PROBES

    def test_a_file_that_unpacks_to_more_than_the_images_is_written_anew(self):
        model = build(CNN)
        expected = neighbours.directions(model, self.TRAINING, self.CACHE)
        key = np.load(self.CACHE)["key"]
        np.savez_compressed(self.CACHE, key=key, directions=expected, padding=np.zeros(5_000_000, np.uint8))
        np.testing.assert_array_equal(neighbours.directions(model, self.TRAINING, self.CACHE), expected)
        assert np.load(self.CACHE).files == ["key", "directions"]

    def test_a_full_disk_costs_the_file_alone(self, monkeypatch):
        def full(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        model = build(CNN)
        neighbours.directions(model, self.TRAINING, self.CACHE)
        before = self.CACHE.read_bytes()
        monkeypatch.setattr(os, "fsync", full)
        other = neighbours.directions(model, self.TRAINING[:50], self.CACHE)
        assert len(other) == 50
        assert [path.name for path in Path().iterdir()] == ["features.npz"]
        assert self.CACHE.read_bytes() == before

    def test_what_is_larger_than_the_images_is_not_kept(self):
        neighbours.directions(build(NumPyMLP, hidden_sizes=[]), self.TRAINING, self.CACHE)
        assert not self.CACHE.exists()


class TestImages:
    @pytest.fixture
    def data(self) -> CIFAR10DataModule:
        data = CIFAR10DataModule(source="synthetic", train_size=60, val_size=40, test_size=20)
        data.setup()
        return data

    def test_the_classes_take_turns(self, data):
        chosen = images.choose(data, "val", 10)
        assert sorted(chosen.labels.tolist()) == list(range(10))
        assert images.choose(data, "val", 25).labels.bincount().tolist() == [3] * 5 + [2] * 5
        assert len(images.choose(data, "test", 50).names) == 20, "all that there are"

    def test_images_by_number(self, data):
        numbers = data.test.indices.tolist()
        chosen = images.choose(data, "test", 10, [numbers[5], numbers[2]])
        assert chosen.names == [f"test {numbers[5]}", f"test {numbers[2]}"]
        expected = data.test[5].images[0], data.test[2].images[0]
        for image, of_it in zip(chosen.images, expected, strict=True):
            torch.testing.assert_close(image, of_it, rtol=0, atol=0)
        assert chosen.labels.tolist() == data.test.labels[[5, 2]].tolist()

    def test_a_number_that_is_not_there(self, data):
        number = next(n for n in range(100) if n not in data.val.indices)
        with pytest.raises(InputError, match=rf"--indices {number}: .* numbers of training images"):
            images.choose(data, "val", 10, [number])

    def test_no_validation_images(self):
        data = CIFAR10DataModule(source="synthetic", train_size=20, val_size=0)
        data.setup("fit")
        with pytest.raises(InputError, match=r"val_size 0.*--test_set"):
            images.choose(data, "val", 10)


PAGES = {"one": np.zeros((4, 5, 3), np.uint8), "two": np.full((6, 7, 3), 9, np.uint8)}


class TestWriter:
    def test_numbered_folders(self):
        for number in (1, 2):
            assert page_writer.write_numbered(PAGES, Path("run/explain")) == Path(f"run/explain/{number}")
        Path("run/explain/17").mkdir()
        Path("run/explain/features_best.npz").touch()
        assert page_writer.write_numbered(PAGES, Path("run/explain")).name == "18"
        assert sorted(path.name for path in Path("run/explain/18").iterdir()) == ["one.png", "two.png"]
        assert [path.name for path in Path().iterdir()] == ["run"]

    def test_a_number_that_another_process_takes_meanwhile(self, monkeypatch):
        rename = Path.rename

        def later(path, target):
            if not target.exists() and target.name == "1":
                target.mkdir()
                (target / "theirs").touch()
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", later)
        assert page_writer.write_numbered(PAGES, Path("explain")).name == "2"
        assert [path.name for path in Path("explain/1").iterdir()] == ["theirs"]

    def test_a_full_disk_leaves_nothing(self, monkeypatch):
        write = files.write

        def full(path, content):
            if path.name == "two.png":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(path, content)

        monkeypatch.setattr(files, "write", full)
        for attempt in (page_writer.write, page_writer.write_numbered):
            with pytest.raises(OSError, match="No space left"):
                attempt(PAGES, Path("run/explain/1"))
            assert not list(Path().iterdir())

    def test_where_no_folder_can_be(self, monkeypatch):
        Path("file").touch()
        Path("full").mkdir()
        Path("full/theirs").touch()
        Path("empty").mkdir()
        for folder, problem in {
            "file": "file' is not a folder",
            "file/a/b": "file' is not a folder",
            "full": "not empty",
            "x" * 300: "cannot be looked at",
        }.items():
            with pytest.raises(InputError, match=problem):
                page_writer.check_free(Path(folder))
        page_writer.check_free(Path("empty"))
        page_writer.check_free(Path("a/b/c"))
        page_writer.write(PAGES, Path("empty"))
        assert len(list(Path("empty").iterdir())) == 2
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # as root, all may be written to
        with pytest.raises(InputError, match="not yours"):
            page_writer.check_free(Path("a"))


def luminance(scale: str) -> np.ndarray:
    """How bright a black-and-white printer makes each of 256 colors."""
    return matplotlib.colormaps[scale](np.arange(256))[:, :3] @ (0.2126, 0.7152, 0.0722)


@pytest.fixture
def written(monkeypatch) -> list[Label]:
    """All labels that are written."""
    labels = []

    def write(canvas, of_canvas):
        labels.extend(of_canvas)
        return mosaic.write(canvas, of_canvas)

    for module in (explanation, feature_maps):
        monkeypatch.setattr(module, "write", write)
    return labels


def assert_apart(labels: list[Label], width: int) -> None:
    """No two labels overlap, and all are within the picture."""
    boxes = []
    for label in labels:
        length = LETTER * len(label.text)
        left = label.x - length // 2 if label.centered else label.x
        assert left >= 0
        assert left + length <= width
        boxes.append((left, left + length, label.y, label.text))
    for (a0, a1, ay, a), (b0, b1, by, b) in combinations(boxes, 2):
        assert a1 <= b0 or b1 <= a0 or abs(ay - by) >= LINE or not a or not b, f"'{a}' and '{b}'"


class TestFigures:
    ROWS = tuple(
        Row(
            np.full((3, 32, 32), 40 * number, np.uint8),
            [
                f"{name} with a name that is longer than there is room for",
                "truth     automobile",
                "predicted not airplane",
            ],
            [explanation.amount(np.full((32, 32), 0.5)), Cell(np.zeros((SIDE, SIDE, 3), np.uint8), "c" * 40)],
        )
        for number, name in enumerate(["one", "two"])
    )
    COLUMNS = (
        Column("a column of a long name", "net.3.conv.body.0.of.a.block", SIGNED),
        Column("another one of a long name", "", AMOUNT),
    )

    @pytest.mark.parametrize("scale", [AMOUNT, SIGNED])
    def test_a_scale_is_told_without_its_colors(self, scale):
        assert (np.diff(luminance(scale)) > 0).mean() > 0.98
        assert np.ptp(luminance(scale)) > 0.6

    def test_labels_do_not_overlap_and_pictures_are_where_they_belong(self, written):
        picture = explanation.draw(self.ROWS, self.COLUMNS, "title " * 40, "explanation " * 40)
        assert_apart(written, picture.shape[1])
        tops = [label.y for label in written if label.bold and label.text.startswith(("one", "two"))]
        left = picture.shape[1] - 2 * (SIDE + mosaic.SPACE)
        of_rows = [label for label in written if label.y >= tops[0] and not label.centered]
        assert len(of_rows) == 6
        assert all(label.x + LETTER * len(label.text) <= left for label in of_rows), "beside the pictures"
        for row, y in zip(self.ROWS, tops, strict=True):
            image = picture[y : y + SIDE, mosaic.SPACE : mosaic.SPACE + SIDE]
            np.testing.assert_array_equal(image, row.image.repeat(4, 1).repeat(4, 2).transpose(1, 2, 0))
            second = picture[y : y + SIDE, -SIDE - mosaic.SPACE : -mosaic.SPACE]
            np.testing.assert_array_equal(second, row.cells[1].pixels)

    def test_maps_are_enlarged_without_blur_and_say_their_scale(self):
        values = np.linspace(-1, 1, 32 * 32).reshape(32, 32)
        values[0, 0] = -50
        for cell in (explanation.signed(values), explanation.amount(np.abs(values))):
            blocks = cell.pixels.reshape(32, 4, 32, 4, 3)
            assert (blocks == blocks[:, :1, :, :1]).all()
        end = np.quantile(np.abs(values), 0.99)
        assert explanation.signed(values).caption == f"±{end:.2g}"
        assert explanation.amount(np.abs(values)).caption == f"0 to {end:.2g}"
        for draw in (explanation.signed, explanation.amount):
            assert draw(np.zeros((32, 32))).caption == "0 everywhere"

    def test_signs_have_the_ends_of_the_scale_and_0_its_middle(self):
        values = np.zeros((32, 32))
        values[:8], values[-8:] = 1, -1
        picture = explanation.signed(values).pixels
        scale = matplotlib.colormaps[SIGNED]([0.0, 0.5, 1.0], bytes=True)[:, :3]
        for place, color in zip((-1, SIDE // 2, 0), scale, strict=True):
            np.testing.assert_array_equal(picture[place, 0], color)

    @pytest.mark.parametrize("n", [1, 2, 10, 64, 500])
    def test_units(self, n, written):
        values = np.random.default_rng(0).normal(size=(2, n))
        names = ["not airplane"] if n == 1 else [f"class{number:05}" for number in range(n)] if n <= 10 else ()
        asked = IMAGES[:2].numpy()
        picture = feature_maps.draw_units(asked, values, ["val 1", "val 22222"], "title " * 9, "explanation", names)
        assert_apart(written, picture.shape[1])
        assert [label.text for label in written if label.text in names] == list(names)
        assert picture.shape[1] >= feature_maps.LEAST, "a single unit has a heading, too"
        beside = [label for label in written if label.text.startswith("val ")]
        assert [label.text for label in beside] == ["val 1", "val 22222"]
        for label, image in zip(beside, asked, strict=True):
            shown = picture[label.y - 64 : label.y, label.x : label.x + 64]
            np.testing.assert_array_equal(shown, image.repeat(2, 1).repeat(2, 2).transpose(1, 2, 0))
        best, worst = (
            np.unravel_index(of, values[:, :160].shape) for of in (values[:, :160].argmax(), values[:, :160].argmin())
        )
        tops = [label.y - 64 for label in written if label.text.startswith("val ")]
        ends = matplotlib.colormaps["viridis"]([0.0, 1.0], bytes=True)[:, :3]
        for (row, _), color in zip((worst, best), ends, strict=True):
            assert (picture[tops[row]] == color).all(-1).any()


class TestPages:
    @pytest.fixture(params=[(NumPyMLP, {"hidden_sizes": []}, 2), (MLP, {}, 10), (CNN, {}, 10), (Frozen, {}, 2)])
    def trained(self, request) -> Trained:
        make, arguments, num_classes = request.param
        names = [f"class {number}" for number in range(num_classes)]
        config = {"data": {"source": "synthetic"}}
        model = build(make, num_classes=num_classes, **arguments)
        return Trained(model, Path("best.ckpt"), config, tuple(names), 1, "synthetic")

    def ask(self, trained: Trained, explained: int | None = None) -> images.Classified:
        return images.classify(trained, images.Chosen(["a", "b", "c"], IMAGES, CLASSES), explained)

    def test_the_likeliest_class_is_explained(self, trained):
        asked = self.ask(trained)
        np.testing.assert_array_equal(asked.classes, inference.probabilities(trained.model, IMAGES).argmax(1))
        assert self.ask(trained, 1).classes.tolist() == [1, 1, 1]

    def test_all_pages_can_be_drawn_and_say_what_they_show(self, trained, written):
        asked, has_convolution = self.ask(trained, 1), isinstance(trained.model, (CNN, Frozen))
        methods = ["cam"] * has_convolution + ["saliency", "integrated_gradients", "occlusion"]
        page = pages.attributions(trained, asked, methods, None)
        assert_apart(written, page.shape[1])
        texts = [label.text for label in written]
        assert f"truth     {trained.class_names[0]}" in texts
        assert ("class activation" in texts) == has_convolution
        named = sum(text == f"explained: {trained.class_names[1]}" for text in texts)
        assert named == (asked.probabilities.argmax(1) != 1).sum()
        for draw in (pages.first_filters(trained), pages.features(trained, asked, None)):
            assert draw.dtype == np.uint8
            assert draw.min() < 200

    def test_an_answer_that_is_no_number(self, trained):
        with torch.no_grad():
            next(trained.model.parameters()).fill_(float("nan"))
        with pytest.raises(InputError, match="not finite numbers: its training diverged"):
            self.ask(trained)
