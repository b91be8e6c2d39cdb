"""How fast training images come: from bytes in memory to shuffled batches of bytes, with random crops and flips.

The loader of `fit` against torchvision's CIFAR10 and transforms in a DataLoader, without worker processes and with;
and against the steps that learn from its batches. The loader of `fit` fetches with one thread on a processor, as
torchvision does; each worker is a process with one thread of its own; the steps have as many threads as PyTorch takes
by itself. The images are noise: nothing here depends on what they show. With mixup or CutMix, a batch ends as mixed
images of floats and mixed labels: `fit` draws a weight for each image, torchvision one for each batch.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.util import get_temp_dir
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate
from torchvision import transforms
from torchvision.datasets import CIFAR10
from torchvision.transforms import v2

from datamodules.augmentation import Augmentation, pad
from datamodules.loading import EpochSampler, ImageDataset, TrainLoader
from tests.benchmarks.steps import Subject, steps
from tests.benchmarks.stopwatch import Contestant, Stopwatch
from zoo.core.devices import synchronize
from zoo.models.cnn import CNN, ImprovedCNN

PADDING, CLASSES = 4, 10
BATCH_SIZES, WORKERS = (128, 512), (0, 1, 2)
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
SUBJECTS = (Subject(ImprovedCNN, "improved_cnn", 2), Subject(CNN, "cnn", 2))
# Arguments of `Augmentation`, and torchvision's own; both are measured in batches of the first size.
MIXED: dict[str, tuple[dict[str, float], type[v2.MixUp | v2.CutMix]]] = {
    "mixup": ({"mixup": 0.2}, v2.MixUp),
    "CutMix": ({"cutmix": 1.0}, v2.CutMix),
}
# Torchvision is slow: its turn is a part of an epoch, of which each worker has as many batches as the others.
TORCHVISION_IMAGES = 2048


def _fit(batch_size: int, device: str, mixed: str = "") -> str:
    return f"loader of fit{mixed and f' with {mixed}'}, batch {batch_size}, {device}"


def _torchvision(batch_size: int, workers: int, mixed: str = "") -> str:
    return f"torchvision{mixed and f' with {mixed}'}, batch {batch_size}, {workers} workers"


def _step(subject: Subject, device: str) -> str:
    return f"step of {subject.model.__name__}, batch {subject.batch_size}, {device}"


TITLE = f"random crops (padding {PADDING}) and flips of uint8 images; steps with {torch.get_num_threads()} threads"
COMPARISONS = [
    (_torchvision(size, workers), _fit(size, device))
    for device in DEVICES
    for size in BATCH_SIZES
    for workers in WORKERS
]
COMPARISONS += [
    (_fit(subject.batch_size, device), _step(subject, device)) for device in DEVICES for subject in SUBJECTS
]
COMPARISONS += [
    (_torchvision(BATCH_SIZES[0], WORKERS[-1], mixed), _fit(BATCH_SIZES[0], device, mixed))
    for device in DEVICES
    for mixed in MIXED
]
COMPARISONS += [
    (_fit(SUBJECTS[0].batch_size, device, mixed), _step(SUBJECTS[0], device)) for device in DEVICES for mixed in MIXED
]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants take turns, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: in memory, of which each batch is a random choice; at least as many as the largest batch has.

    Returns:
        The seconds that each takes for `images` images.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, images)
    stopwatch = Stopwatch(images)
    with ExitStack() as stack:
        contestants = {
            _torchvision(size, workers): stack.enter_context(torchvision_loader(pixels, labels, size, workers))
            for size in BATCH_SIZES
            for workers in WORKERS
        }
        for mixed, (_, mix) in MIXED.items():
            loader = torchvision_loader(pixels, labels, BATCH_SIZES[0], WORKERS[-1], mix(num_classes=CLASSES))
            contestants[_torchvision(BATCH_SIZES[0], WORKERS[-1], mixed)] = stack.enter_context(loader)

        padded = pad(torch.from_numpy(pixels), PADDING)

        def dataset_on(device: str, **options: float) -> ImageDataset:
            augmentation = Augmentation(PADDING, horizontal_flip=True, **options)
            dataset = ImageDataset(padded, torch.from_numpy(labels), torch.arange(images), augmentation)
            dataset.to(torch.device(device))
            return dataset

        for device in DEVICES:
            dataset = dataset_on(device)
            for mixed, (options, _) in MIXED.items():
                for size in (BATCH_SIZES[0], SUBJECTS[0].batch_size):
                    contestants[_fit(size, device, mixed)] = loader_of_fit(dataset_on(device, **options), size)
            for size in sorted({*BATCH_SIZES, *(subject.batch_size for subject in SUBJECTS)}):
                contestants[_fit(size, device)] = loader_of_fit(dataset, size)
            for subject in SUBJECTS:
                batch = dataset.fetch(torch.arange(subject.batch_size, device=device))
                contestants[_step(subject, device)] = steps(subject.model(), batch.images, batch.labels, subject.steps)
        stopwatch.turns(contestants, rounds)
    return stopwatch


@contextmanager
def torchvision_loader(
    pixels: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    workers: int,
    mix: nn.Module | None = None,
    to_bytes: Any = None,
) -> Iterator[Contestant]:
    """Give torchvision's way, as its documentation has it, with bytes for a result.

    Which images a turn has is drawn beforehand: to shuffle all of them belongs to a whole epoch. The workers live
    from the first turn to the end.

    Args:
        pixels: uint8 (n, 32, 32, 3).
        labels: int64 (n,).
        batch_size: images of a batch.
        workers: processes beside this one.
        mix: torchvision's mixup or CutMix.
        to_bytes: the transform of PIL images after crops and flips, by default `PILToTensor`.
    """

    def collate_and_mix(samples: list[Any]) -> Any:
        images, targets = default_collate(samples)
        return mix(images.float(), targets) if mix is not None else (images, targets)

    dataset = CIFAR10.__new__(CIFAR10)  # without its __init__, which reads files
    dataset.data, dataset.targets, dataset.target_transform = pixels, labels.tolist(), None
    crop, flip = transforms.RandomCrop(32, padding=PADDING), transforms.RandomHorizontalFlip()
    dataset.transform = transforms.Compose([crop, flip, to_bytes or transforms.PILToTensor()])
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=np.random.default_rng(0).integers(len(pixels), size=TORCHVISION_IMAGES).tolist(),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_parent,
        collate_fn=None if mix is None else collate_and_mix,
    )
    # Workers have their sockets in a folder of this process, which it removes as it ends; one of their own, made just
    # when they are told to end, would be left behind.
    get_temp_dir()
    try:
        yield lambda: sum(len(labels) for _, labels in loader)
    finally:
        if workers and loader._iterator is not None:
            cast(Any, loader._iterator)._shutdown_workers()  # there is no public way


def _leave_signals_to_parent(worker: int) -> None:
    """Ignore Ctrl-C and SIGTERM, which can reach all processes of a group: the parent ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def loader_of_fit(dataset: ImageDataset, batch_size: int) -> Contestant:
    """Return an epoch through the loader of `fit`; the next turn is the next epoch."""
    sampler = EpochSampler(dataset, num_replicas=1, rank=0)
    loader = TrainLoader(dataset=dataset, batch_size=batch_size, sampler=sampler)

    def epoch() -> float:
        sampler.set_epoch(sampler.epoch + 1)
        done = 0
        for batch in loader:
            done += len(batch.labels)
            if batch.partners is not None:  # what the model does with them, without the normalization of both
                batch.partners.mix(batch.images.float(), batch.partners.images.float())
                batch.partners.soft_labels(batch.labels, CLASSES)
        synchronize(dataset.device)
        return done

    return epoch
