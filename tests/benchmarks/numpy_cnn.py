"""How fast the NumPy CNN is: two convolutions with pooling, 4096-128-10, batches of 64, momentum; seconds per 50,000
images.

The bare loops get normalized pixels, float32 (n, 32, 32, 3), that lie in memory, with one thread and with as many as
there are cores: NumPy's convolutions divide their images among these, and its matrix products take one thread each.
PyTorch gets the same memory, as channels_last. The same network through `fit` gets bytes, and has
progress bar, TensorBoard, metrics and checkpoints on; it takes all threads, and is compared with such a bare loop.
"""

import os

import numpy as np
import torch
from torch import nn

from tests.benchmarks import through_fit
from tests.benchmarks.numpy_nets import BATCH_SIZE, BETA, CLASSES, LEARNING_RATE, learn, shuffles, with_threads
from tests.benchmarks.stopwatch import Contestant, Stopwatch
from zoo.models.cnn import CNN
from zoo.models.numpy_cnn import NumPyCNN
from zoo.scratch.fast import FastNetwork

SIDE = 32
TITLE = f"the NumPy CNN, batch {BATCH_SIZE}, momentum, float32"

BARE = "NumPy, bare loop"
EAGER = "PyTorch, bare loop"
ALL_THREADS = ", all threads"
FIT = "NumPy through fit, all threads"
COMPARISONS = [
    (BARE, EAGER),
    (BARE + ALL_THREADS, EAGER + ALL_THREADS),
    (FIT, BARE + ALL_THREADS),
]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants learn noise, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: of an epoch, which is a turn; at least a batch.

    Returns:
        The seconds of each turn.
    """
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((images, SIDE, SIDE, 3), dtype=np.float32)
    labels = rng.integers(0, CLASSES, images)
    stopwatch, cores = Stopwatch(images), os.cpu_count() or 1
    contestants = {
        BARE: with_threads(1, bare(inputs, labels)),
        EAGER: with_threads(1, eager(inputs, labels)),
        BARE + ALL_THREADS: with_threads(1, bare(inputs, labels, cores)),
        EAGER + ALL_THREADS: with_threads(cores, eager(inputs, labels)),
    }
    options = {
        "model": "NumPyCNN",
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
    """Return the network of the NumPy loop, with the same initial weights each time."""
    torch.manual_seed(0)
    return NumPyCNN().network


def bare(inputs: np.ndarray, labels: np.ndarray, threads: int = 1) -> Contestant:
    """Return an epoch of a NumPy loop over normalized images: float32 (n, 32, 32, 3), labels int64 (n,)."""
    orders, network = shuffles(len(inputs)), new_network()
    network.set_threads(threads)
    return learn(network, lambda: ((inputs[chosen], labels[chosen]) for chosen in next(orders)), len(inputs))


def eager(inputs: np.ndarray, labels: np.ndarray) -> Contestant:
    """Return an epoch of eager PyTorch over the same, as channels_last."""
    x, y, orders = torch.from_numpy(inputs), torch.from_numpy(labels), shuffles(len(inputs))
    network: nn.Module = CNN().net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=BETA)

    def epoch() -> float:
        for chosen in next(orders):
            batch = torch.from_numpy(chosen)
            loss = nn.functional.cross_entropy(network(x[batch].permute(0, 3, 1, 2)), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return len(inputs)

    return epoch
