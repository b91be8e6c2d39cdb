"""Checks of the exercises of notebook 4."""

import numpy as np

from zoo.scratch.activations import Activation
from zoo.scratch.network import central_differences
from zoo.scratch.notebooks.checks import answered, exercise, expect
from zoo.scratch.optimizers import Momentum


@exercise
def leaky_relu(kind: object) -> str:
    """A class of an activation: a = z for z > 0, and 0.01 z otherwise."""
    expect(isinstance(kind, type), "give the class itself, without parentheses.")
    assert isinstance(kind, type)
    expect(Activation in kind.__bases__, "write `class LeakyReLU(Activation)`: the options find its subclasses.")
    activation = kind()
    z = np.array([[-3.0, -0.5, 0.25], [2.0, -40.0, 7.0]])
    a = np.array([[-0.03, -0.005, 0.25], [2.0, -0.4, 7.0]])
    slopes = np.array([[0.01, 0.01, 1.0], [1.0, 0.01, 1.0]])
    found_a = _of_the_kind(activation.function, z, "function")
    expect(
        np.allclose(found_a, a, rtol=1e-9, atol=0),
        f"z = {z[0]} gives a = {found_a[0]}, expected {a[0]}: keep z where it is positive, else take 0.01 z.",
    )
    found_slopes = _of_the_kind(activation.slope, a, "slope")
    expect(
        np.allclose(found_slopes, slopes, rtol=1e-9, atol=0),
        f"a = {a[0]} gives the slopes {found_slopes[0]}, expected {slopes[0]}. The slope is 1 where a is positive.",
    )
    expect(np.all(activation.function(np.zeros(2)) == 0), "z = 0 must give a = 0.")
    for function, argument, name in ((activation.function, z, "function"), (activation.slope, a, "slope")):
        result = _of_the_kind(function, argument.astype(np.float32), name)
        expect(
            result.dtype == np.float32,
            f"{name} turns float32 into {result.dtype}, which slows the network down: add .astype(...).",
        )

    weights = np.array([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]])  # a loss: the weighted sum of the outputs
    activation.forward(z)
    gradient = activation.backward(weights)
    tried = central_differences(lambda: float((weights * activation.forward(z)).sum()), z)
    expect(
        np.allclose(gradient, tried, rtol=1e-5),
        f"`backward` gives the slopes {gradient[0]}, and trying gives {tried[0]}.",
    )
    return "Its slopes agree with central differences."


def _of_the_kind(function: object, argument: np.ndarray, name: str) -> np.ndarray:
    """Return the result of a learner's function, an array of the shape of its argument, which must stay as it is."""
    assert callable(function)
    given = argument.copy()
    result = answered(function(given))
    expect(np.array_equal(given, argument), f"{name} changes its argument. Make a new array: 0.01 * z, not z *= 0.01.")
    expect(isinstance(result, np.ndarray), f"{name} returns {type(result).__name__}, expected an array.")
    expect(result.shape == argument.shape, f"{name} turns the shape {argument.shape} into {result.shape}.")
    expect(not np.shares_memory(result, given), f"{name} returns its own argument: make a new array, as np.where does.")
    return result


@exercise
def weights_for_relu(variance: object) -> str:
    """A function from D to the variance of the weights that keeps the mean of z^2 behind a ReLU."""
    expect(callable(variance), "give the function itself, without parentheses.")
    assert callable(variance)
    rng = np.random.default_rng(0)
    half = rng.standard_normal(100_000)
    z = np.concatenate([half, -half])  # positive as often as negative
    share = np.mean(np.maximum(z, 0) ** 2) / np.mean(z**2)  # of the mean square, what ReLU leaves
    sizes, ratios = (4, 50, 800), []
    for num_inputs in sizes:
        value = answered(variance(num_inputs))
        try:
            value = float(value)
        except (TypeError, ValueError):
            expect(False, f"D = {num_inputs} gives {value!r}, expected a number.")
        expect(np.isfinite(value) and value > 0, f"D = {num_inputs} gives {value}: a variance is positive.")
        ratios.append(num_inputs * value * share)  # D * var(w) * (mean of a^2) / (mean of z^2)
    if np.allclose(ratios, 0.5, rtol=1e-3):
        hint = "ReLU sets the negative half to 0. What is left of the mean square?"
    elif np.allclose(ratios, [np.sqrt(0.5 * size) for size in sizes], rtol=1e-3):
        hint = "That is the standard deviation, the root of the variance."
    else:
        hint = "It should stay the same. How much of the mean square does ReLU leave?"
    factors = ", ".join(f"{ratio:.3g}" for ratio in ratios)
    expect(
        np.allclose(ratios, 1, rtol=1e-3),
        f"with D = 4, 50 and 800, the mean of z^2 is multiplied by {factors}. {hint}",
    )
    x = rng.standard_normal((500, 800))
    w = np.sqrt(variance(800)) * rng.standard_normal((800, 2000))
    measured = np.mean((np.maximum(x, 0) @ w) ** 2) / np.mean(x**2)
    return f"Measured with D = 800 and random weights: the mean of z^2 is multiplied by {measured:.2f}."


@exercise
def momentum_step(function: object) -> str:
    """A function (p, g, v, learning_rate, beta) that returns the new p and the new v."""
    expect(callable(function), "give the function itself, without parentheses.")
    assert callable(function)
    rng = np.random.default_rng(0)
    for learning_rate, beta in ((0.1, 0.9), (0.5, 0.6)):
        right_p = rng.standard_normal(3)
        p, v = right_p.copy(), np.zeros(3)
        optimizer = Momentum([right_p], beta=beta)
        for step in range(1, 6):
            g = rng.standard_normal(3)
            given = [p.copy(), g.copy(), v.copy()]
            result = answered(function(*given, learning_rate, beta))
            expect(isinstance(result, tuple) and len(result) == 2, "return two arrays: return new_p, new_v.")
            new_p, new_v = (answered(array) for array in result)
            expect(
                all(np.array_equal(now, before) for now, before in zip(given, (p, g, v), strict=True)),
                "your function changes its arguments. Make new arrays: beta * v + g, not v *= beta.",
            )
            optimizer.step([g], learning_rate)
            for name, found, right, hint in (
                ("v", new_v, optimizer.state[0]["velocity"], "beta times the old v, plus g"),
                ("p", new_p, right_p, "the old p minus the learning rate times the new v"),
            ):
                expect(
                    np.shape(found) == (3,) and np.allclose(found, right, rtol=1e-9, atol=1e-12),
                    f"after step {step} with beta = {beta}, {name} is {found}, expected {right}. Hint: {hint}.",
                )
            p, v = np.array(new_p), np.array(new_v)
    return "Five steps with two settings agree with the chapter."
