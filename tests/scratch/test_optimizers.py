"""Optimizers of `zoo.scratch` against torch's: the same start, the same gradients, the same course."""

import numpy as np
import pytest
import torch

from zoo.scratch.optimizers import SGD, Adam, Momentum, Optimizer

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
SIZE = 50


def course(dtype, steps, seed=0):
    """A start, and the gradients of each step: of very different sizes, one of them always 0."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.integers(-4, 3, size=SIZE)
    sizes[0] = 0
    return rng.standard_normal(SIZE).astype(dtype), (sizes * rng.standard_normal((steps, SIZE))).astype(dtype)


def walk(optimizer, gradients, learning_rate):
    for gradient in gradients:
        optimizer.gradients[:] = gradient
        optimizer.step(learning_rate)


def test_every_optimizer_is_compared():
    assert {ours for ours, *_ in OURS_AND_THEIRS.values()} == set(Optimizer.__subclasses__())


@pytest.mark.parametrize("name", OURS_AND_THEIRS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("learning_rate", [0.0, 1e-3, 1e4])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_is_torchs(name, dtype, steps, learning_rate, weight_decay):
    cls, settings, torch_cls, torch_settings = OURS_AND_THEIRS[name]
    start, gradients = course(dtype, steps)
    ours = cls(start.copy(), np.empty_like(start), weight_decay=weight_decay, **settings)
    walk(ours, gradients, learning_rate)

    theirs = torch.tensor(start, requires_grad=True)
    optimizer = torch_cls([theirs], lr=learning_rate, weight_decay=weight_decay, **torch_settings)
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
    expected = theirs.detach().numpy()
    assert np.isfinite(expected).all()
    # Where terms cancel, what remains has the rounding errors of what cancelled.
    rounding = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(ours.parameters, expected, rtol=rounding, atol=rounding * np.abs(expected).max())
    assert ours.parameters.dtype == dtype
    assert ours.step_count == steps


def test_an_average_instead_of_a_sum_is_another_learning_rate():
    """The notebooks' momentum, at 0.05, against ours at 0.05 * (1 - 0.9)."""
    start, gradients = course(np.float64, steps=10)
    parameters, average = start.copy(), np.zeros(SIZE)
    for gradient in gradients:
        average = 0.9 * average + (1 - 0.9) * gradient
        parameters -= 0.05 * average
    ours = Momentum(start.copy(), np.empty(SIZE))
    walk(ours, gradients, 0.005)
    np.testing.assert_allclose(ours.parameters, parameters, rtol=1e-12)


@pytest.mark.parametrize("cls", Optimizer.__subclasses__())
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_changes_the_parameters_in_place_and_nothing_else(cls, weight_decay):
    network, (start, gradients) = np.zeros(2 * SIZE), course(np.float64, 1)
    parameters = network[SIZE:]
    parameters[:] = start
    optimizer = cls(parameters, gradients[0], weight_decay=weight_decay)
    before = gradients.copy()
    optimizer.step(0.1)
    assert (network[SIZE + 1 :] != start[1:]).all()
    assert not network[:SIZE].any()
    np.testing.assert_array_equal(gradients, before)


@pytest.mark.parametrize("cls", Optimizer.__subclasses__())
def test_goes_on_from_a_saved_state_to_the_bit(cls):
    start, gradients = course(np.float32, 10)
    whole = cls(start.copy(), np.empty_like(start))
    walk(whole, gradients, 0.1)

    first = cls(start.copy(), np.empty_like(start))
    walk(first, gradients[:5], 0.1)
    state, halfway = first.state_dict(), first.parameters.copy()
    walk(first, gradients[5:], 0.1)  # must not change what was saved
    second = cls(halfway, np.empty_like(start))
    second.load_state_dict(state)
    walk(second, gradients[5:], 0.1)
    np.testing.assert_array_equal(second.parameters, whole.parameters)
    assert second.step_count == 10
    assert state["step_count"] == 5


def test_refuses_the_state_of_another_optimizer():
    p, g = np.zeros(3), np.zeros(3)
    with pytest.raises(ValueError, match=r"has step_count, velocity; Adam needs step_count, mean, mean_square"):
        Adam(p, g).load_state_dict(Momentum(p, g).state_dict())
    with pytest.raises(ValueError, match=r"'velocity' has shape \(4,\), expected \(3,\)"):
        Momentum(p, g).load_state_dict(Momentum(np.zeros(4), np.zeros(4)).state_dict())


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: SGD(np.zeros(3), np.zeros(4)), r"float64 of shape \(3,\).*float64 of shape \(4,\)"),
        (lambda: SGD(np.zeros(3), np.zeros(3, np.float32)), r"float64 of shape \(3,\).*float32 of shape \(3,\)"),
        (lambda: SGD(np.zeros(3), np.zeros(3), weight_decay=-1), "weight_decay=-1"),
        (lambda: Momentum(np.zeros(3), np.zeros(3), beta=1), "beta=1"),
        (lambda: Adam(np.zeros(3), np.zeros(3), beta1=-0.1), "beta1=-0.1"),
        (lambda: Adam(np.zeros(3), np.zeros(3), beta2=2), "beta2=2"),
        (lambda: Adam(np.zeros(3), np.zeros(3), epsilon=0), "epsilon=0"),
    ],
)
def test_bad_settings(build, problem):
    with pytest.raises(ValueError, match=problem):
        build()
