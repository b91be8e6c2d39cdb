"""Networks of `zoo.scratch`: their torch twins, the fast forms and their memory, and what is refused."""

import copy
import pickle
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from zoo.scratch.activations import ReLU, Sigmoid, Tanh
from zoo.scratch.batch_norm import BatchNorm
from zoo.scratch.convolution import Conv2D
from zoo.scratch.dropout import Dropout
from zoo.scratch.fast import FastAdam, FastMomentum, FastNetwork, FastSGD
from zoo.scratch.initializers import glorot, he, small_normal
from zoo.scratch.layers import Dense, Flatten, Layer
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from zoo.scratch.network import Network
from zoo.scratch.optimizers import SGD, Adam, Momentum
from zoo.scratch.pooling import MaxPool2D
from zoo.scratch.regularizers import L1, L2
from zoo.scratch.training import evaluate, predictions, train_epoch, train_step

KINDS = [Network, FastNetwork]


class Doubling(Layer):
    """A layer of one's own, without a fast form, that learns a factor. It makes a new dictionary for its gradients."""

    def __init__(self, dtype=np.float32):
        super().__init__()
        self.parameters["factor"] = np.full(1, 2, dtype)

    def forward(self, x):
        self.x = x
        return x * self.parameters["factor"]

    def backward(self, gradient):
        self.gradients = {"factor": np.sum(gradient * self.x).reshape(1)}
        return gradient * self.parameters["factor"]


def make_network(*sizes, activation=ReLU, dtype=np.float32, seed=0, kind=Network):
    """3072-64-10 is `make_network(3072, 64, 10)`."""
    rng, layers = np.random.default_rng(seed), []
    for d, h in pairwise(sizes):
        layers += [Dense(d, h, he, rng, dtype), activation()]
    return kind(layers[:-1])


def every_layer(kind, dtype=np.float32):
    rng = np.random.default_rng(0)
    return kind(
        [
            Conv2D(3, 8, he, rng, dtype=dtype),
            MaxPool2D(),
            ReLU(),
            Conv2D(8, 6, glorot, rng, size=5, dtype=dtype),
            BatchNorm(6, dtype=dtype),
            Tanh(),
            MaxPool2D(),
            Doubling(dtype),
            Flatten(),
            Dense(24, 12, he, rng, dtype),
            Sigmoid(),
            Dropout(0.3, np.random.default_rng(5)),
            Dense(12, 3, he, rng, dtype),
        ]
    )


def make_batches(sizes, inputs, classes, dtype=np.float32, seed=1):
    rng, shape = np.random.default_rng(seed), (inputs,) if isinstance(inputs, int) else inputs
    return [(rng.standard_normal((n, *shape)).astype(dtype), rng.integers(classes, size=n)) for n in sizes]


def make_twin(network, activation):
    modules = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            linear = nn.Linear(*layer.parameters["weight"].shape)
            linear.weight = nn.Parameter(torch.tensor(layer.parameters["weight"].T.copy()))
            linear.bias = nn.Parameter(torch.tensor(layer.parameters["bias"]))
            modules.append(linear)
        else:
            modules.append(activation())
    return nn.Sequential(*modules)


def test_a_convolution_computes_the_same_with_any_number_of_threads(monkeypatch):
    """Each of its groups of images, here of one or two, has arrays of its own."""
    monkeypatch.setattr("zoo.scratch.fast.PATCH_BYTES", 100_000)
    found = []
    for threads in (1, 2, 3):
        rng = np.random.default_rng(1)
        network = FastNetwork([Conv2D(3, 8, he, rng), ReLU(), Conv2D(8, 6, he, rng)])
        network.set_threads(threads)
        for _ in range(5):
            x, slopes = (rng.standard_normal((9, 16, 16, c)).astype(np.float32) for c in (3, 6))
            z = network.forward(x).copy()
            dx = network.backward(slopes, input_gradient=True).copy()
        found.append((z, dx, network.flat_gradients))
    for other in found[1:]:
        for array, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ReLU, nn.ReLU), (Sigmoid, nn.Sigmoid), (Tanh, nn.Tanh)], ids=["ReLU", "Sigmoid", "Tanh"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-10)])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_trains_like_its_torch_twin(ours, theirs, dtype, tolerance, classes, kind):
    """100 steps from the same weights, with batches of 16, 1 and 5 images among them: the same loss at each."""
    binary = classes == 2
    network = make_network(20, 12, 8, 1 if binary else classes, activation=ours, dtype=dtype, kind=kind)
    twin = make_twin(network, theirs)
    batches = make_batches([16, 1, 16, 5] * 25, 20, classes, dtype)
    loss = BinaryCrossEntropy() if binary else CategoricalCrossEntropy()
    optimizer = (Momentum if kind is Network else FastMomentum)(network.parameters, weight_decay=1e-3)
    their_optimizer = torch.optim.SGD(twin.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)

    losses, their_losses = [], []
    for inputs, labels in batches:
        losses.append(train_step(network, loss, optimizer, inputs, labels, 0.02))
        logits, y = twin(torch.from_numpy(inputs)), torch.from_numpy(labels)
        if binary:
            value = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype))
        else:
            value = nn.functional.cross_entropy(logits, y)
        their_optimizer.zero_grad()
        value.backward()
        their_optimizer.step()
        their_losses.append(value.item())
    np.testing.assert_allclose(losses, their_losses, rtol=tolerance)
    assert losses[-2] != losses[2]


@pytest.mark.parametrize("regularizer", [None, L1(1e-3), L2(1e-2)])
@pytest.mark.parametrize(
    ("plain", "fast"), [(SGD, FastSGD), (Momentum, FastMomentum), (Adam, FastAdam)], ids=["SGD", "Momentum", "Adam"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-3), (np.float64, 1e-7)])
def test_the_fast_forms_learn_what_the_plain_ones_learn(dtype, tolerance, plain, fast, regularizer):
    """Every layer, and one of one's own; batches of all sizes, larger than a block of a convolution among them."""
    losses, networks, batches = [], [], make_batches([8, 3, 20, 2, 8], (8, 8, 3), 3, dtype)
    for kind, rule in ((Network, plain), (FastNetwork, fast)):
        network = every_layer(kind, dtype)
        optimizer = rule(network.parameters, weight_decay=1e-2)
        losses.append(
            [train_step(network, CategoricalCrossEntropy(), optimizer, *batch, 0.01, regularizer) for batch in batches]
        )
        losses[-1].append(evaluate(network, CategoricalCrossEntropy(), batches)[0])
        networks.append(network)
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)
    flat = np.concatenate([parameter.ravel() for parameter in networks[0].parameters])
    np.testing.assert_allclose(networks[1].flat, flat, rtol=tolerance, atol=tolerance)
    assert networks[1].layers[7].parameters["factor"] != 2, "a layer of one's own learns"


@pytest.mark.parametrize("block", [1, 1 << 12, 1 << 30])
def test_a_convolution_in_blocks_is_the_plain_one(block, monkeypatch):
    monkeypatch.setattr("zoo.scratch.fast.PATCH_BYTES", block)
    plain, fast = every_layer(Network, np.float64), every_layer(FastNetwork, np.float64)
    ((inputs, labels),) = make_batches([7], (8, 8, 3), 3, np.float64)
    results = []
    for network in (plain, fast):
        gradient = CategoricalCrossEntropy().value_and_gradient(network.forward(inputs), labels)[1]
        options = {"input_gradient": True} if network is fast else {}
        slopes = network.backward(gradient, **options)
        results.append((slopes, np.concatenate([g.ravel() for g in network.gradients])))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_torchs_adam_drives_the_network_through_shared_memory():
    network, other = make_network(6, 5, 3, kind=FastNetwork), make_network(6, 5, 3)
    parameters, gradients = torch.from_numpy(network.flat), torch.from_numpy(network.flat_gradients)
    parameters.grad = gradients
    theirs, ours = torch.optim.Adam([parameters], lr=0.01), Adam(other.parameters)
    loss = CategoricalCrossEntropy()
    for inputs, labels in make_batches([8] * 20, 6, 3):
        network.backward(loss.value_and_gradient(network.forward(inputs), labels)[1])
        theirs.step()
        train_step(other, loss, ours, inputs, labels, 0.01)
    expected = np.concatenate([parameter.ravel() for parameter in other.parameters])
    np.testing.assert_allclose(network.flat, expected, rtol=1e-3, atol=1e-5)


def test_parameters_lie_in_order_in_one_array():
    network = make_network(4, 3, 2, kind=FastNetwork)
    assert network.flat.shape == network.flat_gradients.shape == (4 * 3 + 3 + 3 * 2 + 2,)
    network.flat[:] = np.arange(23)
    network.flat_gradients[:] = -np.arange(23)
    first, _, last = network.layers
    np.testing.assert_array_equal(first.parameters["weight"], np.arange(12).reshape(4, 3))
    np.testing.assert_array_equal(first.parameters["bias"], [12, 13, 14])
    np.testing.assert_array_equal(last.parameters["weight"], np.arange(15, 21).reshape(3, 2))
    np.testing.assert_array_equal(last.parameters["bias"], [21, 22])
    np.testing.assert_array_equal(last.gradients["weight"], -last.parameters["weight"])
    np.testing.assert_array_equal(first.gradients["bias"], -first.parameters["bias"])


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_assigns_weights_changes_what_learns(kind):
    network = make_network(4, 3, 2, kind=kind)
    layer = network.layers[0]
    layer.parameters["weight"] = np.zeros((4, 3), np.float32)
    optimizer = SGD(network.parameters)
    ((inputs, labels),) = make_batches([8], 4, 2)
    layer.parameters["bias"][:] = 1
    train_step(network, CategoricalCrossEntropy(), optimizer, inputs, labels, 0.5)
    assert layer.parameters["weight"].any()
    assert any(np.shares_memory(layer.parameters["weight"], array) for array in network.parameters)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_is_whole_and_apart(duplicate):
    network = every_layer(FastNetwork)
    network.set_training(False)
    ((inputs, _),) = make_batches([4], (8, 8, 3), 3)
    expected = network.forward(inputs).copy()
    twin = duplicate(network)
    np.testing.assert_array_equal(twin.forward(inputs), expected)
    twin.flat[:] = 0
    assert not twin.forward(inputs).any()
    np.testing.assert_array_equal(network.forward(inputs), expected)
    for layer in twin.layers:
        for parts, whole in ((layer.parameters, twin.flat), (layer.gradients, twin.flat_gradients)):
            assert all(np.shares_memory(part, whole) for part in parts.values())
    twin.layers[4].state["running_mean"] = np.ones(6, np.float32)
    assert not network.layers[4].state["running_mean"].any()


def test_batches_of_any_size_in_any_order():
    """The memory that is used again leaves nothing of an earlier batch behind."""
    loss, network = CategoricalCrossEntropy(), every_layer(FastNetwork)
    for inputs, labels in make_batches([8, 3, 2, 20, 8, 2], (8, 8, 3), 3):
        fresh = every_layer(FastNetwork)
        results = []
        for net in (network, fresh):
            net.layers[11].rng = np.random.default_rng(0)
            logits = net.forward(inputs)
            assert logits.shape == (len(inputs), 3)
            input_gradient = net.backward(loss.value_and_gradient(logits, labels)[1], input_gradient=True)
            results.append((logits.copy(), input_gradient.copy(), net.flat_gradients.copy()))
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)


def test_memory_is_fetched_once():
    network = make_network(6, 5, 3, kind=FastNetwork)
    (large, _), (small, _) = make_batches([8, 3], 6, 3)
    first = network.forward(large)
    assert np.shares_memory(first, network.forward(small))
    assert np.shares_memory(first, network.forward(large))


@pytest.mark.parametrize("kind", KINDS)
def test_backward_leaves_inputs_and_gradient_alone(kind):
    network = every_layer(kind)
    ((inputs, labels),) = make_batches([4], (8, 8, 3), 3)
    gradient = CategoricalCrossEntropy().value_and_gradient(network.forward(inputs), labels)[1]
    copies = inputs.copy(), gradient.copy()
    network.backward(gradient)
    np.testing.assert_array_equal(inputs, copies[0])
    np.testing.assert_array_equal(gradient, copies[1])


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (np.zeros((2, 5), np.float32), "(2, 5), expected float32 of shape (N, 4)"),
        (np.zeros(4, np.float32), "(4,), expected float32 of shape (N, 4)"),
        (np.zeros((2, 4)), "float64 of shape (2, 4), expected float32"),
        (np.zeros((2, 4), np.uint8), "uint8 of shape (2, 4), expected float32"),
    ],
)
def test_inputs_that_do_not_fit(inputs, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        make_network(4, 3, 2, kind=FastNetwork).forward(inputs)


def test_images_that_do_not_fit():
    with pytest.raises(ValueError, match=re.escape("(2, 8, 8, 4), expected float32 of shape (N, h, w, 3)")):
        every_layer(FastNetwork).forward(np.zeros((2, 8, 8, 4), np.float32))


def test_networks_that_are_refused():
    rng = np.random.default_rng(0)
    for kind in KINDS:
        with pytest.raises(ValueError, match="at least one layer"):
            kind([])
    with pytest.raises(ValueError, match="the parameters are float32 and float64"):
        FastNetwork([Dense(5, 3, he, rng), Dense(3, 2, he, rng, np.float64)])


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_of_outputs(kind):
    network = every_layer(kind)
    shape, x = (8, 8, 3), np.zeros((2, 8, 8, 3), np.float32)
    for layer in network.layers:
        shape, x = layer.output_shape(shape), layer.forward(x)
        assert x.shape == (2, *shape)
    assert network.output_shape((8, 8, 3)) == (3,)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (he, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
        (glorot, nn.init.xavier_uniform_),
        (small_normal, lambda w: nn.init.normal_(w, std=0.01)),
    ],
    ids=["he", "glorot", "small_normal"],
)
def test_initializers_draw_as_torchs(ours, theirs):
    torch.manual_seed(0)
    drawn = ours(np.random.default_rng(0), 500, 300)
    expected = theirs(torch.empty(300, 500)).numpy()  # torch keeps weights as (outputs, inputs)
    assert drawn.shape == (500, 300)
    probabilities = np.linspace(0.01, 0.99, 21)
    quantiles, expected_quantiles = np.quantile(drawn, probabilities), np.quantile(expected, probabilities)
    np.testing.assert_allclose(quantiles, expected_quantiles, rtol=0.03, atol=0.01 * expected.std())
    assert not np.array_equal(drawn, ours(np.random.default_rng(1), 500, 300))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_learns_what_can_be_learnt(classes, kind):
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=300)
    inputs = (rng.standard_normal((300, 5)) + 4 * np.eye(5)[labels]).astype(np.float32)
    network = make_network(5, 8, 1 if classes == 2 else classes, kind=kind)
    loss = BinaryCrossEntropy() if classes == 2 else CategoricalCrossEntropy()
    optimizer = Momentum(network.parameters)
    batches = [(inputs[n : n + 32], labels[n : n + 32]) for n in range(0, 300, 32)]
    before = evaluate(network, loss, batches)
    for _ in range(10):
        mean_loss = train_epoch(network, loss, optimizer, batches, 0.05)
    after = evaluate(network, loss, batches)
    assert after[0] < 0.3 * before[0]
    assert after[1] > 0.95 > before[1]
    assert mean_loss == pytest.approx(after[0], rel=0.5)


def test_training_and_evaluation_tell_the_layers():
    network, batches = every_layer(Network), make_batches([4], (8, 8, 3), 3)
    evaluate(network, CategoricalCrossEntropy(), batches)
    assert not any(layer.training for layer in network.layers)
    train_epoch(network, CategoricalCrossEntropy(), SGD(network.parameters), batches, 0.1)
    assert all(layer.training for layer in network.layers)


def test_a_generator_that_is_used_up_is_told():
    network, loss = make_network(5, 3), CategoricalCrossEntropy()
    used_up = iter(())
    with pytest.raises(ValueError, match="there are no batches"):
        train_epoch(network, loss, SGD(network.parameters), used_up, 0.1)
    with pytest.raises(ValueError, match="there are no batches"):
        evaluate(network, loss, used_up)


def test_evaluation_counts_images_not_batches():
    network = make_network(5, 3)
    batches = make_batches([7, 1], 5, 3)
    inputs, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert evaluate(network, CategoricalCrossEntropy(), batches) == pytest.approx(
        evaluate(network, CategoricalCrossEntropy(), [(inputs, labels)]), rel=1e-6
    )


def test_predictions():
    assert predictions(np.array([[0.1, 3.0, -1.0], [2.0, 1.0, 0.0]])).tolist() == [1, 0]
    assert predictions(np.array([[-0.1], [0.2]])).tolist() == [0, 1]
