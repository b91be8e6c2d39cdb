"""How fast the NumPy nets are: 3072-64-10, ReLU, softmax, batches of 64, momentum; seconds per 50,000 images.

All contestants compute with one thread, as NumPy models do through `fit`; the bare loops a second time with as many as
there are cores, which is what they take by themselves.

The bare loops get normalized pixels, float32, that lie in memory: forward, loss, backward, update, nothing else.
scikit-learn looks for numbers that are not finite in all inputs at each turn, which is 4 to 9 % of it. The same network
through `fit` gets bytes, normalizes them, and has progress bar, TensorBoard, metrics and checkpoints on; it is compared
with a bare NumPy loop that gathers and normalizes too. `fit` has its bytes gathered by a thread beside the one that
computes, on a second core where there is one; the bare loop does one after the other.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from datamodules.data_sets import CIFAR10
from tests.benchmarks import through_fit
from tests.benchmarks.stopwatch import Contestant, Stopwatch
from zoo.scratch.activations import ReLU
from zoo.scratch.fast import FastMomentum, FastNetwork
from zoo.scratch.initializers import he
from zoo.scratch.layers import Dense
from zoo.scratch.losses import CategoricalCrossEntropy
from zoo.scratch.training import ManyBatches, train_epoch

INPUTS, HIDDEN, CLASSES, BATCH_SIZE = 3072, 64, 10, 64
LEARNING_RATE, BETA = 0.01, 0.9
TITLE = f"{INPUTS}-{HIDDEN}-{CLASSES}, batch {BATCH_SIZE}, momentum, float32"

PRODUCTS = "matrix products alone"
BARE = "NumPy, bare loop"
EAGER = "PyTorch, bare loop"
SKLEARN = "scikit-learn, MLPClassifier"
ALL_THREADS = ", all threads"
GATHERING = "NumPy, bare loop from bytes"
FIT = "NumPy through fit, bytes gathered by a second thread"
COMPARISONS = [
    (BARE, EAGER),
    (BARE + ALL_THREADS, EAGER + ALL_THREADS),
    (BARE, SKLEARN),
    (BARE + ALL_THREADS, SKLEARN + ALL_THREADS),
    (BARE, PRODUCTS),
    (BARE + ALL_THREADS, PRODUCTS + ALL_THREADS),
    (FIT, GATHERING),
]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants learn drawn images, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: of an epoch, which is a turn; at least a batch.

    Returns:
        The seconds of each turn.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, INPUTS), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, images)
    inputs = pixels.astype(np.float32)
    inputs -= inputs.mean()
    inputs /= inputs.std()

    stopwatch = Stopwatch(images)
    contestants = {
        PRODUCTS: products(inputs),
        BARE: bare(inputs, labels),
        EAGER: eager(inputs, labels),
        GATHERING: gathering(pixels, labels),
        PRODUCTS + ALL_THREADS: with_all_threads(products(inputs)),
        BARE + ALL_THREADS: with_all_threads(bare(inputs, labels)),
        EAGER + ALL_THREADS: with_all_threads(eager(inputs, labels)),
    }
    if importlib.util.find_spec("sklearn"):
        contestants[SKLEARN] = scikit_learn(inputs, labels)
        contestants[SKLEARN + ALL_THREADS] = with_all_threads(scikit_learn(inputs, labels))
    else:
        stopwatch.missing |= dict.fromkeys((SKLEARN, SKLEARN + ALL_THREADS), "no scikit-learn")
    options = {
        "model": "NumPyMLP",
        "model.hidden_sizes": [HIDDEN],
        "data.source": "synthetic",
        "data.train_size": images,
        "data.val_size": 0,
        "data.test_size": CLASSES,
        "data.batch_size": BATCH_SIZE,
        "optimizer": "NumPyMomentum",
        "optimizer.lr": LEARNING_RATE,
        "trainer.max_epochs": rounds + 1,
    }
    through_fit.fit(options, lambda: stopwatch.round(contestants), lambda *seconds: stopwatch.add(FIT, sum(seconds)))
    stopwatch.drop_warm_up()
    return stopwatch


def new_network() -> FastNetwork:
    """Return the network of the NumPy loops, with the same initial weights each time."""
    rng = np.random.default_rng(0)
    return FastNetwork([Dense(INPUTS, HIDDEN, he, rng), ReLU(), Dense(HIDDEN, CLASSES, he, rng)])


def shuffles(images: int) -> Iterator[list[np.ndarray]]:
    """Yield, for each epoch, the images of its batches."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(images)
        yield [order[start : start + BATCH_SIZE] for start in range(0, images, BATCH_SIZE)]


def products(inputs: np.ndarray) -> Contestant:
    """The matrix products of an epoch, which no dense network can do without: of the first layer, forward and backward,
    and of the last, forward, backward, and back to the first.
    """
    x, w, v = inputs[:BATCH_SIZE], np.zeros((INPUTS, HIDDEN), np.float32), np.zeros((HIDDEN, CLASSES), np.float32)
    h, z = np.zeros((BATCH_SIZE, HIDDEN), np.float32), np.zeros((BATCH_SIZE, CLASSES), np.float32)
    w_gradient, v_gradient, h_gradient = np.empty_like(w), np.empty_like(v), np.empty_like(h)

    def epoch() -> float:
        for start in range(0, len(inputs), BATCH_SIZE):
            n = min(BATCH_SIZE, len(inputs) - start)
            np.matmul(x[:n], w, out=h[:n])
            np.matmul(h[:n], v, out=z[:n])
            np.matmul(h[:n].T, z[:n], out=v_gradient)
            np.matmul(z[:n], v.T, out=h_gradient[:n])
            np.matmul(x[:n].T, h_gradient[:n], out=w_gradient)
        return len(inputs)

    return epoch


def learn(network: FastNetwork, batches: Callable[[], ManyBatches], images: int) -> Contestant:
    """Return an epoch of the lesson's loop, through as many images in batches."""
    loss, optimizer = CategoricalCrossEntropy(), FastMomentum(network.parameters, BETA)

    def epoch() -> float:
        train_epoch(network, loss, optimizer, batches(), LEARNING_RATE)
        return images

    return epoch


def bare(inputs: np.ndarray, labels: np.ndarray) -> Contestant:
    """Return an epoch of a NumPy loop over normalized images: float32 (n, 3072), labels int64 (n,)."""
    orders = shuffles(len(inputs))
    return learn(new_network(), lambda: ((inputs[chosen], labels[chosen]) for chosen in next(orders)), len(inputs))


def gathering(pixels: np.ndarray, labels: np.ndarray) -> Contestant:
    """Return an epoch of a NumPy loop that gathers and normalizes bytes: uint8 (n, 3072), labels int64 (n,)."""
    orders = shuffles(len(pixels))
    scale = np.tile(np.float32(1 / (255 * np.array(CIFAR10.std))), INPUTS // 3)
    shift = np.tile(np.float32(-np.array(CIFAR10.mean) / CIFAR10.std), INPUTS // 3)
    rows = np.empty((BATCH_SIZE, INPUTS), np.float32)

    def batches() -> ManyBatches:
        for chosen in next(orders):
            inputs = np.multiply(pixels[chosen], scale, out=rows[: len(chosen)])
            inputs += shift
            yield inputs, labels[chosen]

    return learn(new_network(), batches, len(pixels))


def eager(inputs: np.ndarray, labels: np.ndarray) -> Contestant:
    """Return an epoch of eager PyTorch over normalized images: float32 (n, 3072), labels int64 (n,)."""
    x, y, orders = torch.from_numpy(inputs), torch.from_numpy(labels), shuffles(len(inputs))
    network = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=BETA)

    def epoch() -> float:
        total = torch.zeros(())
        for chosen in next(orders):
            batch = torch.from_numpy(chosen)
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        return len(inputs)

    return epoch


def scikit_learn(inputs: np.ndarray, labels: np.ndarray) -> Contestant:
    """Return an epoch of scikit-learn over normalized images: float32 (n, 3072), labels int64 (n,)."""
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        (HIDDEN,),
        solver="sgd",
        alpha=0.0,
        batch_size=BATCH_SIZE,
        learning_rate_init=LEARNING_RATE,
        momentum=BETA,
        nesterovs_momentum=False,
    )

    def epoch() -> float:
        network.partial_fit(inputs, labels, classes=np.arange(CLASSES))
        return len(inputs)

    return epoch


def with_all_threads(contestant: Contestant) -> Contestant:
    """Let a contestant have a thread for each core, as it has where nobody asks for fewer."""
    return with_threads(os.cpu_count() or 1, contestant)


def with_threads(number: int, contestant: Contestant) -> Contestant:
    """Let a contestant have this number of threads."""

    def run() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(number)
        try:
            with threadpool_limits(number, user_api="blas"):
                return contestant()
        finally:
            torch.set_num_threads(before)

    return run
