"""Checks of the exercises of notebook 5."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.scratch.autograd import Value
from zoo.scratch.network import central_differences
from zoo.scratch.notebooks.checks import WrongError, answered, exercise, expect

SIZE = 9  # rows and columns of the drawn images of `vertical_edges`


@exercise
def vertical_edges(kernel: object) -> str:
    """A kernel that responds to vertical edges alone, judged on drawn images."""
    weights = _numbers(kernel, (3, 3), "the kernel")
    expect(np.any(weights), "all weights are 0: the kernel responds to nothing.")
    weights /= np.abs(weights).max()
    largest = np.abs(weights).sum()  # no output for pixels from 0 to 1 is larger
    for name, image in _images().items():
        outputs = np.array(
            [
                [np.sum(image[i - 1 : i + 2, j - 1 : j + 2] * weights) for j in range(1, SIZE - 1)]
                for i in range(1, SIZE - 1)
            ]
        )
        strongest = outputs.flat[np.abs(outputs).argmax()]
        if name.startswith("vertical"):
            expect(
                abs(strongest) >= 0.2 * largest,
                f"its strongest output on {name} is {strongest:.3g}. Compare the pixels on the left and on the right.",
            )
        else:
            expect(
                abs(strongest) <= 1e-9 * largest,
                f"it puts out {strongest:.3g} on {name}, expected 0. Do the weights of each row add up to 0?",
            )
    return "It responds to vertical edges alone."


def _images() -> dict[str, np.ndarray]:
    """Return drawn images with pixels from 0 to 1, by what is to be seen."""
    step, stripe = np.zeros(SIZE), np.zeros(SIZE)
    step[4:], stripe[3:6] = 1, 1
    columns = np.ones((SIZE, 1))
    return {
        "a flat area": np.ones((SIZE, SIZE)),
        "a horizontal edge": (columns * step).T,
        "a horizontal stripe": (columns * stripe).T,
        "vertical edges": columns * step,
        "vertical stripes": columns * stripe,
    }


def _numbers(found: object, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return what a learner gave as float64 of a given shape, or raise WrongError."""
    try:
        array = np.array(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise WrongError(f"{name} is {found!r}, expected numbers.") from None
    expect(array.shape == shape, f"{name} has the shape {array.shape}, expected {shape}.")
    expect(np.all(np.isfinite(array)), f"{name} contains numbers that are not finite.")
    return array


@exercise
def add_back_1d(function: object) -> str:
    """A function that adds up the slopes of all copies of each number, (n, 3) to (n,)."""
    expect(callable(function), "give the function itself, without parentheses.")
    assert callable(function)
    rng = np.random.default_rng(0)
    for n in (4, 1, 2, 9):
        for slopes in (np.ones((n, 3)), rng.standard_normal((n, 3))):
            given = slopes.copy()
            found = _numbers(answered(function(given)), (n,), f"the result for {n} patches")
            expect(np.array_equal(given, slopes), "your function changes its argument. Add up in a new array.")
            for x in (*np.eye(n), rng.standard_normal(n)):
                left, right = np.sum(_cut(x) * slopes), np.sum(x * found)
                if not np.isclose(left, right, rtol=1e-9, atol=1e-9):
                    shown = " of ones" if np.all(slopes == 1) else ""
                    raise WrongError(
                        f"for slopes{shown} of shape {slopes.shape} and x = {x.round(3)}, the two sums are {left:.4g} "
                        f"and {right:.4g}. Number i is the right one of patch i - 1, the middle one of patch i, "
                        "and the left one of patch i + 1."
                    )
    return "Both sums agree for every x and p that was tried."


def _cut(x: np.ndarray) -> np.ndarray:
    """Return the patch of three around each number, shape (n, 3)."""
    rows = np.zeros((len(x), 3))
    for i in range(len(x)):
        for v in range(3):
            if 0 <= i + v - 1 < len(x):
                rows[i, v] = x[i + v - 1]
    return rows


@exercise
def tape_tanh(function: object) -> str:
    """A function from Value to Value, tanh, with its slope on the tape."""
    expect(callable(function), "give the function itself, without parentheses.")
    assert callable(function)
    place = np.zeros(1)
    for number in (-2.0, -0.3, 0.0, 0.7, 1.5):
        v = Value(number)
        result = _tanh(function, v)
        expect(
            math.isclose(result.number, math.tanh(number), rel_tol=1e-9, abs_tol=1e-12),
            f"for {number} its number is {result.number:.6g}, expected {math.tanh(number):.6g}.",
        )
        result.backward()
        place[:] = number
        tried = central_differences(lambda: math.tanh(place[0]), place)[0]
        expect(
            math.isclose(v.slope, tried, rel_tol=1e-6, abs_tol=1e-8),
            f"at {number} the slope is {v.slope:.6g}, and trying gives {tried:.6g}. It is 1 - a^2 with a = tanh(v).",
        )

    # Used twice, in the middle of an expression and behind another tanh.
    def expression(u: Any, w: Any, tanh: Callable[[Any], Any]) -> Any:
        return tanh(u * w + 0.5) * u + tanh(tanh(w)) * 3.0

    u, w = Value(0.8), Value(-1.2)
    expression(u, w, lambda v: _tanh(function, v)).backward()
    numbers = np.array([0.8, -1.2])
    slopes = central_differences(lambda: float(expression(numbers[0], numbers[1], math.tanh)), numbers)
    expect(
        np.allclose([u.slope, w.slope], slopes, rtol=1e-6, atol=1e-8),
        f"in tanh(u w + 0.5) u + 3 tanh(tanh(w)) the slopes are {u.slope:.6g} and {w.slope:.6g}, "
        f"and trying gives {slopes[0]:.6g} and {slopes[1]:.6g}.",
    )
    return "It agrees with central differences, alone and within a larger expression."


def _tanh(function: object, v: Value) -> Value:
    """Return what a learner's function makes of a value, if it belongs on the tape."""
    assert callable(function)
    number, sources = v.number, list(v.sources)
    result = answered(function(v))
    expect(isinstance(result, Value), f"it returns {type(result).__name__}, expected a Value.")
    expect(v.number == number and list(v.sources) == sources, "your function changes v. Make a new Value.")
    expect(result is not v, "it returns v itself. Make a new Value.")
    answered(result.number)
    expect(
        isinstance(result.sources, (list, tuple)) and all(_is_pair(pair) for pair in result.sources),
        "the sources must be a list of pairs: [(v, slope)].",
    )
    for _, slope in result.sources:
        answered(slope)
    expect(len(result.sources) > 0, "it has no sources, so no slope goes back: Value(number, [(v, slope)]).")
    return result


def _is_pair(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], Value)
