"""How fast training images come: from bytes in memory to shuffled batches of bytes, with random crops and flips.

The loader of `fit` against torchvision's CIFAR10 and transforms in a DataLoader, without worker processes and with;
and against the steps that learn from its batches. All have as many threads as PyTorch takes by itself. The images are
noise: nothing here depends on what they show.
"""

import time

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import CIFAR10

from datamodules.augmentation import Augmentation, pad
from datamodules.cifar10 import EpochSampler, ImageDataset, TrainLoader
from zoo.benchmarks.steps import Contestant, steps, wait_for
from zoo.benchmarks.timing import Stopwatch
from zoo.cnn import CNN, ImprovedCNN
from zoo.torch_classifier import TorchClassifier

PADDING = 4
BATCH_SIZES, WORKERS = (128, 512), (0, 1, 2)
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
# Models with the batch sizes of their configs.
STEPS: tuple[tuple[type[TorchClassifier], int], ...] = ((ImprovedCNN, 64), (CNN, 128))
# Of the slow ones, a turn is a part of an epoch: each worker has as many batches as the others.
TORCHVISION_IMAGES, STEPS_IN_A_TURN = 2048, 2


def _fit(batch_size: int, device: str) -> str:
    return f"loader of fit, batch {batch_size}, {device}"


def _torchvision(batch_size: int, workers: int) -> str:
    return f"torchvision, batch {batch_size}, {workers} workers"


def _step(model: type[TorchClassifier], batch_size: int, device: str) -> str:
    return f"step of {model.__name__}, batch {batch_size}, {device}"


TITLE = f"random crops (padding {PADDING}) and flips of uint8 images, {torch.get_num_threads()} threads"
UNIT = "images"
COMPARISONS = [
    (_torchvision(size, workers), _fit(size, device))
    for device in DEVICES
    for size in BATCH_SIZES
    for workers in WORKERS
]
COMPARISONS += [(_fit(size, device), _step(model, size, device)) for device in DEVICES for model, size in STEPS]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants take turns, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: in memory, of which each batch is a random choice.

    Returns:
        The seconds that each takes for `images` images.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, images)
    contestants = {
        _torchvision(size, workers): torchvision_loader(pixels, labels, size, workers)
        for size in BATCH_SIZES
        for workers in WORKERS
    }
    for device in DEVICES:
        dataset = ImageDataset(
            pad(torch.from_numpy(pixels), PADDING),
            torch.from_numpy(labels),
            torch.arange(images),
            Augmentation(crop_padding=PADDING, horizontal_flip=True),
        )
        dataset.to(torch.device(device))
        for size in sorted({*BATCH_SIZES, *(size for _, size in STEPS)}):
            contestants[_fit(size, device)] = loader_of_fit(dataset, size)
        for model, size in STEPS:
            batch = dataset.fetch(torch.arange(min(size, images), device=device))
            contestants[_step(model, size, device)] = steps(model(), batch.images, batch.labels, STEPS_IN_A_TURN)
    stopwatch = Stopwatch()
    for turn in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            done = contestant()
            if turn > 0:
                stopwatch.add(name, (time.perf_counter() - start) * images / done)
    return stopwatch


def torchvision_loader(pixels: np.ndarray, labels: np.ndarray, batch_size: int, workers: int) -> Contestant:
    """Return torchvision's way, as its documentation has it, with bytes for a result; the workers stay alive.

    Args:
        pixels: uint8 (n, 32, 32, 3).
        labels: int64 (n,).
        batch_size: images of a batch.
        workers: processes beside this one.
    """
    dataset = CIFAR10.__new__(CIFAR10)  # without its __init__, which reads files
    dataset.data, dataset.targets, dataset.target_transform = pixels, labels.tolist(), None
    dataset.transform = transforms.Compose(
        [transforms.RandomCrop(32, padding=PADDING), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    )
    sampler = RandomSampler(dataset, num_samples=min(TORCHVISION_IMAGES, len(pixels)))
    loader = DataLoader(
        dataset, batch_size=batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: sum(len(labels) for _, labels in loader)


def loader_of_fit(dataset: ImageDataset, batch_size: int) -> Contestant:
    """Return an epoch through the loader of `fit`; the next turn is the next epoch."""
    sampler = EpochSampler(dataset, num_replicas=1, rank=0)
    loader = TrainLoader(dataset=dataset, batch_size=batch_size, sampler=sampler)

    def epoch() -> float:
        sampler.set_epoch(sampler.epoch + 1)
        done = sum(len(batch.labels) for batch in loader)
        wait_for(dataset.device)
        return done

    return epoch
