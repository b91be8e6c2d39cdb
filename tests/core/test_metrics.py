"""Metrics against scikit-learn's."""

import math
from typing import ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision
from sklearn import metrics as sk
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from datamodules.loading import Batch
from zoo.core.metrics import ClassificationMetrics, summarize
from zoo.models.mlp import MLP


def report_of(predictions, labels, k, pieces=3):
    metric = ClassificationMetrics(k)
    for p, t in zip(predictions.chunk(pieces), labels.chunk(pieces), strict=True):
        metric.update(p, t, torch.full((1,), 1.5 * len(t)))
    return metric.compute()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [(), (3,), (0, 9)], ids=["all", "one-absent", "two-absent"])
def test_ten_classes_agree_with_sklearn(seed, absent):
    generator = torch.Generator().manual_seed(seed)
    labels, predictions = torch.randint(0, 10, (2, 500), generator=generator)
    keep = torch.ones(500, dtype=torch.bool)
    for label in absent:  # the class is neither truth nor prediction
        keep &= (labels != label) & (predictions != label)
    labels, predictions = labels[keep], predictions[keep]
    found = report_of(predictions, labels, 10)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    assert found["acc"] == pytest.approx(sk.accuracy_score(labels, predictions))
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))
    assert found["confusion"] == sk.confusion_matrix(labels, predictions, labels=range(10)).tolist()
    per_class = sk.recall_score(labels, predictions, average=None, labels=range(10), zero_division=0)
    for label in range(10):
        if label in absent:
            assert math.isnan(found["acc_per_class"][label])
        else:
            assert found["acc_per_class"][label] == pytest.approx(per_class[label])


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_is_only_predicted_counts_as_in_sklearn(seed):
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.randint(0, 10, (300,), generator=generator)
    labels = torch.randint(0, 8, (300,), generator=generator)
    found = report_of(predictions, labels, 10)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_agree_with_sklearn(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(400, generator=generator) < 0.9).long()
    predictions = (torch.rand(400, generator=generator) < 0.7).long()
    found = report_of(predictions, labels, 2)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predictions, average="binary")
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))
    assert found["balanced_acc"] == pytest.approx(sk.balanced_accuracy_score(labels, predictions))
    assert found["majority_acc"] == pytest.approx(labels.double().mean().item())


@pytest.mark.parametrize("present", [0, 1])
def test_balanced_accuracy_is_the_recall_of_the_only_class_that_occurs(present):
    labels, predictions = torch.full((10,), present), torch.tensor([present] * 7 + [1 - present] * 3)
    found = report_of(predictions, labels, 2)
    assert found["balanced_acc"] == pytest.approx(0.7)
    assert found["majority_acc"] == 1


def test_answering_not_airplane_always():
    """Accuracy 0.900 and F1 0.947 without any learning: the reason to report balanced accuracy."""
    labels = torch.arange(10_000) % 10 != 0
    found = report_of(torch.ones(10_000, dtype=torch.long), labels.long(), 2)
    assert found["acc"] == pytest.approx(0.900)
    assert found["majority_acc"] == pytest.approx(0.900)
    assert found["f1"] == pytest.approx(0.947, abs=5e-4)
    assert found["balanced_acc"] == 0.5
    assert found["acc_per_class"] == [0.0, 1.0]


def test_loss_is_the_mean_over_samples_not_batches():
    metric = ClassificationMetrics(3)
    metric.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]), torch.tensor([3.0]))
    metric.update(torch.tensor([0]), torch.tensor([0]), torch.tensor([5.0]))
    assert metric.compute()["loss"] == pytest.approx((3 * 1.0 + 5.0) / 4)


def test_nothing_counted_is_no_crash():
    summary = summarize(torch.zeros(10, 10, dtype=torch.long))
    assert summary["acc"] == summary["f1"] == 0.0


CASTS = {
    "half": lambda module: module.half(),
    "to(bfloat16)": lambda module: module.to(torch.bfloat16),
    "double": lambda module: module.double(),
    "to(float64)": lambda module: module.to(torch.float64),
    "type": lambda module: module.type(torch.float16),
    "16-true": lambda module: HalfPrecision("16-true").convert_module(module),
    "bf16-true": lambda module: HalfPrecision("bf16-true").convert_module(module),
    "64-true": lambda module: DoublePrecision().convert_module(module),
}


@pytest.mark.parametrize("cast", CASTS)
def test_states_keep_their_types_and_values_whatever_a_model_is_cast_to(cast):
    model = MLP()
    metric = model.metrics["train_metrics"]
    metric.update(torch.tensor([1]), torch.tensor([2]), torch.tensor([100_000.25]))
    CASTS[cast](model)
    assert next(model.parameters()).dtype != torch.float32
    for _ in range(2):  # as it is, and after a reset
        assert (metric.loss_sum.dtype, metric.confusion.dtype) == (torch.float32, torch.int64)
        assert metric.loss_sum.item() in (100_000.25, 0)
        metric.reset()


def test_states_are_float32_in_a_model_that_is_built_in_half_precision():
    with HalfPrecision("bf16-true").module_init_context():
        assert ClassificationMetrics(10).loss_sum.dtype == torch.float32


def test_states_move_to_the_device_of_the_model():
    assert ClassificationMetrics(10).to("meta").confusion.device.type == "meta"


class Constant(MLP):
    """Has a loss of 2.3 for every image and label."""

    # AdamW's epsilon is 0 in float16, and a gradient of 0 then makes a weight NaN.
    default_optimizer: ClassVar = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}

    def forward(self, images):
        return self.net[-1].bias.expand(len(images), -1) * 0

    def loss(self, logits, labels):
        return logits.sum() * 0 + 2.3


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-true", "bf16-true", "64-true"])
def test_a_constant_loss_is_the_mean_loss_of_an_epoch_in_every_precision(precision):
    """16-true: 45,000 times 2.3 is more than float16's largest number. bf16-true: 8 bits do not add up."""
    images = torch.zeros(45_000, 1, 1, 1, dtype=torch.uint8).expand(-1, 3, 32, 32)
    dataset, sampler = TensorDataset(images, torch.arange(45_000) % 10), BatchSampler(range(45_000), 500, False)
    loader = DataLoader(dataset, batch_size=None, sampler=sampler)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, precision=precision, num_sanity_val_steps=0, **quiet)
    model = Constant(hidden_sizes=[])
    trainer.fit(model, loader, loader)
    train = model.train_metrics()
    assert train["train/loss"] == pytest.approx(2.3, abs=1e-5)
    assert train["train/acc"] == pytest.approx(0.1), "of a class of which there are 4,500"
    assert model.results["val"]["loss"] == pytest.approx(2.3, abs=1e-5)
    assert trainer.predict(model, DataLoader(TensorDataset(images[:4])))[0].dtype == torch.float32


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_the_loss_of_a_batch_in_half_precision_is_computed_in_float32(precision):
    model = HalfPrecision(precision).convert_module(MLP())
    images, labels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64) % 10
    loss = model.training_step(Batch(images, labels, labels), 0)
    assert loss.dtype == torch.float32
    expected = torch.nn.functional.cross_entropy(model(images).double(), labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.train_metrics()["train/loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_loss_in_half_precision_is_added_in_float32():
    """A model's own `training_step` may pass one: 100 x 2.296875 = 229.6875, and 230 in bfloat16."""
    model = MLP()
    labels = torch.zeros(100, dtype=torch.int64)
    model.count("train", torch.zeros(100, 10), labels, torch.tensor(2.296875, dtype=torch.bfloat16))
    assert model.train_metrics()["train/loss"] == 2.296875
