"""What `fit` costs over the same mathematics in a bare loop, for the convolutional networks.

Through `fit`: with progress bar, metrics, checkpoints, TensorBoard and its pictures. The bare loop gets the same
batches from the same loader, on the same device, and does forward, loss, backward and update; and counts, on the
validation images, how many answers are right. They take turns of some steps, the bare loop before `fit`.

Of an epoch there are the steps, and its end: what comes after them, with a validation on 500 images. The seconds of a
whole epoch are put together: the steps of each round, and the mean of all ends. The mean, because pictures are drawn
after few epochs, those whose number is a power of two and the last: each epoch takes its part of them. Of 15 rounds,
which are the epochs 2 to 16, 4 have pictures, as 6 of the first 20 epochs do.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import cast

import torch
from torch.utils.data import DistributedSampler

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.loading import Batch
from tests.benchmarks import through_fit
from tests.benchmarks.steps import DEVICE, Subject
from tests.benchmarks.stopwatch import Stopwatch
from zoo.core.devices import synchronize
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.cnn import CNN, ImprovedCNN

VAL_SIZE, TEST_SIZE = 500, 10
SUBJECTS = (Subject(CNN, "cnn", 40), Subject(ImprovedCNN, "improved_cnn", 10))
TITLE = f"through fit and in a bare loop, {torch.get_num_threads()} threads"
FIT, BARE = "through fit", "in a bare loop"


def _names(model: type[TorchClassifier], way: str) -> tuple[str, str, str]:
    """Return the names of what is timed: the steps, the end of an epoch, both."""
    name = f"{model.__name__} {way}"
    return f"{name}, steps", f"{name}, end of an epoch", f"{name}, epoch"


COMPARISONS = [
    pair
    for subject in SUBJECTS
    for pair in zip(_names(subject.model, FIT), _names(subject.model, BARE), strict=True)
    if "end of" not in pair[0]
]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let each model learn in both ways, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: of an epoch.

    Returns:
        The seconds of an epoch, those of its steps, and those of its end.
    """
    stopwatch = Stopwatch(images)
    for subject in SUBJECTS:
        options = {
            "config": subject.config,
            "data.source": "synthetic",
            "data.train_size": subject.images_of_a_turn,
            "data.val_size": VAL_SIZE,
            "data.test_size": TEST_SIZE,
            "trainer.accelerator": "gpu" if DEVICE.type == "cuda" else "cpu",
            "trainer.devices": 1,
            "trainer.max_epochs": rounds + 1,
        }
        others = bare_loop(subject, partial(_add, stopwatch, subject, BARE))
        through_fit.fit(options, others, partial(_add, stopwatch, subject, FIT))
    stopwatch.drop_warm_up()
    for subject in SUBJECTS:
        for way in (FIT, BARE):
            steps, end, epoch = _names(subject.model, way)
            mean_end = statistics.fmean(stopwatch.seconds[end])
            stopwatch.seconds[epoch] = [seconds + mean_end for seconds in stopwatch.seconds[steps]]
            stopwatch.fixed.add(end)
    return stopwatch


def _add(stopwatch: Stopwatch, subject: Subject, way: str, of_steps: float, of_end: float) -> None:
    """Add the seconds of a turn; those of the steps are made those of an epoch of as many images as are asked for."""
    steps, end, _ = _names(subject.model, way)
    assert stopwatch.images is not None
    stopwatch.add(steps, of_steps * stopwatch.images / subject.images_of_a_turn)
    stopwatch.add(end, of_end)


def bare_loop(subject: Subject, add: through_fit.Add) -> Callable[[], None]:
    """Return an epoch of training and validation, as one would write it; the next call is the next epoch.

    Args:
        subject: what learns, from the images of a turn.
        add: takes the seconds of the steps, and of the validation.
    """
    sizes = {"train_size": subject.images_of_a_turn, "val_size": VAL_SIZE}
    data = CIFAR10DataModule(**subject.data | sizes, source="synthetic")
    data.setup("fit")
    assert data.train is not None
    loader, val_loader = data.train_dataloader(), data.val_dataloader()
    sampler = cast(DistributedSampler, loader.sampler)
    data.train.to(DEVICE)
    model = subject.model()
    model.configure_model()
    model.to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters())
    epochs = itertools.count()

    def learn() -> None:
        model.train()
        for batch in loader:
            loss = model.loss(model(batch.images), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        synchronize(DEVICE)

    @torch.no_grad()
    def validate() -> None:
        model.eval()
        sum((model(batch.images).argmax(1) == batch.labels).sum().item() for batch in _moved(val_loader))

    def epoch() -> None:
        sampler.set_epoch(next(epochs))  # other batches, and other crops of their images
        start = time.perf_counter()
        learn()
        stepped = time.perf_counter()
        validate()
        add(stepped - start, time.perf_counter() - stepped)

    return epoch


def _moved(batches: Iterable[Batch]) -> Iterator[Batch]:
    for batch in batches:
        yield Batch(*(tensor.to(DEVICE) for tensor in batch[:3]))
