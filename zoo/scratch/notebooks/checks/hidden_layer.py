"""Checks of the exercises of notebook 2."""

from collections.abc import Callable, Iterable

import numpy as np

from zoo.scratch import neuron
from zoo.scratch.activations import Tanh
from zoo.scratch.initializers import glorot
from zoo.scratch.layers import Dense
from zoo.scratch.network import Network, central_differences
from zoo.scratch.notebooks.checks import WrongError, answered, exercise, expect
from zoo.scratch.notebooks.drawings import xor_points
from zoo.scratch.notebooks.planted_bugs import Suspect, suspects


@exercise
def gradient_check(function: object) -> str:
    """A function (loss, array) that returns the slope of loss() in the direction of each element, by trying."""
    expect(callable(function), "give the function itself, without parentheses.")
    assert callable(function)
    rng = np.random.default_rng(0)

    p = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    slopes = _slopes(function, lambda: float(np.sum(p**2)), p)
    expect(
        np.any(slopes != 0),
        "all slopes are 0 for L = the sum of all p^2. loss() reads the array itself, so change the array, not a copy.",
    )
    expect(
        not np.allclose(slopes, 4 * p, rtol=1e-3),
        "your slopes are twice the right ones. From p - e to p + e it is 2 e, so divide by 2 * e.",
    )
    expect(
        np.allclose(slopes, 2 * p, rtol=1e-2),
        f"for L = the sum of all p^2, you find {_short(slopes)} instead of {_short(2 * p)}.",
    )

    corner = np.zeros(3)
    slopes = _slopes(function, lambda: float(np.sum(np.abs(corner))), corner)
    expect(
        np.allclose(slopes, 0, atol=1e-3),
        f"at the corner of |p| you find {_short(slopes)}, the slope of one side. Look to both sides: "
        "(L(p + e) - L(p - e)) / (2 e).",
    )

    steep = rng.standard_normal((2, 2, 2))
    slopes = _slopes(function, lambda: float(np.sum(np.exp(3 * steep))), steep)
    expect(
        np.allclose(slopes, 3 * np.exp(3 * steep), rtol=1e-5),
        "the slopes of exp(3 p) are right only roughly. Choose another e: 1e-6 leaves about 9 digits.",
    )

    network = Network([Dense(3, 2, glorot, rng, np.float64), Tanh(), Dense(2, 1, glorot, rng, np.float64)])
    x, y = rng.standard_normal((4, 3)), np.array([[1], [0], [0], [1]])

    def loss() -> float:
        return float(neuron.loss(network.forward(x), y).mean())

    worst = 0.0
    for array in network.parameters:
        difference = _slopes(function, loss, array) - central_differences(loss, array)
        worst = max(worst, float(np.abs(difference).max()))
    expect(worst < 1e-6, f"for a network 3-2-1, your slopes differ from the chapter's by up to {worst:.2g}.")
    return "It agrees with the chapter's central_differences for every parameter of a network 3-2-1."


def _slopes(function: Callable[..., object], loss: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """Return what a learner's gradient check finds, as an array, after a look at its shape and side effects."""
    before = array.copy()
    try:
        found = answered(function(loss, array))
    except (IndexError, ValueError) as error:
        raise WrongError(
            f"for an array of shape {array.shape}, your code raised {type(error).__name__}: {error}. "
            "Loop over np.ndindex(array.shape), which suits every shape."
        ) from error
    changed = not np.allclose(array, before, rtol=0, atol=1e-12)
    array[...] = before
    expect(found is not None, "your function returns nothing. Does it end in 'return slopes'?")
    expect(found is not array, "your function returns the array itself. Make a new one: np.zeros_like(array).")
    expect(not changed, "the array is not what it was. Put each element back before you go on to the next.")
    try:
        slopes = np.array(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongError("your function does not return an array of numbers.") from error
    expect(
        slopes.shape == array.shape,
        f"the slopes of an array of shape {array.shape} have the shape {slopes.shape}. "
        "Return an array of one slope for each element.",
    )
    return slopes


def _short(array: np.ndarray) -> str:
    return np.array2string(np.asarray(array).ravel(), precision=3, suppress_small=True, separator=", ")


@exercise
def planted_bugs(wrong: object) -> str:
    """The names of the suspects whose hand-written slopes are wrong."""
    everyone = suspects()
    expect(
        isinstance(wrong, Iterable) and not isinstance(wrong, str | bytes),
        'give a list of names, such as ["alder", "birch"].',
    )
    assert isinstance(wrong, Iterable)
    names = [answered(name) for name in wrong]
    for name in names:
        expect(
            isinstance(name, str) and name in everyone,
            f"there is no suspect {name!r}. There are: {', '.join(everyone)}.",
        )
    guilty = {name for name, suspect in everyone.items() if _largest_error(suspect) > 1e-4}
    innocent = set(names) - guilty
    expect(
        not innocent,
        f"the slopes of {len(innocent)} of those you name are right. Compare the largest difference with 1e-6.",
    )
    missing = len(guilty - set(names))
    expect(
        missing == 0, f"there are more wrong ones: {missing} that you do not name. Check every array of each suspect."
    )
    agree = max(_largest_error(suspect) for name, suspect in everyone.items() if name not in guilty)
    return f"The other {len(everyone) - len(guilty)} agree with central differences to {agree:.0e}."


def _largest_error(suspect: Suspect) -> float:
    """Return the largest difference between a suspect's slopes and central differences."""
    gradients = suspect.gradients()
    return max(
        float(np.abs(gradients[name] - central_differences(suspect.loss, array)).max())
        for name, array in suspect.arrays.items()
    )


@exercise
def equal_start(both_equal: int, output_random: int, both_random: int) -> str:
    """How many different hidden neurons a network 2-8-1 has after training from three starts."""
    given = {"both_equal": both_equal, "output_random": output_random, "both_random": both_random}
    for name, number in given.items():
        whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
        expect(whole and 1 <= number <= 8, f"{name} is {number!r}: give a whole number from 1 to 8.")
    hints = {
        "both_equal": "two neurons with equal weights, in and out, get equal slopes. So what can a step change?",
        "output_random": "the slope of a hidden neuron's output is dL/dz times its own weight in the output layer.",
        "both_random": "what could make two neurons equal that start different?",
    }
    for name, equal in (
        ("both_equal", (True, True)),
        ("output_random", (True, False)),
        ("both_random", (False, False)),
    ):
        found = different_neurons(*equal)
        expect(given[name] == found, f"{name} is not {given[name]}. Hint: {hints[name]}")
    return "Random weights in one of the two layers are enough to make the neurons differ."


def different_neurons(equal_hidden: bool, equal_output: bool, steps: int = 200) -> int:
    """Return how many different hidden neurons a network 2-8-1 has after learning XOR."""
    rng = np.random.default_rng(0)
    x, y = xor_points(rng)
    network = Network([Dense(2, 8, glorot, rng, np.float64), Tanh(), Dense(8, 1, glorot, rng, np.float64)])
    hidden, output = network.layers[0].parameters["weight"], network.layers[2].parameters["weight"]
    if equal_hidden:
        hidden[:] = 0.3
    if equal_output:
        output[:] = 0.3
    for _ in range(steps):
        z = network.forward(x)
        network.backward(neuron.loss_slope(z, y[:, None]) / len(x))
        for p, g in zip(network.parameters, network.gradients, strict=True):
            p -= 0.5 * g
    return len(np.unique(hidden.round(3), axis=1).T)
