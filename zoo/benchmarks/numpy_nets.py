"""How fast the NumPy nets are: 3072-64-10, ReLU, softmax, batches of 64, momentum; seconds per 50,000 images.

All contestants have one thread, as NumPy models have through `fit`; the bare loops a second time as many as there are
cores, which is what they take by themselves.

The bare loops get normalized pixels, float32, that lie in memory: forward, loss, backward, update, nothing else. The
same network through `fit` gets bytes, gathers and normalizes them, and has progress bar, TensorBoard, metrics and
checkpoints on; it is compared with a bare NumPy loop that gathers and normalizes too.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from zoo.benchmarks import through_fit
from zoo.benchmarks.timing import Stopwatch
from zoo.classifier import MEAN, STD
from zoo.scratch.activations import Identity, ReLU
from zoo.scratch.initializers import he
from zoo.scratch.layers import Dense
from zoo.scratch.losses import CategoricalCrossEntropy
from zoo.scratch.network import Network
from zoo.scratch.optimizers import Momentum
from zoo.scratch.training import train_epoch

INPUTS, HIDDEN, CLASSES, BATCH_SIZE = 3072, 64, 10, 64
LEARNING_RATE, BETA = 0.01, 0.9
TITLE = f"{INPUTS}-{HIDDEN}-{CLASSES}, batch {BATCH_SIZE}, momentum, float32"
UNIT = "images"

PRODUCTS = "matrix products alone"
BARE = "NumPy, bare loop"
EAGER = "PyTorch, bare loop"
SKLEARN = "scikit-learn, MLPClassifier"
ALL_THREADS = ", all threads"
GATHERING = "NumPy, bare loop from bytes"
FIT = "NumPy through fit"
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
    """Let all contestants learn `images` drawn images, `rounds` times after a first time that does not count."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, INPUTS), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, images)
    inputs = pixels.astype(np.float32)
    inputs -= inputs.mean()
    inputs /= inputs.std()

    contestants = {
        PRODUCTS: _products(inputs),
        BARE: _bare(inputs, labels),
        EAGER: _eager(inputs, labels),
        GATHERING: _gathering(pixels, labels),
    }
    for name, contestant in (
        (PRODUCTS, _products(inputs)),
        (BARE, _bare(inputs, labels)),
        (EAGER, _eager(inputs, labels)),
    ):
        contestants[name + ALL_THREADS] = _with_all_threads(contestant)
    if importlib.util.find_spec("sklearn"):
        contestants[SKLEARN] = _sklearn(inputs, labels)
        contestants[SKLEARN + ALL_THREADS] = _with_all_threads(_sklearn(inputs, labels))
    stopwatch = Stopwatch()
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
    through_fit.fit(stopwatch, (FIT, FIT), lambda: stopwatch.round(contestants), options)
    for seconds in stopwatch.seconds.values():
        del seconds[0]
    return stopwatch


def _network() -> Network:
    rng = np.random.default_rng(0)
    return Network([Dense(INPUTS, HIDDEN, ReLU(), he, rng), Dense(HIDDEN, CLASSES, Identity(), he, rng)])


def _orders(images: int) -> Iterator[list[np.ndarray]]:
    """Yield, for each epoch, the images of its batches."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(images)
        yield [order[start : start + BATCH_SIZE] for start in range(0, images, BATCH_SIZE)]


def _products(inputs: np.ndarray) -> Callable[[], object]:
    """The matrix products of a step, which no dense network can do without: of the first layer, forward and backward,
    and of the last, forward, backward, and back to the first.
    """
    x, w, v = inputs[:BATCH_SIZE], np.zeros((INPUTS, HIDDEN), np.float32), np.zeros((HIDDEN, CLASSES), np.float32)
    h, z = np.zeros((BATCH_SIZE, HIDDEN), np.float32), np.zeros((BATCH_SIZE, CLASSES), np.float32)
    w_gradient, v_gradient, h_gradient = np.empty_like(w), np.empty_like(v), np.empty_like(h)

    def epoch() -> None:
        for _ in range(0, len(inputs), BATCH_SIZE):
            np.matmul(x, w, out=h)
            np.matmul(h, v, out=z)
            np.matmul(h.T, z, out=v_gradient)
            np.matmul(z, v.T, out=h_gradient)
            np.matmul(x.T, h_gradient, out=w_gradient)

    return epoch


def _bare(inputs: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    network, loss, orders = _network(), CategoricalCrossEntropy(), _orders(len(inputs))
    optimizer = Momentum(network.parameters, network.gradients, BETA)

    def epoch() -> None:
        train_epoch(
            network, loss, optimizer, ((inputs[chosen], labels[chosen]) for chosen in next(orders)), LEARNING_RATE
        )

    return epoch


def _gathering(pixels: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    network, loss, orders = _network(), CategoricalCrossEntropy(), _orders(len(pixels))
    optimizer = Momentum(network.parameters, network.gradients, BETA)
    scale = np.tile(np.float32(1 / (255 * np.array(STD))), INPUTS // 3)
    shift = np.tile(np.float32(-np.array(MEAN) / STD), INPUTS // 3)
    rows = np.empty((BATCH_SIZE, INPUTS), np.float32)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for chosen in next(orders):
            inputs = np.multiply(pixels[chosen], scale, out=rows[: len(chosen)])
            inputs += shift
            yield inputs, labels[chosen]

    return lambda: train_epoch(network, loss, optimizer, batches(), LEARNING_RATE)


def _eager(inputs: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    x, y, orders = torch.from_numpy(inputs), torch.from_numpy(labels), _orders(len(inputs))
    network = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=BETA)

    def epoch() -> None:
        total = torch.zeros(())
        for chosen in next(orders):
            batch = torch.from_numpy(chosen)
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)

    return epoch


def _sklearn(inputs: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
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
    return lambda: network.partial_fit(inputs, labels, classes=np.arange(CLASSES))


def _with_all_threads(epoch: Callable[[], object]) -> Callable[[], object]:
    """Let a contestant have a thread for each core, as it has where nobody asks for fewer."""
    cores = os.cpu_count() or 1

    def run() -> None:
        torch.set_num_threads(cores)
        with threadpool_limits(cores, user_api="blas"):
            epoch()
        torch.set_num_threads(1)

    return run
