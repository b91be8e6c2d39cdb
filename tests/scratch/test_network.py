"""Networks of `zoo.scratch`: their memory, their torch twins, batches of any size, and what they refuse."""

import copy
import pickle
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from zoo.scratch.activations import Identity, ReLU, Sigmoid, Tanh
from zoo.scratch.initializers import glorot, he, small_normal
from zoo.scratch.layers import Dense
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from zoo.scratch.network import Network
from zoo.scratch.optimizers import Adam, Momentum
from zoo.scratch.training import evaluate, predictions, train_epoch, train_step


def make_network(*sizes, activation=ReLU, dtype=np.float32, seed=0):
    """3072-64-10 is `make_network(3072, 64, 10)`."""
    rng = np.random.default_rng(seed)
    layers = [Dense(d, h, activation(), he, rng, dtype) for d, h in pairwise(sizes)]
    layers[-1].activation = Identity()
    return Network(layers)


def make_batches(sizes, inputs, classes, dtype=np.float32, seed=1):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((n, inputs)).astype(dtype), rng.integers(classes, size=n)) for n in sizes]


def make_twin(network, activation):
    modules = []
    for layer in network.layers:
        linear = nn.Linear(*layer.weights.shape)
        linear.weight = nn.Parameter(torch.tensor(layer.weights.T.copy()))
        linear.bias = nn.Parameter(torch.tensor(layer.bias))
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ReLU, nn.ReLU), (Sigmoid, nn.Sigmoid), (Tanh, nn.Tanh)], ids=["ReLU", "Sigmoid", "Tanh"]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-10)])
@pytest.mark.parametrize("classes", [2, 10])
def test_trains_like_its_torch_twin(ours, theirs, dtype, tolerance, classes):
    """100 steps from the same weights, with batches of 16, 1 and 5 images among them: the same loss at each."""
    binary = classes == 2
    network = make_network(20, 12, 8, 1 if binary else classes, activation=ours, dtype=dtype)
    twin = make_twin(network, theirs)
    batches = make_batches([16, 1, 16, 5] * 25, 20, classes, dtype)
    loss = BinaryCrossEntropy() if binary else CategoricalCrossEntropy()
    optimizer = Momentum(network.parameters, network.gradients, weight_decay=1e-3)
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


def test_torchs_adam_drives_the_network_through_shared_memory():
    network, other = make_network(6, 5, 3), make_network(6, 5, 3)
    parameters, gradients = torch.from_numpy(network.parameters), torch.from_numpy(network.gradients)
    parameters.grad = gradients
    theirs, ours = torch.optim.Adam([parameters], lr=0.01), Adam(other.parameters, other.gradients)
    loss = CategoricalCrossEntropy()
    for inputs, labels in make_batches([8] * 20, 6, 3):
        network.backward(loss.value_and_gradient(network.forward(inputs), labels)[1])
        theirs.step()
        train_step(other, loss, ours, inputs, labels, 0.01)
    np.testing.assert_allclose(network.parameters, other.parameters, rtol=1e-3, atol=1e-5)


def test_parameters_lie_in_order_in_one_array():
    network = make_network(4, 3, 2)
    assert network.parameters.shape == network.gradients.shape == (4 * 3 + 3 + 3 * 2 + 2,)
    network.parameters[:] = np.arange(23)
    network.gradients[:] = -np.arange(23)
    first, last = network.layers
    np.testing.assert_array_equal(first.weights, np.arange(12).reshape(4, 3))
    np.testing.assert_array_equal(first.bias, [12, 13, 14])
    np.testing.assert_array_equal(last.weights, np.arange(15, 21).reshape(3, 2))
    np.testing.assert_array_equal(last.bias, [21, 22])
    np.testing.assert_array_equal(last.weights_gradient, -last.weights)
    np.testing.assert_array_equal(first.bias_gradient, -first.bias)


def test_joining_a_network_keeps_the_weights():
    rng = np.random.default_rng(0)
    layer = Dense(4, 3, Identity(), he, rng)
    weights = layer.weights.copy()
    layer.bias[:] = 1
    network = Network([layer])
    np.testing.assert_array_equal(layer.weights, weights)
    assert (network.parameters[-3:] == 1).all()


def test_bind_takes_values_and_memory():
    network, inputs = make_network(4, 3, 2), np.ones((2, 4), np.float32)
    parameters, gradients = np.zeros(23, np.float32), np.zeros(23, np.float32)
    network.bind(parameters, gradients)
    assert network.parameters is parameters
    assert not network.forward(inputs).any()
    parameters[-1] = 5
    assert (network.forward(inputs)[:, 1] == 5).all()
    network.backward(np.ones((2, 2), np.float32))
    assert gradients[-1] == 2


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(22, np.float32), "(22,), expected float32 of shape (23,)"),
        (np.zeros((23, 1), np.float32), "(23, 1), expected float32 of shape (23,)"),
        (np.zeros(23), "float64 of shape (23,), expected float32"),
        (np.zeros(46, np.float32)[::2], "in one piece"),
    ],
)
def test_bind_refuses(array, problem):
    network = make_network(4, 3, 2)
    fitting = np.zeros(23, np.float32)
    for pair in ((array, fitting), (fitting, array)):
        with pytest.raises(ValueError, match=re.escape(problem)):
            network.bind(*pair)
    assert np.shares_memory(network.layers[0].weights, network.parameters)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_is_whole_and_apart(duplicate):
    network = make_network(4, 3, 2)
    twin = duplicate(network)
    inputs = np.ones((2, 4), np.float32)
    expected = network.forward(inputs).copy()
    np.testing.assert_array_equal(twin.forward(inputs), expected)
    twin.parameters[:] = 0
    assert not twin.forward(inputs).any()
    np.testing.assert_array_equal(network.forward(inputs), expected)
    for layer in twin.layers:
        for part in (layer.weights, layer.bias):
            assert np.shares_memory(part, twin.parameters)
        for part in (layer.weights_gradient, layer.bias_gradient):
            assert np.shares_memory(part, twin.gradients)


def test_batches_of_any_size_in_any_order():
    """The memory that is used again leaves nothing of an earlier batch behind."""
    loss, network = CategoricalCrossEntropy(), make_network(6, 5, 3)
    for inputs, labels in make_batches([8, 3, 1, 20, 8, 2], 6, 3):
        fresh = make_network(6, 5, 3)
        results = []
        for net in (network, fresh):
            logits = net.forward(inputs)
            assert logits.shape == (len(inputs), 3)
            input_gradient = net.backward(loss.value_and_gradient(logits, labels)[1], input_gradient=True)
            results.append((logits.copy(), input_gradient.copy(), net.gradients.copy()))
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)


def test_memory_is_fetched_once():
    network = make_network(6, 5, 3)
    (large, _), (small, _) = make_batches([8, 3], 6, 3)
    first = network.forward(large)
    assert np.shares_memory(first, network.forward(small))
    assert np.shares_memory(first, network.forward(large))


def test_backward_leaves_inputs_and_gradient_alone():
    network = make_network(6, 5, 3)
    ((inputs, labels),) = make_batches([4], 6, 3)
    gradient = CategoricalCrossEntropy().value_and_gradient(network.forward(inputs), labels)[1]
    copies = inputs.copy(), gradient.copy()
    network.backward(gradient, input_gradient=True)
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
        make_network(4, 3, 2).forward(inputs)


def test_gradients_that_do_not_fit():
    network = make_network(4, 3, 2)
    with pytest.raises(ValueError, match=re.escape("(5, 2), but the last outputs (0, 2)")):
        network.backward(np.zeros((5, 2), np.float32))
    network.forward(np.zeros((6, 4), np.float32))
    with pytest.raises(ValueError, match=re.escape("(5, 2), but the last outputs (6, 2)")):
        network.backward(np.zeros((5, 2), np.float32))


def test_layers_that_do_not_fit():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least one layer"):
        Network([])
    with pytest.raises(ValueError, match=r"puts out 3 numbers .* takes 4"):
        Network([Dense(5, 3, ReLU(), he, rng), Dense(4, 2, Identity(), he, rng)])
    with pytest.raises(ValueError, match=r"3 numbers of float32, .* takes 3 of float64"):
        Network([Dense(5, 3, ReLU(), he, rng), Dense(3, 2, Identity(), he, rng, np.float64)])


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
def test_learns_what_can_be_learnt(classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=300)
    inputs = (rng.standard_normal((300, 5)) + 4 * np.eye(5)[labels]).astype(np.float32)
    network = make_network(5, 8, 1 if classes == 2 else classes)
    loss = BinaryCrossEntropy() if classes == 2 else CategoricalCrossEntropy()
    optimizer = Momentum(network.parameters, network.gradients)
    batches = [(inputs[n : n + 32], labels[n : n + 32]) for n in range(0, 300, 32)]
    before = evaluate(network, loss, batches)
    for _ in range(10):
        mean_loss = train_epoch(network, loss, optimizer, batches, 0.05)
    after = evaluate(network, loss, batches)
    assert after[0] < 0.3 * before[0]
    assert after[1] > 0.95 > before[1]
    assert mean_loss == pytest.approx(after[0], rel=0.5)


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
