"""Soft and smoothed labels in loss and metrics, against PyTorch's cross-entropy and plain loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datamodules.loading import Batch
from tests.helpers import contents, quiet_trainer, random_images, refusal, rows, run_of, tiny_data
from zoo.core.metrics import ClassificationMetrics
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.speedrun_net import SpeedrunNet


def soft_labels(n: int, num_classes: int) -> torch.Tensor:
    return torch.rand(n, num_classes, generator=torch.Generator().manual_seed(1)).softmax(1)


def two_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits of class 0 and 1 that stand for a single one."""
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("num_classes", [10, 2])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("make", [MLP, SpeedrunNet, NumPyMLP])
def test_the_loss_is_pytorchs(make, num_classes, soft, smoothing):
    model = make(num_classes=num_classes)
    model.label_smoothing = smoothing
    labels = soft_labels(6, num_classes) if soft else torch.arange(6) % num_classes
    logits = torch.randn(6, model.num_outputs)
    expected, plain = (F.cross_entropy(two_logits(logits), labels, label_smoothing=share) for share in (smoothing, 0.0))
    torch.testing.assert_close(model.loss(logits, labels), expected)
    torch.testing.assert_close(model.loss(logits.double(), labels), expected.double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.eval().loss(logits, labels), plain)


@pytest.mark.parametrize(
    ("num_classes", "objective"),
    [(10, "cross_entropy"), (2, "cross_entropy"), (2, "notebook_cross_entropy")],
)
@pytest.mark.parametrize("soft", [False, True])
def test_a_numpy_network_learns_from_smoothed_labels(num_classes, objective, soft):
    """The value and the gradient are those of PyTorch; the notebooks' gradient has another factor."""
    model = NumPyMLP([], loss=objective, num_classes=num_classes)
    model.label_smoothing = 0.3
    labels = soft_labels(6, num_classes) if soft else torch.arange(6) % num_classes
    logits = torch.randn(6, model.num_outputs, requires_grad=True)
    expected = F.cross_entropy(two_logits(logits), labels, label_smoothing=0.3)
    expected.backward()
    if objective == "notebook_cross_entropy":
        logits.grad *= (logits.sigmoid() * (1 - logits.sigmoid())).detach()
    value, gradient = model.objective.value_and_gradient(logits.detach().numpy(), model.probabilities(labels))
    assert value == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, logits.grad, rtol=1e-4, atol=1e-7)
    assert gradient.dtype == np.float32


def test_plain_labels_reach_numpy_as_they_are():
    labels = torch.arange(6)
    assert NumPyMLP([]).probabilities(labels).dtype == np.int64


@pytest.mark.parametrize("num_classes", [10, 2])
def test_the_accuracy_of_a_soft_label_is_the_weight_of_the_predicted_class(num_classes):
    labels, predictions = soft_labels(50, num_classes), torch.arange(50) % num_classes
    metric, at_once = ClassificationMetrics(num_classes), ClassificationMetrics(num_classes)
    for part, classes in zip(labels.split(7), predictions.split(7), strict=True):
        metric.update(classes, part, torch.zeros(1))
    at_once.update(predictions, labels, torch.zeros(1))
    hits = sum(labels[image, predicted].item() for image, predicted in enumerate(predictions.tolist()))
    assert metric.compute()["acc"] == pytest.approx(hits / 50, abs=1e-6)
    assert metric.compute() == at_once.compute(), "to the bit, in any order"
    assert metric.confusion.sum() == 50
    assert metric.soft_hits.dtype == torch.int64
    plain, certain = ClassificationMetrics(num_classes), ClassificationMetrics(num_classes)
    plain.update(predictions, labels.argmax(1), torch.zeros(1))
    certain.update(predictions, F.one_hot(labels.argmax(1), num_classes).float(), torch.zeros(1))
    assert certain.compute() == plain.compute()


FIT = ["fit", "--config=synthetic", "--data.train_size=40", "--data.val_size=10", "--data.test_size=10",
       "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.enable_model_summary=false"]  # fmt: skip


@pytest.mark.parametrize("model", [["MLP", "--optimizer=SGD"], ["NumPyMLP", "--optimizer=NumPySGD"]])
def test_the_option_acts_in_training_alone(model):
    """At a learning rate of 0, only the labels of the training can make a difference."""
    words = [*FIT, "--model", *model, "--optimizer.lr=0", "--model.hidden_sizes=[]"]
    (plain,), run = rows(run_of(*words)), run_of(*words, "--label_smoothing=0.9")
    (smoothed,) = rows(run)
    assert smoothed["val/loss"] == plain["val/loss"]
    assert smoothed["train/acc"] == plain["train/acc"]
    assert smoothed["train/loss"] != plain["train/loss"]
    assert "label_smoothing: 0.9\n" in (run / "config.yaml").read_text()


def test_a_step_counts_the_smoothed_loss_and_a_validation_the_plain_one():
    model, images, labels = MLP([]), random_images(20), torch.arange(20) % 10
    model.label_smoothing = 0.5
    logits = model(images).detach()
    model.training_step(Batch(images, labels, labels), 0)
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.5)
    assert model.train_metrics()["train/loss"] == pytest.approx(smoothed.item(), rel=1e-6)
    data = tiny_data()
    quiet_trainer().validate(model, data, verbose=False)
    batch = next(iter(data.val_dataloader()))
    assert model.results["val"]["loss"] == pytest.approx(F.cross_entropy(model(batch.images), batch.labels).item())


@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "x"])
def test_a_share_out_of_range_is_one_line(value, capsys):
    before = contents(Path())
    line = refusal(capsys, *FIT, "--model=MLP", f"--label_smoothing={value}")
    assert "label_smoothing" in line
    if value in ("1", "-0.1"):
        expected = f"--label_smoothing={float(value)} is out of range: give a number of at least 0 and below 1"
        assert expected in line
    assert contents(Path()) == before
