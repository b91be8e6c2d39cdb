"""The exercises' checks on wrong answers of the kinds that learners give: each is refused, with a word that helps.

tests/scratch/test_notebooks.py has the right answers.
"""

import math

import numpy as np
import pytest

from zoo.scratch.activations import Activation
from zoo.scratch.autograd import Value
from zoo.scratch.losses import CategoricalCrossEntropy
from zoo.scratch.network import central_differences
from zoo.scratch.notebooks.checks import _CHECKS, WrongError, check
from zoo.scratch.softmax import one_hot, softmax

A = 1 / (1 + math.exp(-1.5))
STEP = {
    "z": 1.5,
    "a": A,
    "L": -math.log(1 - A),
    "dw": [2 * A, -A],
    "db": A,
    "new_w": [1 - 0.2 * A, 1 + 0.1 * A],
    "new_b": 0.5 - 0.1 * A,
}


def forward_differences(loss, array, e=1e-6):
    slopes, before = np.zeros_like(array), loss()
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + e
        slopes[place] = (loss() - before) / e
        array[place] = value
    return slopes


def without_restoring(loss, array, e=1e-6):
    slopes = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        array[place] += e
        above = loss()
        array[place] -= 2 * e
        slopes[place] = (above - loss()) / (2 * e)
    return slopes


def of_a_copy(loss, array, e=1e-6):
    copy = array.copy()
    return without_restoring(loss, copy, e)


def overflowing(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def slopes_of_the_mean(z, labels):
    return (softmax(z) - one_hot(labels, z.shape[1], np.float64)) / len(z)


def rows_of(labels, num_classes):
    return np.eye(num_classes)[labels]


def leaky(function=lambda z: np.maximum(z, 0.01 * z), slope=lambda a: np.where(a > 0, 1, 0.01).astype(a.dtype)):
    methods = {"function": lambda self, z: function(z), "slope": lambda self, a: slope(a)}
    return type("LeakyReLU", (Activation,), methods)


def in_place(p, g, v, learning_rate, beta):
    v *= beta
    v += g
    return p - learning_rate * v, v


def add_back(slopes, columns=(0, 1, 2)):
    padded, n = np.zeros(len(slopes) + 2), len(slopes)
    for shift, column in enumerate(columns):
        padded[shift : shift + n] += slopes[:, column]
    return padded[1:-1]


def on_tape(slope):
    def tanh(v):
        a = math.tanh(v.number)
        return Value(a, [(v, slope(v.number, a))])

    return tanh


VERTICAL = [[-1, 0, 1]] * 3
SETTINGS = {"hidden": 32, "epochs": 40, "learning_rate": 0.03}

# An exercise, a wrong answer, and what the message has to say.
WRONG = [
    ("one_step", STEP | {"z": 0.5}, "z is 0.5.*add the bias"),
    ("one_step", STEP | {"L": -math.log(A)}, "L is.*1 - a"),
    ("one_step", STEP | {"dw": [A, A]}, "dw is.*times the input"),
    ("one_step", STEP | {"new_w": [1 + 0.2 * A, 1 - 0.1 * A]}, "new_w is.*minus the learning rate"),
    ("one_step", STEP | {"db": [A, A]}, "db is"),
    ("learning_rates", {"too_small": 0.0005, "good": 50.0, "too_large": 60.0}, "with 50.0, the loss is still"),
    ("learning_rates", {"too_small": 1.0, "good": 2.0, "too_large": 50.0}, "not too small"),
    ("learning_rates", {"too_small": 0.0005, "good": 1.0, "too_large": 1.1}, "Try a larger one"),
    ("learning_rates", {"too_small": 1.0, "good": 0.5, "too_large": 50.0}, "from small to large"),
    ("weights_as_picture", [lambda w: w.reshape(32, 32, 3)], "expected 0 to 1"),
    ("weights_as_picture", [lambda w: 0.5 + w / (2 * np.abs(w).max())], "expected \\(32, 32, 3\\)"),
    (
        "weights_as_picture",
        [lambda w: 0.5 + w.reshape(3, 32, 32).transpose(1, 2, 0) / (2 * np.abs(w).max())],
        "row, column, color",
    ),
    ("weights_as_picture", [lambda w: 0.5 + w.reshape(32, 32, 3) / 100], "pale"),
    ("gradient_check", [forward_differences], "slope of one side"),
    ("gradient_check", [without_restoring], "Put each element back"),
    ("gradient_check", [of_a_copy], "not a copy"),
    ("gradient_check", [lambda loss, array: 2 * central_differences(loss, array)], "twice the right ones"),
    ("gradient_check", [lambda loss, array: -central_differences(loss, array)], "you find"),
    ("gradient_check", [lambda loss, array: central_differences(loss, array, 1e-2)], "Choose another e"),
    ("gradient_check", [lambda loss, array: central_differences(loss, array).ravel()], "have the shape"),
    ("gradient_check", [lambda loss, array: None], "returns nothing"),
    ("planted_bugs", [["birch", "cedar"]], "1 that you do not name"),
    ("planted_bugs", [["birch", "cedar", "fir", "hazel"]], "1 of those you name are right"),
    ("planted_bugs", [["oak"]], "no suspect 'oak'"),
    ("planted_bugs", ["birch"], "give a list of names"),
    ("equal_start", {"both_equal": 8, "output_random": 8, "both_random": 8}, "both_equal is not 8"),
    ("equal_start", {"both_equal": 1, "output_random": 1, "both_random": 8}, "output_random is not 1"),
    ("equal_start", {"both_equal": 0, "output_random": 8, "both_random": 8}, "whole number from 1 to 8"),
    ("naive_softmax", [softmax, 89], "not naive"),
    ("naive_softmax", [lambda z: np.exp(z) / np.exp(z).sum(axis=0, keepdims=True), 89], "differs|axis=1"),
    ("naive_softmax", [overflowing, 88], "still works"),
    ("naive_softmax", [overflowing, 90], "a smaller one, too"),
    ("rows_and_slopes", [lambda labels, num_classes: np.eye(labels.max() + 1)[labels], slopes_of_the_mean], "shape"),
    ("rows_and_slopes", [rows_of, lambda z, labels: len(z) * slopes_of_the_mean(z, labels)], "divide by N"),
    ("rows_and_slopes", [rows_of, lambda z, labels: -slopes_of_the_mean(z, labels)], "the sign is wrong"),
    ("rows_and_slopes", [rows_of, lambda z, labels: (z - rows_of(labels, z.shape[1])) / len(z)], "softmax\\(z\\)"),
    ("by_heart", SETTINGS | {"epochs": 3}, "of the 100 images are right"),
    ("by_heart", SETTINGS | {"learning_rate": 5.0}, "too large does not settle"),
    ("by_heart", SETTINGS | {"hidden": 1000}, "whole number from 1 to 128"),
    ("weight_penalty", SETTINGS | {"strength": 0.001}, "a larger strength"),
    ("weight_penalty", SETTINGS | {"strength": 3.0}, "a smaller strength"),
    ("weight_penalty", SETTINGS | {"strength": -0.1}, "give a positive number"),
    ("leaky_relu", [leaky(function=lambda z: np.maximum(z, 0))], "0.01 z"),
    ("leaky_relu", [leaky(slope=lambda a: (a > 0).astype(a.dtype))], "slopes"),
    ("leaky_relu", [leaky(slope=lambda a: np.where(a > 0, 1, 0.01))], "float32 into float64"),
    ("leaky_relu", [leaky()()], "the class itself"),
    ("weights_for_relu", [lambda num_inputs: 1 / num_inputs], "What is left of the mean square"),
    ("weights_for_relu", [lambda num_inputs: math.sqrt(2 / num_inputs)], "standard deviation"),
    ("weights_for_relu", [lambda num_inputs: 2.0], "It should stay the same"),
    ("momentum_step", [lambda p, g, v, learning_rate, beta: (p - learning_rate * v, beta * v + g)], "the new v"),
    (
        "momentum_step",
        [lambda p, g, v, learning_rate, beta: (p - learning_rate * g, beta * v + (1 - beta) * g)],
        "v is.*beta times the old v, plus g",
    ),
    ("momentum_step", [in_place], "changes its arguments"),
    ("vertical_edges", [np.transpose(VERTICAL)], "on vertical|on a horizontal"),
    ("vertical_edges", [np.ones((3, 3))], "a flat area"),
    ("vertical_edges", [[[0, -1, 0], [-1, 4, -1], [0, -1, 0]]], "a horizontal edge"),
    ("vertical_edges", [[-1, 0, 1]], "has the shape"),
    ("add_back_1d", [lambda slopes: add_back(slopes, (2, 1, 0))], "the two sums"),
    ("add_back_1d", [lambda slopes: slopes.sum(axis=1)], "the two sums"),
    ("add_back_1d", [lambda slopes: slopes.sum(axis=0)], "shape"),
    ("tape_tanh", [on_tape(lambda z, a: 1 - z * z)], "the slope is"),
    ("tape_tanh", [on_tape(lambda z, a: 1.0)], "the slope is"),
    ("tape_tanh", [lambda v: Value(math.tanh(v.number))], "no sources"),
    ("tape_tanh", [lambda v: math.tanh(v.number)], "expected a Value"),
]


@pytest.mark.parametrize(("name", "answer", "problem"), WRONG, ids=[name for name, *_ in WRONG])
def test_a_wrong_answer_is_refused(name, answer, problem, monkeypatch, capsys):
    answers, named = (answer, {}) if isinstance(answer, list) else ([], answer)
    with monkeypatch.context() as context:
        context.setenv("CHECKS", "strict")
        with pytest.raises(WrongError, match=f"(?s){problem}"):
            check(name, *answers, **named)
    check(name, *answers, **named)
    assert capsys.readouterr().out.startswith(f"{name}: not yet. ")


def test_every_exercise_has_wrong_answers():
    with pytest.raises(ValueError, match="there is no exercise"):
        check("none")  # which imports all of them
    assert set(_CHECKS) == {name for name, *_ in WRONG}


@pytest.mark.parametrize("name", ["gradient_check", "momentum_step", "tape_tanh", "add_back_1d"])
def test_code_that_raises_is_told(name, monkeypatch, capsys):
    monkeypatch.delenv("CHECKS", raising=False)

    def broken(*arguments):
        return 1 / 0

    check(name, broken)
    assert "not yet. Your code raised ZeroDivisionError: division by zero" in capsys.readouterr().out


def test_an_unknown_exercise_is_told():
    with pytest.raises(ValueError, match=r"no exercise 'softmaxx'\. There are: add_back_1d"):
        check("softmaxx", 1)


def test_the_loss_of_the_slopes_is_a_mean():
    """`slopes_of_the_mean`, which the wrong answers above are made from, is right."""
    z, labels = np.random.default_rng(0).standard_normal((3, 4)), np.array([0, 3, 1])
    found = central_differences(lambda: CategoricalCrossEntropy().value_and_gradient(z, labels)[0], z)
    np.testing.assert_allclose(slopes_of_the_mean(z, labels), found, atol=1e-7)
