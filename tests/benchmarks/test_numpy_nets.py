"""The benchmark of the NumPy nets: that its contestants learn the same. No time is asserted."""

import importlib.util
import json
import signal

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from datamodules.data_sets import CIFAR10
from datamodules.errors import RunError
from tests.benchmarks import command as benchmarks
from tests.benchmarks import numpy_nets, through_fit

IMAGES = 150  # two batches, and a smaller one


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, the same normalized, labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 3072), dtype=np.uint8)
    inputs = ((pixels.reshape(-1, 1024, 3) / 255 - CIFAR10.mean) / CIFAR10.std).reshape(IMAGES, 3072).astype(np.float32)
    return pixels, inputs, rng.integers(0, 10, IMAGES)


@pytest.fixture
def networks(monkeypatch) -> list:
    """The networks that are made, NumPy's and PyTorch's."""
    made: list = []
    for owner, name in ((numpy_nets, "new_network"), (torch.nn, "Sequential")):
        make = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *layers, make=make: made.append(make(*layers)) or made[-1])
    return made


def learnt(contestant, networks) -> np.ndarray:
    """The parameters that a network has after two turns."""
    assert contestant() == contestant() == IMAGES
    return networks[-1].flat


def test_the_bare_loops_learn_the_same(data, networks):
    """From numbers, from bytes, and in PyTorch, which starts from NumPy's weights."""
    pixels, inputs, labels = data
    bare = learnt(numpy_nets.bare(inputs, labels), networks)
    np.testing.assert_allclose(learnt(numpy_nets.gathering(pixels, labels), networks), bare, atol=1e-4)

    start, contestant = numpy_nets.new_network(), numpy_nets.eager(inputs, labels)
    eager = [layer for layer in networks[-1] if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, given in zip(eager, start.layers[::2], strict=True):
            layer.weight.copy_(torch.from_numpy(given.parameters["weight"].T))
            layer.bias.copy_(torch.from_numpy(given.parameters["bias"]))
    assert contestant() == contestant() == IMAGES
    trained = numpy_nets.new_network()
    trained.flat[:] = bare
    for layer, other, before in zip(eager, trained.layers[::2], start.layers[::2], strict=True):
        weight = other.parameters["weight"]
        assert np.abs(weight - before.parameters["weight"]).max() > 1e-3
        np.testing.assert_allclose(layer.weight.detach().numpy(), weight.T, atol=1e-4)
        np.testing.assert_allclose(layer.bias.detach().numpy(), other.parameters["bias"], atol=1e-4)


def test_each_turn_has_an_order_of_its_own():
    orders = numpy_nets.shuffles(IMAGES)
    first, second = next(orders), next(orders)
    assert [len(batch) for batch in first] == [len(batch) for batch in second] == [64, 64, 22]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(IMAGES))
    assert not np.array_equal(first[0], second[0])


def test_the_products_are_those_of_a_training_step(data, monkeypatch):
    """As many operations as PyTorch counts in its own loop."""
    _, inputs, labels = data
    with FlopCounterMode(display=False) as counter:
        numpy_nets.eager(inputs, labels)()
    operations, multiply = [], np.matmul

    def matmul(a, b, out):
        operations.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return multiply(a, b, out=out)

    monkeypatch.setattr(np, "matmul", matmul)
    assert numpy_nets.products(inputs)() == IMAGES
    assert sum(operations) == counter.get_total_flops()


@pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="no scikit-learn")
def test_scikit_learn_has_the_same_network_and_batches(data, monkeypatch):
    from sklearn import neural_network

    made, make = [], neural_network.MLPClassifier
    monkeypatch.setattr(neural_network, "MLPClassifier", lambda *args, **kw: made.append(make(*args, **kw)) or made[-1])
    _, inputs, labels = data
    contestant = numpy_nets.scikit_learn(inputs, labels)
    assert contestant() == contestant() == IMAGES
    (network,) = made
    assert (network.t_, network.batch_size, network.activation) == (2 * IMAGES, 64, "relu")
    assert [weights.shape for weights in network.coefs_] == [(3072, 64), (64, 10)]
    assert (network.solver, network.momentum, network.nesterovs_momentum, network.alpha) == ("sgd", 0.9, False, 0)


def test_all_threads_are_given_back(monkeypatch):
    """Whatever happens meanwhile."""
    seen, limits = [], []
    limit = numpy_nets.threadpool_limits
    monkeypatch.setattr(numpy_nets, "threadpool_limits", lambda n, **kind: limits.append((n, kind)) or limit(n, **kind))
    before = torch.get_num_threads()
    monkeypatch.setattr("os.cpu_count", lambda: before + 1)

    def contestant():
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        numpy_nets.with_all_threads(contestant)()
    assert (seen, limits) == ([before + 1], [(before + 1, {"user_api": "blas"})])
    assert torch.get_num_threads() == before


# All of it.


@pytest.fixture
def arguments(monkeypatch) -> list[str]:
    """Those of `fit`, which is none: a callback that is called as in three epochs, without a validation."""
    given: list[str] = []

    def main(command_line):
        given.extend(command_line.argv)
        trainer = torch.nn.Identity()
        trainer.strategy = torch.nn.Identity()
        trainer.strategy.root_device = torch.device("cpu")
        callback = through_fit.TakeTurns()
        for _ in range(3):
            callback.on_train_epoch_start(trainer, trainer)
        callback.on_train_end(trainer, trainer)

    monkeypatch.setattr("zoo.training.main.run_command", main)
    return given


def test_measure(arguments):
    stopwatch = numpy_nets.measure(rounds=2, images=64)
    contestants = {name for pair in numpy_nets.COMPARISONS for name in pair}
    assert stopwatch.seconds.keys() | stopwatch.missing.keys() == contestants
    assert {len(seconds) for seconds in stopwatch.seconds.values()} == {2}, "the first turn does not count"
    command, folder, *options = arguments
    assert (command, folder.partition("=")[0]) == ("fit", "--runs_dir")
    assert sorted(options) == [
        "--data.batch_size=64",
        "--data.source=synthetic",
        "--data.test_size=10",
        "--data.train_size=64",
        "--data.val_size=0",
        "--model.hidden_sizes=[64]",
        "--model=NumPyMLP",
        "--optimizer.lr=0.01",
        "--optimizer=NumPyMomentum",
        f"--trainer.callbacks={json.dumps([{'class_path': 'tests.benchmarks.through_fit.TakeTurns'}])}",
        "--trainer.enable_model_summary=False",
        "--trainer.max_epochs=3",
    ]


def test_without_scikit_learn_the_ratios_say_so(arguments, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    stopwatch = numpy_nets.measure(rounds=2, images=64)
    assert not any("scikit" in name for name in stopwatch.seconds)
    lines = benchmarks.ratios(stopwatch, numpy_nets.COMPARISONS)
    assert sum(line.endswith("scikit-learn, MLPClassifier: no scikit-learn") for line in lines) == 1
    assert sum(line.endswith(": no scikit-learn") for line in lines) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_turn_of_the_others_ends_it_at_once(number):
    """Also where `fit` has handlers of its own, which are there again afterwards."""
    handlers = {signal.SIGINT: lambda *args: pytest.fail("waits"), signal.SIGTERM: lambda *args: pytest.fail("waits")}
    before = {which: signal.signal(which, handler) for which, handler in handlers.items()}
    try:
        with pytest.raises(RunError, match=r"^interrupted$") as ended, through_fit.ended_by_signals():
            signal.raise_signal(number)
        assert ended.value.exit_code == 128 + number
        assert all(signal.getsignal(which) is handler for which, handler in handlers.items())
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
