"""Every hand-written derivative of `zoo.scratch` against central differences in float64, and against torch's."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from zoo.scratch import neuron
from zoo.scratch.activations import Activation, ReLU, Sigmoid, Tanh
from zoo.scratch.autograd import Value
from zoo.scratch.batch_norm import BatchNorm
from zoo.scratch.convolution import Conv2D, add_back, patches
from zoo.scratch.dropout import Dropout
from zoo.scratch.fast import FAST, FastNetwork
from zoo.scratch.initializers import glorot, he
from zoo.scratch.layers import Dense, Flatten, Layer
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, NotebookBinaryCrossEntropy
from zoo.scratch.network import Network, central_differences
from zoo.scratch.optimizers import SGD
from zoo.scratch.pooling import MaxPool2D
from zoo.scratch.regularizers import L1, L2, Regularizer
from zoo.scratch.softmax import log_softmax, softmax, softmax_jacobian
from zoo.scratch.training import train_step


def of_the_lesson(base: type) -> set[type]:
    """The classes of the lesson that are made from a base: other tests define some of their own."""
    kinds = {base}
    for cls in base.__subclasses__():
        kinds |= of_the_lesson(cls)
    return {
        cls for cls in kinds if re.match(r"zoo\.scratch\.(?!notebooks)", cls.__module__) and not cls.__abstractmethods__
    }


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Each layer, the shape of its inputs for one image, and the same function of torch, of inputs (n, ..., channels).
DOUBLE = {"dtype": np.float64}
LAYERS = {
    "Dense": (lambda: Dense(4, 3, glorot, rng(), **DOUBLE), (4,), lambda x, p: x @ p["weight"] + p["bias"]),
    "Flatten": (Flatten, (2, 3, 4), lambda x, p: x.flatten(1)),
    "ReLU": (ReLU, (5,), lambda x, p: torch.relu(x)),
    "Sigmoid": (Sigmoid, (5,), lambda x, p: torch.sigmoid(x)),
    "Tanh": (Tanh, (5,), lambda x, p: torch.tanh(x)),
    "Conv2D": (
        lambda: Conv2D(2, 3, he, rng(), **DOUBLE),
        (5, 4, 2),
        lambda x, p: channels_last(
            functional.conv2d(channels_first(x), p["weight"].permute(3, 2, 0, 1), p["bias"], padding=1)
        ),
    ),
    "Conv2D, 5 x 5": (
        lambda: Conv2D(2, 3, he, rng(), size=5, **DOUBLE),
        (4, 6, 2),
        lambda x, p: channels_last(
            functional.conv2d(channels_first(x), p["weight"].permute(3, 2, 0, 1), p["bias"], padding=2)
        ),
    ),
    "MaxPool2D": (MaxPool2D, (4, 6, 2), lambda x, p: channels_last(functional.max_pool2d(channels_first(x), 2))),
    "MaxPool2D, of 3": (
        lambda: MaxPool2D(3),
        (7, 6, 2),
        lambda x, p: channels_last(functional.max_pool2d(channels_first(x), 3)),
    ),
    "BatchNorm": (
        lambda: BatchNorm(3, **DOUBLE),
        (3,),
        lambda x, p: functional.batch_norm(x, None, None, p["weight"], p["bias"], training=True),
    ),
    "BatchNorm of maps": (
        lambda: BatchNorm(3, **DOUBLE),
        (2, 4, 3),
        lambda x, p: channels_last(
            functional.batch_norm(channels_first(x), None, None, p["weight"], p["bias"], training=True)
        ),
    ),
    "Dropout": (lambda: Dropout(0.4, rng()), (6,), None),
}
# An activation that a reader adds, as notebook 4 asks, is checked too, without torch.
LAYERS |= {
    kind.__name__: (kind, (5,), None)
    for kind in of_the_lesson(Activation) - set(FAST.values())
    if kind.__name__ not in LAYERS
}


def channels_first(x):
    return x.permute(0, 3, 1, 2)


def channels_last(x):
    return x.permute(0, 2, 3, 1)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_every_class_of_the_lesson_is_checked():
    checked = {type(make()) for make, *_ in LAYERS.values()}
    assert of_the_lesson(Layer) == checked | {FAST[kind] for kind in checked if kind in FAST}
    assert of_the_lesson(Loss) == {BinaryCrossEntropy, CategoricalCrossEntropy, NotebookBinaryCrossEntropy}
    assert of_the_lesson(Regularizer) == {L1, L2}
    assert {ReLU, Sigmoid, Tanh} <= set(Activation.__subclasses__())


def prepared(name, n):
    """A layer with parameters other than its first ones; inputs, and weights of its outputs."""
    make, shape, theirs = LAYERS[name]
    layer, random = make(), rng(1)
    for parameter in layer.parameters.values():
        parameter += random.standard_normal(parameter.shape)
    x = 2 * random.standard_normal((n, *shape))
    return layer, x, random.standard_normal((n, *layer.output_shape(shape))), theirs


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("n", [2, 5])
def test_layer_against_central_differences(name, n):
    layer, x, weights, _ = prepared(name, n)

    def weighted_sum():
        if hasattr(layer, "rng"):
            layer.rng = rng(3)  # the same units are dropped each time
        return float(np.sum(weights * layer.forward(x)))

    weighted_sum()
    before = weights.copy()
    input_gradient = layer.backward(weights).copy()
    gradients = {key: gradient.copy() for key, gradient in layer.gradients.items()}
    np.testing.assert_array_equal(weights, before)
    assert list(gradients) == list(layer.parameters)
    for key, parameter in layer.parameters.items():
        assert_close(gradients[key], central_differences(weighted_sum, parameter))
    assert_close(input_gradient, central_differences(weighted_sum, x))


@pytest.mark.parametrize("name", [name for name, (_, _, theirs) in LAYERS.items() if theirs])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_against_torch(name, dtype):
    layer, x, weights, theirs = prepared(name, 5)
    x, weights = x.astype(dtype), weights.astype(dtype)
    for key in layer.parameters:
        layer.parameters[key] = layer.parameters[key].astype(dtype)
    outputs = layer.forward(x)
    slopes = layer.backward(weights)
    inputs = torch.tensor(x, requires_grad=True)
    parameters = {key: torch.tensor(array, requires_grad=True) for key, array in layer.parameters.items()}
    expected = theirs(inputs, parameters)
    expected.backward(torch.from_numpy(weights))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(outputs, expected.detach().numpy(), **tolerance)
    np.testing.assert_allclose(slopes, inputs.grad.numpy(), **tolerance)
    for key, parameter in parameters.items():
        np.testing.assert_allclose(layer.gradients[key], parameter.grad.numpy(), **tolerance)
    assert outputs.dtype == slopes.dtype == dtype
    assert outputs.shape[1:] == layer.output_shape(x.shape[1:])


def test_pooling_gives_the_slope_to_the_first_of_equal_places():
    x = torch.tensor([[[[1.0], [1.0]], [[1.0], [1.0]]]], dtype=torch.float64, requires_grad=True)
    functional.max_pool2d(channels_first(x), 2).sum().backward()
    layer = MaxPool2D()
    layer.forward(x.detach().numpy())
    found = layer.backward(np.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(found, x.grad.numpy())
    assert found.sum() == found[0, 0, 0, 0] == 1


def test_batch_norm_moves_its_averages_as_torch_does_and_uses_them():
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for seed in range(4):
        x = (1 + 3 * rng(seed).standard_normal((6, 2, 2, 3))).astype(np.float32)
        ours.forward(x)
        theirs(channels_first(torch.from_numpy(x)))
    np.testing.assert_allclose(ours.state["running_mean"], theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ours.state["running_var"], theirs.running_var.numpy(), rtol=1e-5)
    before = {name: array.copy() for name, array in ours.state.items()}
    ours.training = False
    theirs.eval()
    expected = channels_last(theirs(channels_first(torch.from_numpy(x)))).detach().numpy()
    np.testing.assert_allclose(ours.forward(x), expected, rtol=1e-4, atol=1e-5)
    for name, array in ours.state.items():
        np.testing.assert_array_equal(array, before[name])
    layer = BatchNorm(3, dtype=np.float64)
    layer.training, layer.state["running_var"] = False, np.array([4.0, 1.0, 9.0])
    x = rng().standard_normal((4, 3))
    layer.forward(x)
    slopes = layer.backward(np.ones((4, 3)))
    assert_close(slopes, central_differences(lambda: float(layer.forward(x).sum()), x))


def test_batch_norm_refuses_a_single_number():
    with pytest.raises(ValueError, match="2 images or more"):
        BatchNorm(3).forward(np.ones((1, 3), np.float32))
    assert BatchNorm(3).forward(np.ones((1, 2, 2, 3), np.float32)).shape == (1, 2, 2, 3)


def test_dropout_keeps_the_mean_and_drops_nothing_when_used():
    layer, x = Dropout(0.25, rng()), np.ones((100, 1000), np.float32)
    found = layer.forward(x)
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(1, abs=0.01)
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert set(np.unique(found)) == {0, np.float32(1 / 0.75)}
    assert not np.array_equal(found, layer.forward(x)), "anew for every batch"
    layer.training = False
    np.testing.assert_array_equal(layer.forward(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_dropout_refuses(rate):
    with pytest.raises(ValueError, match=f"rate={rate}"):
        Dropout(rate, rng())


@pytest.mark.parametrize("size", [0, 2, -1])
def test_kernels_without_a_middle_are_refused(size):
    with pytest.raises(ValueError, match=f"size={size}"):
        Conv2D(3, 4, he, rng(), size=size)


@given(
    shape=st.tuples(*(st.integers(1, limit) for limit in (3, 6, 6, 3))),
    size=st.sampled_from([1, 3, 5]),
    seed=st.integers(0, 9),
)
def test_add_back_is_the_transpose_of_patches(shape, size, seed):
    """<patches(x), p> = <x, add_back(p)> for every x and p."""
    x = rng(seed).standard_normal(shape)
    cut = patches(x, size)
    p = rng(seed + 1).standard_normal(cut.shape)
    np.testing.assert_allclose(np.sum(cut * p), np.sum(x * add_back(p, size)), rtol=1e-9, atol=1e-9)


def test_softmax_jacobian():
    z = rng().standard_normal((3, 4))
    jacobian = softmax_jacobian(softmax(z))
    for n in range(3):
        for k in range(4):
            slopes = central_differences(lambda n=n, k=k: softmax(z)[n, k], z)
            assert_close(jacobian[n, k], slopes[n])
    assert_close(log_softmax(z), np.log(softmax(z)))


def test_softmax_jacobian_times_the_gradient_of_the_loss_is_a_minus_y():
    z, labels = rng().standard_normal((6, 4)), rng().integers(4, size=6)
    a = softmax(z)
    probabilities = torch.tensor(a, requires_grad=True)
    functional.nll_loss(probabilities.log(), torch.from_numpy(labels)).backward()
    through_a = np.einsum("nkj,nk->nj", softmax_jacobian(a), probabilities.grad.numpy())
    assert_close(CategoricalCrossEntropy().value_and_gradient(z, labels)[1], through_a)
    one_hot = functional.one_hot(torch.from_numpy(labels), 4).numpy()
    assert_close(through_a * 6, a - one_hot)


@pytest.mark.parametrize(("loss", "classes"), [(BinaryCrossEntropy(), 2), (CategoricalCrossEntropy(), 5)])
@pytest.mark.parametrize("n", [1, 7])
def test_loss(loss, classes, n):
    logits = 3 * rng().standard_normal((n, 1 if classes == 2 else classes))
    labels = rng().integers(classes, size=n)
    expected = central_differences(lambda: loss.value_and_gradient(logits, labels)[0], logits)
    assert_close(loss.value_and_gradient(logits, labels)[1], expected)


def test_the_notebooks_gradient_is_that_of_half_the_squared_error():
    logits, labels = 3 * rng().standard_normal((7, 1)), rng().integers(2, size=7)

    def half_squared_error():
        a = torch.sigmoid(torch.from_numpy(logits))[:, 0]
        return 0.5 * functional.mse_loss(a, torch.from_numpy(labels).double()).item()

    value, gradient = NotebookBinaryCrossEntropy().value_and_gradient(logits, labels)
    assert_close(gradient, central_differences(half_squared_error, logits))
    assert value == BinaryCrossEntropy().value_and_gradient(logits, labels)[0]


@pytest.mark.parametrize("cls", [L1, L2])
def test_regularizer(cls):
    weights, regularizer = rng().standard_normal((3, 4)), cls(strength=0.3)
    assert_close(regularizer.slope(weights), central_differences(lambda: regularizer.value(weights), weights))
    assert not regularizer.slope(np.zeros((2, 2))).any()


@pytest.mark.parametrize("cls", [L1, L2])
def test_a_negative_penalty_is_refused(cls):
    with pytest.raises(ValueError, match=r"strength=-0\.1"):
        cls(strength=-0.1)


def small_network(kind=Network) -> Network:
    random = rng()
    return kind(
        [
            Conv2D(3, 4, he, random, dtype=np.float64),
            MaxPool2D(),
            ReLU(),
            Conv2D(4, 5, he, random, dtype=np.float64),
            BatchNorm(5, dtype=np.float64),
            Tanh(),
            MaxPool2D(),
            Flatten(),
            Dense(20, 6, he, random, dtype=np.float64),
            Sigmoid(),
            Dense(6, 3, he, random, dtype=np.float64),
        ]
    )


@pytest.mark.parametrize("regularizer", [None, L2(0.1), L1(0.1)])
@pytest.mark.parametrize("kind", [Network, FastNetwork])
def test_network(kind, regularizer):
    network, loss = small_network(kind), CategoricalCrossEntropy()
    inputs, labels = rng().standard_normal((4, 8, 8, 3)), rng().integers(3, size=4)
    kept = []

    class StandingStill(SGD):
        def step(self, gradients, learning_rate):
            kept[:] = [gradient.copy() for gradient in gradients]

    def value():
        return train_step(network, loss, StandingStill(network.parameters), inputs, labels, 0.0, regularizer)

    value()
    for gradient, parameter in zip(list(kept), network.parameters, strict=True):
        assert_close(gradient, central_differences(value, parameter))


@pytest.mark.parametrize("kind", [Network, FastNetwork])
def test_gradient_with_respect_to_the_images(kind):
    network, loss = small_network(kind), CategoricalCrossEntropy()
    inputs, labels = rng().standard_normal((4, 8, 8, 3)), rng().integers(3, size=4)

    def value_and_gradient():
        return loss.value_and_gradient(network.forward(inputs), labels)

    options = {"input_gradient": True} if kind is FastNetwork else {}
    found = network.backward(value_and_gradient()[1], **options).copy()
    assert_close(found, central_differences(lambda: value_and_gradient()[0], inputs))


def test_central_differences_need_float64():
    with pytest.raises(ValueError, match="float32: central differences need float64"):
        central_differences(lambda: 0.0, np.zeros(3, np.float32))


def test_a_neuron():
    """The numbers of the chapter, and every slope."""
    x, y, w = rng().standard_normal((7, 3)), rng().integers(2, size=7), rng(1).standard_normal(3)
    z = neuron.weigh(x, w, 0.3)
    dw, db = neuron.gradient(x, z, y)
    assert_close(dw, central_differences(lambda: neuron.loss(neuron.weigh(x, w, 0.3), y).mean(), w))
    b = np.array(0.3)
    assert_close(db, central_differences(lambda: neuron.loss(neuron.weigh(x, w, b), y).mean(), b))
    assert_close(neuron.loss_slope(z, y), central_differences(lambda: neuron.loss(z, y).sum(), z))


def test_the_tape_finds_the_slopes_of_a_network():
    """Two inputs, three ReLUs, two logits, cross-entropy: the same slopes as torch's, to the last digits."""
    values = rng().standard_normal(3 * 2 + 3 + 2 * 3 + 2)
    tape, tensor = [Value(v) for v in values], torch.tensor(values, requires_grad=True)

    def loss(p, exp, log, relu):
        x = (0.7, -1.2)
        hidden = [relu(p[3 * i] * x[0] + p[3 * i + 1] * x[1] + p[3 * i + 2]) for i in range(3)]
        z = [p[k] * hidden[0] + p[k + 1] * hidden[1] + p[k + 2] * hidden[2] + p[k + 3] for k in (9, 13)]
        return log(exp(z[0]) + exp(z[1])) - z[1]

    found = loss(tape, Value.exp, Value.log, Value.relu)
    found.backward()
    expected = loss(tensor, torch.exp, torch.log, torch.relu)
    expected.backward()
    assert found.number == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose([v.slope for v in tape], tensor.grad.numpy(), rtol=1e-12, atol=1e-12)
    found.backward()
    np.testing.assert_allclose([v.slope for v in tape], tensor.grad.numpy(), rtol=1e-12, err_msg="anew each time")


def test_the_tape_adds_up_paths_and_takes_numbers_on_both_sides():
    x = Value(3.0)
    (2 + x * x * 2 - x + 1 * x - -x).backward()
    assert x.slope == 4 * 3 + 1
    deep = x
    for _ in range(5000):
        deep = deep + 1.0
    deep.backward()
    assert x.slope == 1
