"""Metrics against scikit-learn's."""

import math

import pytest
import torch
from sklearn import metrics as sk

from zoo.metrics import ClassificationMetrics, summarize


def report_of(predictions, labels, k, pieces=3):
    metric = ClassificationMetrics(k)
    for p, t in zip(predictions.chunk(pieces), labels.chunk(pieces), strict=True):
        metric.update(p, t, torch.full((1,), 1.5 * len(t)))
    return metric.compute()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("absent", [(), (3,), (0, 9)], ids=["all", "one absent", "two absent"])
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


def test_answering_not_airplane_always():
    """Accuracy 0.900 and F1 0.947 without having learned a thing: why balanced accuracy is reported."""
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
