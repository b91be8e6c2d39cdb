"""Every hand-written derivative of `zoo.scratch` against central differences, in float64."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from zoo.scratch.activations import Activation, Identity, Sigmoid, Softmax, Tanh
from zoo.scratch.initializers import glorot
from zoo.scratch.layers import Dense
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, NotebookBinaryCrossEntropy
from zoo.scratch.network import Network
from zoo.scratch.optimizers import SGD
from zoo.scratch.regularizers import L1, L2, Regularizer
from zoo.scratch.training import train_step


def of_the_lesson(base: type) -> list[type]:
    """The subclasses that the lesson has: other tests define some of their own."""
    return [cls for cls in base.__subclasses__() if cls.__module__.startswith("zoo.scratch.")]


ACTIVATIONS, REGULARIZERS, LOSSES = map(of_the_lesson, (Activation, Regularizer, Loss))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def central_differences(function, x, step=1e-6):
    """The slope of `function()`, a number, with respect to each element of `x`, which is changed and restored."""
    slopes = np.empty_like(x)
    for position in np.ndindex(x.shape):
        value = x[position]
        x[position] = value + step
        above = function()
        x[position] = value - step
        below = function()
        x[position] = value
        slopes[position] = (above - below) / (2 * step)
    return slopes


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_the_lists_are_whole():
    assert len(ACTIVATIONS) >= 4
    assert len(REGULARIZERS) >= 2
    assert len(LOSSES) >= 3


@pytest.mark.parametrize("cls", ACTIVATIONS)
def test_activation(cls, rng):
    z, weights = 3 * rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
    activation = cls()
    expected = central_differences(lambda: np.sum(weights * activation.forward(z)), z)
    assert_close(weights * activation.derivative(activation.forward(z)), expected)


def test_softmax_jacobian(rng):
    z = rng.standard_normal((3, 4))
    softmax = Softmax()
    jacobian = softmax.jacobian(softmax.forward(z))
    for n in range(3):
        for k in range(4):
            slopes = central_differences(lambda n=n, k=k: softmax.forward(z)[n, k], z)
            assert_close(jacobian[n, k], slopes[n])


def test_softmax_jacobian_times_the_gradient_of_the_loss_is_a_minus_y(rng):
    z, labels = rng.standard_normal((6, 4)), rng.integers(4, size=6)
    a = Softmax().forward(z)
    probabilities = torch.tensor(a, requires_grad=True)
    functional.nll_loss(probabilities.log(), torch.from_numpy(labels)).backward()
    jacobian = Softmax().jacobian(a)
    through_a = np.einsum("nkj,nk->nj", jacobian, probabilities.grad.numpy())
    assert_close(CategoricalCrossEntropy().value_and_gradient(z, labels)[1], through_a)
    one_hot = functional.one_hot(torch.from_numpy(labels), 4).numpy()
    assert_close(through_a * 6, a - one_hot)


@pytest.mark.parametrize(("loss", "classes"), [(BinaryCrossEntropy(), 2), (CategoricalCrossEntropy(), 5)])
@pytest.mark.parametrize("n", [1, 7])
def test_loss(loss, classes, n, rng):
    logits = 3 * rng.standard_normal((n, 1 if classes == 2 else classes))
    labels = rng.integers(classes, size=n)
    expected = central_differences(lambda: loss.value_and_gradient(logits, labels)[0], logits)
    assert_close(loss.value_and_gradient(logits, labels)[1], expected)


def test_the_notebooks_gradient_is_that_of_half_the_squared_error(rng):
    logits, labels = 3 * rng.standard_normal((7, 1)), rng.integers(2, size=7)

    def half_squared_error():
        a = torch.sigmoid(torch.from_numpy(logits))[:, 0]
        return 0.5 * functional.mse_loss(a, torch.from_numpy(labels).double()).item()

    value, gradient = NotebookBinaryCrossEntropy().value_and_gradient(logits, labels)
    assert_close(gradient, central_differences(half_squared_error, logits))
    assert value == BinaryCrossEntropy().value_and_gradient(logits, labels)[0]


@pytest.mark.parametrize("cls", REGULARIZERS)
def test_regularizer(cls, rng):
    weights, gradient = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    regularizer = cls(strength=0.3)
    before = gradient.copy()
    regularizer.add_gradient(weights, gradient)
    assert_close(gradient - before, central_differences(lambda: regularizer.value(weights), weights))


def test_regularizers_leave_a_weight_of_0_alone():
    for cls in REGULARIZERS:
        gradient = np.zeros((2, 2))
        cls(strength=1.0).add_gradient(np.zeros((2, 2)), gradient)
        assert not gradient.any()


@pytest.mark.parametrize("cls", REGULARIZERS)
def test_a_negative_price_is_refused(cls):
    with pytest.raises(ValueError, match=r"strength=-0\.1"):
        cls(strength=-0.1)


@pytest.mark.parametrize("cls", ACTIVATIONS)
@pytest.mark.parametrize("n", [1, 6])
def test_layer(cls, n, rng):
    layer = Dense(4, 3, cls(), glorot, rng, dtype=np.float64)
    layer.bias[:] = rng.standard_normal(3)
    inputs, weights = rng.standard_normal((n, 4)), rng.standard_normal((n, 3))

    def weighted_sum():
        return np.sum(weights * layer.forward(inputs))

    weighted_sum()
    input_gradient = layer.input_gradient(layer.backward(weights)).copy()
    for x, gradient in (
        (layer.weights, layer.weights_gradient),
        (layer.bias, layer.bias_gradient),
        (inputs, input_gradient),
    ):
        assert_close(gradient, central_differences(weighted_sum, x))


@pytest.mark.parametrize("sizes", [[4, 3], [4, 5, 3], [4, 6, 5, 3]])
@pytest.mark.parametrize("regularizer", [None, L2(0.1), L1(0.1)])
def test_network(sizes, regularizer, rng):
    layers = [Dense(d, h, Tanh(), glorot, rng, np.float64) for d, h in pairwise(sizes)]
    layers[-1].activation = Identity()
    network, loss = Network(layers), CategoricalCrossEntropy()
    inputs, labels = rng.standard_normal((6, 4)), rng.integers(3, size=6)
    standing_still = SGD(network.parameters, network.gradients)

    def value():
        return train_step(network, loss, standing_still, inputs, labels, 0.0, regularizer)

    value()
    gradients = network.gradients.copy()
    assert_close(gradients, central_differences(value, network.parameters))


def test_gradient_with_respect_to_the_images(rng):
    layers = [Dense(4, 5, Sigmoid(), glorot, rng, np.float64), Dense(5, 3, Identity(), glorot, rng, np.float64)]
    network, loss = Network(layers), CategoricalCrossEntropy()
    inputs, labels = rng.standard_normal((6, 4)), rng.integers(3, size=6)

    def value_and_gradient():
        return loss.value_and_gradient(network.forward(inputs), labels)

    gradient = value_and_gradient()[1]
    assert network.backward(gradient) is None
    expected = central_differences(lambda: value_and_gradient()[0], inputs)
    assert_close(network.backward(gradient, input_gradient=True), expected)
