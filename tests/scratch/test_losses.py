"""Values of activations, labels and losses of `zoo.scratch`: torch's, at the extremes too; what is refused."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from zoo.scratch.activations import ReLU, Sigmoid, Tanh
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy, NotebookBinaryCrossEntropy
from zoo.scratch.softmax import log_softmax, one_hot, softmax, softmax_jacobian

EXTREMES = np.array([-1000.0, -89.0, -1.0, 0.0, 1e-3, 89.0, 1000.0])
BINARY = [BinaryCrossEntropy(), NotebookBinaryCrossEntropy()]


@pytest.fixture(autouse=True)
def _no_overflow():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        yield


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ReLU(), torch.relu), (Sigmoid(), torch.sigmoid), (Tanh(), torch.tanh)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_are_torchs(ours, theirs, dtype):
    z = EXTREMES.astype(dtype)
    a = ours.forward(z)
    np.testing.assert_allclose(a, theirs(torch.from_numpy(z)).numpy(), rtol=10 * np.finfo(dtype).eps, atol=1e-38)
    assert a.dtype == ours.slope(a).dtype == dtype
    assert np.isfinite(ours.slope(a)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_is_torchs(dtype):
    z = np.stack([EXTREMES, -EXTREMES, np.zeros(7), np.full(7, -1000.0)]).astype(dtype)
    a = softmax(z)
    np.testing.assert_allclose(a, torch.softmax(torch.from_numpy(z), dim=1).numpy(), rtol=1e-5, atol=1e-38)
    expected = torch.log_softmax(torch.from_numpy(z), dim=1).numpy()
    np.testing.assert_allclose(log_softmax(z), expected, rtol=1e-5, atol=1e-6)
    assert a.dtype == log_softmax(z).dtype == softmax_jacobian(a).dtype == dtype


def assert_torchs(loss, logits, labels, theirs, rtol=1e-5) -> None:
    """A loss and its gradient are those of a function of torch, of logits."""
    value, gradient = loss.value_and_gradient(logits, labels)
    z = torch.tensor(logits, requires_grad=True)
    expected = theirs(z)
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-6)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=rtol, atol=1e-7)
    assert gradient.dtype == logits.dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("label", [0, 1])
def test_binary_cross_entropy_is_torchs(dtype, label):
    logits, labels = EXTREMES.astype(dtype)[:, None], np.full(7, label)
    targets = torch.from_numpy(labels.astype(dtype))
    theirs = partial(functional.binary_cross_entropy_with_logits, target=targets[:, None])
    assert_torchs(BinaryCrossEntropy(), logits, labels, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [[0, 6, 3], [5, 5, 5], [1, 1, 0]])
def test_categorical_cross_entropy_is_torchs(dtype, labels):
    """Logits of +-1000, and classes that do not occur."""
    logits, labels = np.stack([EXTREMES, -EXTREMES, EXTREMES / 100]).astype(dtype), np.array(labels)
    theirs = partial(functional.cross_entropy, target=torch.from_numpy(labels))
    assert_torchs(CategoricalCrossEntropy(), logits, labels, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_probabilities_is_torchs(dtype):
    logits = np.stack([EXTREMES, -EXTREMES, EXTREMES / 100]).astype(dtype)
    labels = np.random.default_rng(0).dirichlet(np.ones(7), size=3).astype(dtype)
    theirs = partial(functional.cross_entropy, target=torch.from_numpy(labels))
    assert_torchs(CategoricalCrossEntropy(), logits, labels, theirs, rtol=1e-4)
    column = labels[0][:, None]
    theirs = partial(functional.binary_cross_entropy_with_logits, target=torch.from_numpy(column))
    assert_torchs(BinaryCrossEntropy(), logits[0][:, None], column, theirs, rtol=1e-4)


@pytest.mark.parametrize(("loss", "classes"), [(CategoricalCrossEntropy(), 3), *((loss, 1) for loss in BINARY)])
@pytest.mark.parametrize("label", [-0.1, 1.1, math.nan])
def test_what_is_not_a_probability(loss, classes, label):
    labels = np.full((2, classes), (1 - label) / (classes - 1) if classes > 1 else label)
    labels[1, 0] = label
    with pytest.raises(ValueError, match="are not probabilities: give rows of 0 to 1 that sum to 1"):
        loss.value_and_gradient(np.zeros((2, classes)), labels)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.0), (1, math.inf)])
def test_logits_whose_difference_overflows(label, expected):
    logits = np.array([[2e38, -2e38]], np.float32)
    with np.errstate(over="ignore"):
        assert CategoricalCrossEntropy().value_and_gradient(logits, np.array([label]))[0] == expected


def test_certainty():
    loss = CategoricalCrossEntropy()
    assert loss.value_and_gradient(np.array([[1000.0, -1000.0]]), np.array([0]))[0] == 0
    assert loss.value_and_gradient(np.array([[1000.0, -1000.0]]), np.array([1]))[0] == 2000
    assert loss.value_and_gradient(np.zeros((1, 10)), np.array([1]))[0] == pytest.approx(math.log(10))


def test_the_notebooks_gradient_dies_where_the_answer_is_most_wrong():
    logits, labels = np.array([[30.0]]), np.array([0])
    assert BinaryCrossEntropy().value_and_gradient(logits, labels)[1].item() == pytest.approx(1)
    assert abs(NotebookBinaryCrossEntropy().value_and_gradient(logits, labels)[1].item()) < 1e-12


def test_the_mean_over_a_batch_is_the_mean_of_its_images():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((5, 3)), rng.integers(3, size=5)
    loss = CategoricalCrossEntropy()
    value, gradient = loss.value_and_gradient(logits, labels)
    alone = [loss.value_and_gradient(logits[n : n + 1], labels[n : n + 1]) for n in range(5)]
    assert value == pytest.approx(np.mean([one for one, _ in alone]))
    np.testing.assert_allclose(gradient, np.concatenate([one for _, one in alone]) / 5)


def test_one_hot_is_torchs():
    labels = np.array([2, 0, 2, 3])
    found = one_hot(labels, 5)
    np.testing.assert_array_equal(found, functional.one_hot(torch.from_numpy(labels), 5).numpy())
    assert found.dtype == np.float32
    assert one_hot(labels, 5, np.float64).dtype == np.float64


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range(label):
    labels = np.array([0, label, 2])
    with pytest.raises(ValueError, match=f"label {label} .* 0 to 2"):
        one_hot(labels, 3)
    with pytest.raises(ValueError, match=f"label {label} .* 0 to 2"):
        CategoricalCrossEntropy().value_and_gradient(np.zeros((3, 3)), labels)


@pytest.mark.parametrize("loss", BINARY)
@pytest.mark.parametrize("label", [-1, 2])
def test_binary_labels_out_of_range(loss, label):
    with pytest.raises(ValueError, match=f"label {label} .* 0 to 1"):
        loss.value_and_gradient(np.zeros((2, 1)), np.array([0, label]))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.array([0.0, 1.0]), "float64 of shape (2,)"),
        (np.array([[0, 1]]), "int64 of shape (1, 2)"),
        (np.array([], dtype=np.int64), "no labels"),
    ],
)
def test_no_row_of_class_numbers(labels, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        one_hot(labels, 3)


@pytest.mark.parametrize(
    ("loss", "logits", "labels"),
    [
        (CategoricalCrossEntropy(), (4, 3), (5,)),
        (CategoricalCrossEntropy(), (4,), (4,)),
        (CategoricalCrossEntropy(), (4, 3), (4, 3)),
        (BinaryCrossEntropy(), (4, 1), (5,)),
        (BinaryCrossEntropy(), (4, 1), (4, 1)),
        (BinaryCrossEntropy(), (4,), (4,)),
        (BinaryCrossEntropy(), (4, 2), (4,)),
        (NotebookBinaryCrossEntropy(), (4, 2), (4,)),
    ],
)
def test_shapes_that_do_not_fit_are_both_named(loss, logits, labels):
    with pytest.raises(ValueError, match=f"{re.escape(str(logits))}.*{re.escape(str(labels))}"):
        loss.value_and_gradient(np.zeros(logits), np.zeros(labels, dtype=np.int64))
