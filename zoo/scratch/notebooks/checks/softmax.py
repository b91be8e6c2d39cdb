"""Checks of the exercises of notebook 3."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from datamodules import synthetic
from zoo.scratch.activations import ReLU
from zoo.scratch.batches import Batches
from zoo.scratch.initializers import he
from zoo.scratch.layers import Dense, Flatten
from zoo.scratch.losses import CategoricalCrossEntropy
from zoo.scratch.network import Network, central_differences
from zoo.scratch.notebooks.checks import WrongError, answered, exercise, expect
from zoo.scratch.optimizers import SGD
from zoo.scratch.regularizers import L2
from zoo.scratch.softmax import one_hot, softmax
from zoo.scratch.training import evaluate, train_epoch

MOST_HIDDEN, MOST_EPOCHS = 128, 200  # so that a check takes seconds


@exercise
def naive_softmax(function: object, fails_from: object) -> str:
    """Softmax without its shift, and the smallest whole m for which it fails on float32 logits (m, 0, 0)."""
    expect(callable(function), "give the function itself, without parentheses.")
    rng = np.random.default_rng(0)
    for shape in ((2, 4), (3, 3), (1, 5)):
        z = rng.standard_normal(shape).astype(np.float32)
        found = _call(function, z)
        expect(
            not (shape == (3, 3) and np.allclose(found.sum(axis=0), 1)),
            "your columns have the sum 1, expected the rows. Add up with axis=1 and keepdims=True.",
        )
        expect(
            np.allclose(found, softmax(z), atol=1e-5),
            f"for small logits of shape {shape}, it differs from softmax. Divide exp(z) by the sum of its row.",
        )
    expect(not _finite(function, 1000), "it survives a logit of 1000, so it is not naive. Leave out the shift.")
    first = next(m for m in range(1, 1001) if not _finite(function, m))
    expect(first < 700, f"your function fails from {first} on, so it computes in float64. Leave z as it is, float32.")
    with np.errstate(over="ignore"):
        overflow = next(m for m in range(1, 1001) if np.isinf(np.exp(np.float32(m))))
    expect(first == overflow, f"your function fails from {first} on. Take exp(z) of the logits as they are.")
    expect(_is_number(fails_from) and fails_from == fails_from, f"fails_from is {fails_from!r}: give a number.")
    assert isinstance(fails_from, int | float | np.number)
    expect(
        fails_from >= first,
        f"with a logit of {fails_from} it still works: exp({fails_from}) is below 3.4e38, the largest float32.",
    )
    expect(fails_from == first, f"with a logit of {fails_from} it fails, but with a smaller one, too.")
    shifted = softmax(np.array([[1e30, 0, 0]], np.float32))[0]
    return f"The chapter's softmax returns {shifted.tolist()} even for a logit of 1e30."


def _finite(function: object, m: int) -> bool:
    """Return whether a softmax of float32 logits (m, 0, 0) consists of numbers."""
    return bool(np.all(np.isfinite(_call(function, np.array([[m, 0, 0]], np.float32)))))


@exercise
def rows_and_slopes(rows: object, slopes: object) -> str:
    """One-hot labels (labels, num_classes), and dL/dz of the mean cross-entropy (z, labels)."""
    expect(callable(rows) and callable(slopes), "give the two functions themselves, without parentheses.")
    for labels, K in ((np.array([2, 0, 1, 2]), 3), (np.array([1, 1]), 5), (np.array([0]), 2)):
        found = _call(rows, labels, K)
        expect(
            found.shape == (len(labels), K),
            f"{len(labels)} labels and {K} classes became rows of shape {found.shape}, expected {(len(labels), K)}.",
        )
        expect(
            np.array_equal(found, one_hot(labels, K)),
            f"labels {labels.tolist()} with {K} classes became {found.tolist()}. Put 1 into the column of the label.",
        )
    rng = np.random.default_rng(0)
    loss = CategoricalCrossEntropy()
    for N, K in ((5, 3), (1, 4), (2, 6)):
        z, labels = 2 * rng.standard_normal((N, K)), rng.integers(K, size=N)
        right = central_differences(lambda z=z, labels=labels: loss.value_and_gradient(z, labels)[0], z)  # type: ignore[misc]
        found = _call(slopes, z, labels)
        a, y = softmax(z), one_hot(labels, K, np.float64)
        expect(found.shape == z.shape, f"the slopes of logits {z.shape} have the shape {found.shape}.")
        expect(
            N == 1 or not np.allclose(found, a - y),
            f"you return a - y. L is the mean over the images, so divide by N, here {N}.",
        )
        expect(not np.allclose(found, -right, atol=1e-6), "the sign is wrong: the prediction minus the truth, a - y.")
        expect(
            not np.allclose(found, (z - y) / N),
            "you subtract the labels from the logits. Turn the logits into probabilities first: softmax(z).",
        )
        expect(
            not np.allclose(found, (a - y) / (N * K)),
            "you divide by all numbers of the array. Divide by the images alone: len(z).",
        )
        expect(
            np.allclose(found, right, atol=1e-6),
            f"for N = {N}, K = {K}, the slopes differ from central differences by up to "
            f"{np.abs(found - right).max():.2g}. Hint: (a - y) / N.",
        )
    return "The slopes agree with central differences of the chapter's loss."


def _call(function: object, *arrays: object) -> np.ndarray:
    """Return what a learner's function makes of arrays, as float64, after a look at its side effects."""
    assert callable(function)
    copies = [array.copy() if isinstance(array, np.ndarray) else array for array in arrays]
    with np.errstate(all="ignore"):
        found = answered(function(*copies))
    expect(found is not None, "your function returns nothing. Does it end in 'return ...'?")
    for before, after in zip(arrays, copies, strict=True):
        expect(np.array_equal(before, after), "your function changes its argument. Make a new array.")  # type: ignore[arg-type]
    try:
        return np.array(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongError("your function does not return an array of numbers.") from error


class Learned(NamedTuple):
    """What a network has reached."""

    accuracy: float  # on the images that it learned from
    held_out_loss: float
    held_out_accuracy: float
    norm: float  # the square root of the sum of all squared weights


@exercise
def by_heart(hidden: int, epochs: int, learning_rate: float) -> str:
    """Settings with which a network learns 100 images by heart."""
    _check_settings(hidden, epochs, learning_rate)
    found = learn(hidden, epochs, learning_rate, 0.0)
    expect(
        found.accuracy == 1,
        f"{found.accuracy:.0%} of the 100 images are right. Try more epochs, more hidden neurons or another learning "
        "rate: one that is too small learns slowly, one that is too large does not settle.",
    )
    return f"All 100 images are right, and {found.held_out_accuracy:.1%} of the held-out images."


@exercise
def weight_penalty(hidden: int, epochs: int, learning_rate: float, strength: float) -> str:
    """A strength of L2 that halves the norm of the weights, while the network still learns the images."""
    _check_settings(hidden, epochs, learning_rate)
    expect(_is_number(strength) and 0 < strength < np.inf, f"strength is {strength!r}: give a positive number.")
    free, bound = (learn(hidden, epochs, learning_rate, s) for s in (0.0, float(strength)))
    expect(
        free.accuracy == 1,
        f"without a penalty, these settings reach {free.accuracy:.0%} on the 100 images. Take those of exercise 3.",
    )
    expect(
        bound.accuracy >= 0.9,
        f"with {strength}, only {bound.accuracy:.0%} of the 100 images are right. Aim for 90 %: a smaller strength.",
    )
    expect(
        bound.norm <= free.norm / 2,
        f"with {strength}, the norm of the weights is {bound.norm / free.norm:.0%} of the one without a penalty. "
        "Aim for 50 % or less: a larger strength.",
    )
    return (
        f"The norm falls from {free.norm:.1f} to {bound.norm:.1f}, and the held-out loss from {free.held_out_loss:.2f} "
        f"to {bound.held_out_loss:.2f}."
    )


def _check_settings(hidden: object, epochs: object, learning_rate: object) -> None:
    for name, value, most in (("hidden", hidden, MOST_HIDDEN), ("epochs", epochs, MOST_EPOCHS)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        expect(whole and 1 <= int(value) <= most, f"{name} is {value!r}: give a whole number from 1 to {most}.")  # type: ignore[call-overload]
    expect(
        _is_number(learning_rate) and 0 < learning_rate < np.inf,  # type: ignore[operator]
        f"learning_rate is {learning_rate!r}: give a positive number.",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


@lru_cache(maxsize=32)
def learn(hidden: int, epochs: int, learning_rate: float, strength: float) -> Learned:
    """Train a network on 100 drawn images, and judge it on them and on 1,000 others."""
    images, labels, held_out_images, held_out_labels = _images()
    rng, loss = np.random.default_rng(0), CategoricalCrossEntropy()
    network = Network([Flatten(), Dense(3072, hidden, he, rng), ReLU(), Dense(hidden, 10, he, rng)])
    optimizer, batches = SGD(network.parameters), Batches(images, labels, 10, rng)
    regularizer = L2(strength) if strength else None
    with np.errstate(all="ignore"):  # a learning rate that is too large overflows
        for _ in range(epochs):
            train_epoch(network, loss, optimizer, batches, learning_rate, regularizer)
        accuracy = evaluate(network, loss, Batches(images, labels, 100))[1]
        held_out = evaluate(network, loss, Batches(held_out_images, held_out_labels, 500))
        norm = np.sqrt(sum(float(np.sum(p**2)) for p in network.parameters if p.ndim == 2))
    return Learned(accuracy, *held_out, float(norm))


@lru_cache(maxsize=1)
def _images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    images, labels = synthetic.generate(100, split="train")
    held_out_images, held_out_labels = synthetic.generate(1000, split="test")
    return images.transpose(0, 2, 3, 1), labels, held_out_images.transpose(0, 2, 3, 1), held_out_labels
