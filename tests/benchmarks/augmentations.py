"""How fast each augmentation is: whole batches of bytes, after random crops and flips, with one thread.

The loader of `fit` against torchvision's transforms of one image at a time in two worker processes, as in
`tests.benchmarks.data_path`; and against a training step of ImprovedCNN with as many images. Torchvision's policies get
PIL images, for which they are faster than for tensors.
"""

from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.transforms import v2

from datamodules.augmentation import Augmentation, pad
from datamodules.loading import ImageDataset
from tests.benchmarks.data_path import DEVICES, PADDING, loader_of_fit, torchvision_loader
from tests.benchmarks.steps import steps
from tests.benchmarks.stopwatch import Stopwatch
from zoo.models.cnn import ImprovedCNN

BATCH_SIZE, WORKERS, STEPS = 128, 2, 1


class Peer(NamedTuple):
    """An augmentation: the options of `fit`, and torchvision's transforms from a PIL image to bytes."""

    options: dict[str, Any]
    transforms: tuple[v2.Transform, ...]


PEERS = {
    "crop and flip": Peer({}, (v2.PILToTensor(),)),
    "randaugment": Peer({"policy": "randaugment"}, (v2.RandAugment(), v2.PILToTensor())),
    "trivialaugment": Peer({"policy": "trivialaugment"}, (v2.TrivialAugmentWide(), v2.PILToTensor())),
    "autoaugment": Peer({"policy": "autoaugment"}, (v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10), v2.PILToTensor())),
    "color jitter": Peer({"color_jitter": 0.4}, (v2.ColorJitter(0.4, 0.4, 0.4), v2.PILToTensor())),
    "random erasing": Peer({"random_erasing": 0.5}, (v2.PILToTensor(), v2.RandomErasing())),  # of tensors only
}


def _fit(name: str, device: str) -> str:
    return f"loader of fit, {name}, {device}"


def _torchvision(name: str) -> str:
    return f"torchvision, {name}, {WORKERS} workers"


def _step(device: str) -> str:
    return f"step of ImprovedCNN, {device}"


TITLE = f"augmentation of uint8 images in batches of {BATCH_SIZE}; steps with {torch.get_num_threads()} threads"
COMPARISONS = [(_torchvision(name), _fit(name, device)) for device in DEVICES for name in PEERS]
COMPARISONS += [(_fit(name, device), _step(device)) for device in DEVICES for name in PEERS]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants take turns, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: in memory; a turn of `fit` has all of them.

    Returns:
        The seconds that each takes for `images` images.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, images)
    stopwatch = Stopwatch(images)
    with ExitStack() as stack:
        contestants = {
            _torchvision(name): stack.enter_context(
                torchvision_loader(pixels, labels, BATCH_SIZE, WORKERS, v2.Compose(peer.transforms))
            )
            for name, peer in PEERS.items()
        }
        for device in DEVICES:
            padded = pad(torch.from_numpy(pixels), PADDING)
            for name, peer in PEERS.items():
                augmentation = Augmentation(crop_padding=PADDING, horizontal_flip=True, **peer.options)
                dataset = ImageDataset(padded, torch.from_numpy(labels), torch.arange(images), augmentation)
                dataset.to(torch.device(device))
                contestants[_fit(name, device)] = loader_of_fit(dataset, BATCH_SIZE)
            batch = dataset.fetch(torch.arange(BATCH_SIZE, device=device))
            contestants[_step(device)] = steps(ImprovedCNN(), batch.images, batch.labels, STEPS)
        stopwatch.turns(contestants, rounds)
    return stopwatch
