"""Checks of the exercises of notebook 1."""

from itertools import pairwise
from typing import Any

import numpy as np

from zoo.scratch import neuron
from zoo.scratch.notebooks.checks import answered, exercise, expect


@exercise
def one_step(z: float, a: float, L: float, dw: Any, db: float, new_w: Any, new_b: float) -> str:
    """The numbers of one step: x = (2, -1), w = (1, 1), b = 0.5, y = 0, learning rate 0.1."""
    x, w, b, y = np.array([[2.0, -1.0]]), np.array([1.0, 1.0]), 0.5, np.array([0.0])
    right_z = neuron.weigh(x, w, b)
    slopes, slope = neuron.gradient(x, right_z, y)
    values = {
        "z": (z, right_z[0], "multiply each input by its weight, add up, and add the bias"),
        "a": (a, neuron.sigmoid(right_z)[0], "1 / (1 + exp(-z))"),
        "L": (L, neuron.loss(right_z, y)[0], "y is 0, so the truth had the probability 1 - a"),
        "dw": (dw, slopes, "each slope is (a - y) times the input of the weight"),
        "db": (db, slope, "the bias has the input 1"),
        "new_w": (new_w, w - 0.1 * slopes, "w minus the learning rate times its slope"),
        "new_b": (new_b, b - 0.1 * slope, "b minus the learning rate times its slope"),
    }
    for name, (found, expected, hint) in values.items():
        close = np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=0, atol=2e-3)
        expect(close, f"{name} is {found}. Hint: {hint}.")
    return f"With the new weights the loss is {neuron.step(x, y, np.asarray(new_w), new_b, 0)[2]:.3f}."


@exercise
def learning_rates(too_small: float, good: float, too_large: float) -> str:
    """Three learning rates for 100 steps on `neuron.two_groups`, judged by the loss."""
    expect(0 < too_small < good < too_large, "give three positive numbers, from small to large.")
    small, middle, large = (losses(rate) for rate in (too_small, good, too_large))
    expect(small[-1] > 0.6, f"with {too_small}, the loss has fallen to {small[-1]:.3f} after 100 steps: not too small.")
    expect(middle[-1] < 0.3, f"with {good}, the loss is still {middle[-1]:.3f} after 100 steps. Aim for less than 0.3.")
    rises = sum(after > before + 0.001 for before, after in pairwise(large))
    expect(rises >= 10, f"with {too_large}, the loss rises in only {rises} of 100 steps. Try a larger one.")
    return f"Losses after 100 steps: {small[-1]:.3f}, {middle[-1]:.3f}, {large[-1]:.3f}."


def losses(learning_rate: float, steps: int = 100) -> list[float]:
    """Return the loss before each step of a neuron that learns to tell two groups of points apart."""
    x, y = neuron.two_groups(np.random.default_rng(0))
    w, b, found = np.zeros(2), 0.0, []
    for _ in range(steps):
        w, b, loss = neuron.step(x, y, w, b, learning_rate)
        found.append(loss)
    return found


@exercise
def weights_as_picture(function: object) -> str:
    """A function from the 3,072 weights of a neuron to a picture (32, 32, 3) with numbers from 0 to 1."""
    expect(callable(function), "give the function itself, without parentheses.")
    assert callable(function)
    rng = np.random.default_rng(0)
    w = rng.standard_normal(3072)
    before, picture = w.copy(), answered(function(w))
    expect(np.array_equal(w, before), "your function changes w itself. Write w - w.min(), not w -= w.min().")
    expect(np.shape(picture) == (32, 32, 3), f"the picture has the shape {np.shape(picture)}, expected (32, 32, 3).")
    low, high = np.min(picture), np.max(picture)
    expect(low >= -1e-9 and high <= 1 + 1e-9, f"the numbers run from {low:.2f} to {high:.2f}, expected 0 to 1.")
    expect(high - low > 0.5, f"the numbers run from {low:.2f} to {high:.2f} only: the picture will be pale.")
    flat = np.reshape(picture, -1)
    expect(
        np.corrcoef(flat, w)[0, 1] > 0.999,
        "the numbers are not in the order of the weights, which is row, column, color: w.reshape(32, 32, 3).",
    )
    return "Zero is a middle gray if you divide by twice the largest weight, and add 0.5."
