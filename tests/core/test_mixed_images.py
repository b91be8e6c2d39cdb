"""Models learn from mixed images and soft labels: against plain loops over images, and each other."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datamodules.errors import InputError
from datamodules.loading import Batch
from datamodules.mixing import Partners
from tests.helpers import contents, quiet_trainer, random_images, refusal, tiny_data
from zoo.core.classifier import Classifier
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.cnn import CNN
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.speedrun_net import SpeedrunNet
from zoo.models.wrapped import Wrapped
from zoo.training import model_checks

N = 6
WEIGHTS = [0.0, 0.3, 0.5, 1.0, 0.75, 1.0]
BOXES = [(0, 0, 0, 0)] * 4 + [(0, 16, 16, 32), (4, 4, 4, 4)]  # four of mixup; of CutMix, a quarter and nothing


def mixed_batch(num_classes: int, channels: int = 3) -> Batch:
    pixels = random_images(2 * N)[:, :channels].contiguous(memory_format=torch.channels_last)
    labels = torch.arange(2 * N) * 5 % 7 % num_classes
    partners = Partners(pixels[N:], labels[N:], torch.tensor(WEIGHTS), torch.tensor(BOXES))
    return Batch(pixels[:N], labels[:N], torch.arange(N), partners)


def mixed_by_hand(batch: Batch, mean: list[float], std: list[float]) -> np.ndarray:
    """Return normalized and mixed images, float64 (n, channels, 32, 32), image by image."""

    def normalized(image: torch.Tensor) -> np.ndarray:
        return (image.numpy() / 255 - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))

    result = []
    for image, other, weight, box in zip(batch.images, batch.partners.images, WEIGHTS, BOXES, strict=True):
        own, other = normalized(image), normalized(other)
        if box == (0, 0, 0, 0):
            mixed = weight * own + (1 - weight) * other
        else:
            mixed = own.copy()
            top, left, bottom, right = box
            mixed[:, top:bottom, left:right] = other[:, top:bottom, left:right]
        result.append(mixed)
    return np.stack(result)


def loss_by_hand(model: Classifier, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean over images of weight * loss with the own label + (1 - weight) * loss with the partner's."""
    losses = []
    for row, own, other, weight in zip(logits, batch.labels, batch.partners.labels, WEIGHTS, strict=True):
        two = torch.stack([torch.zeros(()), row[0]]) if model.num_outputs == 1 else row
        losses.append(weight * F.cross_entropy(two, own) + (1 - weight) * F.cross_entropy(two, other))
    return torch.stack(losses).mean()


def accuracy_by_hand(model: Classifier, logits: torch.Tensor, batch: Batch) -> float:
    hits = 0.0
    for predicted, own, other, weight in zip(
        model.predict_classes(logits), batch.labels, batch.partners.labels, WEIGHTS, strict=True
    ):
        hits += weight * (predicted == own).item() + (1 - weight) * (predicted == other).item()
    return hits / N


class Plain(CNN):
    memory_format = torch.contiguous_format


MODELS = {
    "channels_last": lambda **options: CNN(**options),
    "contiguous": lambda **options: Plain(**options),
    "MLP": lambda **options: MLP(**options),
    "resized": lambda **options: Wrapped(net="tests.models.foreign_nets.make_net", resize=40, **options),
    "SpeedrunNet": lambda **options: SpeedrunNet(widths=[8, 8, 8], **options),
}


@pytest.mark.parametrize(("num_classes", "channels"), [(10, 3), (2, 3), (10, 1)])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_a_torch_model(name, num_classes, channels):
    torch.manual_seed(0)
    model, batch = MODELS[name](num_classes=num_classes, channels=channels), mixed_batch(num_classes, channels)
    mean, std = [0.4, 0.5, 0.6][:channels], [0.2, 0.25, 0.3][:channels]
    model.set_normalization(mean, std)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs: list[torch.Tensor] = []
    model.net.register_forward_pre_hook(lambda net, arguments: inputs.append(arguments[0].clone()))
    total = model.training_step(batch, 0)
    expected = torch.from_numpy(mixed_by_hand(batch, mean, std)).float()
    if name == "resized":
        expected = F.interpolate(expected, (40, 40), mode="bilinear")
    (found,) = inputs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    model(batch.images)
    assert found.stride() == inputs[1].stride(), "torch.compile compiles one program"
    logits = model.net(found).detach()
    loss = loss_by_hand(model, logits, batch)
    torch.testing.assert_close(total.detach(), loss * (N if name == "SpeedrunNet" else 1), rtol=1e-4, atol=1e-5)
    metrics = model.train_metrics()
    assert metrics["train/loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert metrics["train/acc"] == pytest.approx(accuracy_by_hand(model, logits, batch), abs=1e-6)


@pytest.mark.parametrize(("num_classes", "channels"), [(10, 3), (2, 3), (10, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_numpy_network_learns_what_its_torch_twin_learns(num_classes, channels, smoothing):
    torch.manual_seed(0)
    model, batch = NumPyMLP([5], num_classes=num_classes, channels=channels), mixed_batch(num_classes, channels)
    mean, std = [0.4, 0.5, 0.6][:channels], [0.2, 0.25, 0.3][:channels]
    model.set_normalization(mean, std)
    model.label_smoothing = smoothing
    inputs = model.mixed(batch).reshape(N, 32, 32, channels).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(inputs, mixed_by_hand(batch, mean, std), atol=1e-5)

    logits = model.network.forward(model.mixed(batch))
    labels = model.training_labels(batch)
    value, gradient = model.objective.value_and_gradient(logits, model.probabilities(labels))
    leaf = torch.tensor(logits, requires_grad=True)
    loss = model.train().loss(leaf, labels)
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-4, atol=1e-7)
    if not smoothing:
        assert value == pytest.approx(loss_by_hand(model, torch.tensor(logits), batch).item(), rel=1e-5)


@pytest.mark.parametrize("make", [lambda: NumPyMLP([8]), lambda: CNN()])
@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_every_image_of_an_epoch_is_counted_once(make, task):
    data = tiny_data(mixup=0.4, cutmix=1.0, crop_padding=2, task=task)
    model = make() if task == "multiclass" else type(make())(num_classes=2)
    trainer = quiet_trainer()
    trainer.fit(model, data)
    assert model.images_trained() == 64
    assert 0 < model.train_metrics()["train/acc"] < 1
    assert sum(map(sum, model.results["val"]["confusion"])) == 32
    assert model.metrics["val_metrics"].soft_hits == 0


# Models that cannot.


class OwnForward(TorchClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.dense = nn.Linear(3 * 32**2, self.num_outputs)

    def forward(self, images):
        return self.dense(self.normalize(images).flatten(1))


class OwnLogits(OwnForward):
    def logits(self, inputs):
        return self.dense(inputs.flatten(1))

    def training_step(self, batch, batch_idx):
        logits, labels = self.training_logits(batch), self.training_labels(batch)
        loss = self.loss(logits, labels)
        self.count("train", logits, labels, loss)
        return loss


class OwnStep(MLP):
    def training_step(self, batch, batch_idx):
        logits = self(batch.images)
        loss = self.loss(logits, batch.labels)
        self.count("train", logits, batch.labels, loss)
        return loss


def test_a_model_says_how_it_computes_with_normalized_images():
    mixing, plain = tiny_data(mixup=0.1), tiny_data()
    with pytest.raises(InputError, match=r"OwnForward has a forward of its own: .* a method logits\(self, inputs\)"):
        quiet_trainer().fit(OwnForward(), mixing)
    quiet_trainer().fit(OwnForward(), plain)
    quiet_trainer().fit(OwnLogits(), mixing)


def test_a_training_step_that_leaves_out_the_partners_is_refused():
    model_checks.check(OwnStep())
    model_checks.check(OwnLogits(), mixes_images=True)
    with pytest.raises(InputError, match=r"OwnStep's training_step leaves out what images are mixed with"):
        model_checks.check(OwnStep(), mixes_images=True)


def test_bad_input_is_one_line(capsys):
    before = contents(Path())
    command = ["fit", "--config=synthetic"]
    for option, expected in {
        "--data.mixup=-0.1": "--data.mixup=-0.1 is out of range: give a number from 0 to 1000",
        "--data.cutmix=1001": "--data.cutmix=1001.0 is out of range: give a number from 0 to 1000",
        "--data.mixup=x": "data.mixup",
        "--data.mixupp=1": "Did you mean",
        "--data.cutmix=null": "--data.cutmix=null: leave it out for its default, 0.0",
    }.items():
        assert expected in refusal(capsys, *command, "--model=MLP", option)
    name = f"--model={OwnForward.__module__}.OwnForward"
    assert "has a forward of its own" in refusal(capsys, *command, name, "--data.mixup=1")
    name = f"--model={OwnStep.__module__}.OwnStep"
    assert "leaves out what images are mixed with" in refusal(capsys, *command, name, "--data.mixup=1")
    assert contents(Path()) == before
