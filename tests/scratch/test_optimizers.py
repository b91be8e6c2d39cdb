"""Optimizers of `zoo.scratch` against torch's: the same start, the same gradients, the same course."""

import numpy as np
import pytest
import torch

from zoo.scratch import fast
from zoo.scratch.optimizers import SGD, Adam, Momentum, Optimizer

PLAIN = [SGD, Momentum, Adam]
FAST = {SGD: fast.FastSGD, Momentum: fast.FastMomentum, Adam: fast.FastAdam}
OURS_AND_THEIRS = {
    "SGD": (SGD, {}, torch.optim.SGD, {}),
    "Momentum": (Momentum, {}, torch.optim.SGD, {"momentum": 0.9}),
    "Momentum, beta 0.5": (Momentum, {"beta": 0.5}, torch.optim.SGD, {"momentum": 0.5}),
    "Nesterov": (Momentum, {"nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (Adam, {}, torch.optim.Adam, {}),
    "Adam, other settings": (
        Adam, {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}, torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3},
    ),
}  # fmt: skip
SIZES = (30, 20)


def course(dtype, steps, seed=0):
    """Two arrays to start from, and their gradients of each step: of very different sizes, one of them always 0."""
    rng = np.random.default_rng(seed)
    sizes = [10.0 ** rng.integers(-4, 3, size=size) for size in SIZES]
    sizes[0][0] = 0
    start = [rng.standard_normal(size).astype(dtype) for size in SIZES]
    return start, [[(s * rng.standard_normal(len(s))).astype(dtype) for s in sizes] for _ in range(steps)]


def copies(arrays):
    return [array.copy() for array in arrays]


def test_every_optimizer_is_compared():
    assert {ours for ours, *_ in OURS_AND_THEIRS.values()} == {*Optimizer.__subclasses__()} - {fast.FastOptimizer}
    assert set(FAST.values()) == set(fast.FastOptimizer.__subclasses__())


@pytest.mark.parametrize("name", OURS_AND_THEIRS)
@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("learning_rate", [0.0, 1e-3, 1e4])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_is_torchs(name, is_fast, dtype, steps, learning_rate, weight_decay):
    cls, settings, torch_cls, torch_settings = OURS_AND_THEIRS[name]
    start, gradients = course(dtype, steps)
    ours = (FAST[cls] if is_fast else cls)(copies(start), weight_decay=weight_decay, **settings)
    theirs = [torch.tensor(array, requires_grad=True) for array in start]
    optimizer = torch_cls(theirs, lr=learning_rate, weight_decay=weight_decay, **torch_settings)
    for step in gradients:
        ours.step(step, learning_rate)
        for tensor, gradient in zip(theirs, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
    expected = np.concatenate([tensor.detach().numpy() for tensor in theirs])
    found = np.concatenate(ours.parameters)
    assert np.isfinite(expected).all()
    # Where terms cancel, what remains has the rounding errors of what cancelled.
    rounding = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=rounding, atol=rounding * np.abs(expected).max())
    assert found.dtype == dtype
    assert ours.step_count == steps


def test_an_average_instead_of_a_sum_is_another_learning_rate():
    """The notebooks' momentum, at 0.05, against ours at 0.05 * (1 - 0.9)."""
    start, gradients = course(np.float64, steps=10)
    parameters, average = start[0].copy(), np.zeros(SIZES[0])
    for gradient, _ in gradients:
        average = 0.9 * average + (1 - 0.9) * gradient
        parameters -= 0.05 * average
    ours = Momentum(copies(start))
    for step in gradients:
        ours.step(step, 0.005)
    np.testing.assert_allclose(ours.parameters[0], parameters, rtol=1e-12)


@pytest.mark.parametrize("cls", [*PLAIN, *FAST.values()])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_changes_the_parameters_in_place_and_nothing_else(cls, weight_decay):
    size = SIZES[0]
    memory, (start, gradients) = np.zeros(2 * size), course(np.float64, 1)
    parameters = memory[size:]
    parameters[:] = start[0]
    gradient = gradients[0][0]
    before = gradient.copy()
    cls([parameters], weight_decay=weight_decay).step([gradient], 0.1)
    assert (memory[size + 1 :] != start[0][1:]).all()
    assert not memory[:size].any()
    np.testing.assert_array_equal(gradient, before)


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: SGD([np.zeros(3)]).step([], 0.1), "zip"),
        (lambda: SGD([np.zeros(3)], weight_decay=-1), "weight_decay=-1"),
        (lambda: Momentum([np.zeros(3)], beta=1), "beta=1"),
        (lambda: Adam([np.zeros(3)], beta1=-0.1), "beta1=-0.1"),
        (lambda: Adam([np.zeros(3)], beta2=2), "beta2=2"),
        (lambda: Adam([np.zeros(3)], epsilon=0), "epsilon=0"),
    ],
)
def test_bad_settings(build, problem):
    with pytest.raises(ValueError, match=problem):
        build()
