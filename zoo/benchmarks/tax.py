"""What `fit` costs over the same mathematics in a bare loop, for the convolutional networks.

Through `fit`: with progress bar, metrics, checkpoints, TensorBoard and its pictures. The bare loop gets its batches
from the same loader, and does forward, loss, backward and update; and counts, on the validation images, how many
answers are right. They take turns of some steps. Of an epoch there are the steps, and what comes after them; the
seconds of a whole one are put together from both, with a validation on 500 images.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from datamodules.cifar10 import Batch, CIFAR10DataModule
from zoo.benchmarks import through_fit
from zoo.benchmarks.steps import wait_for
from zoo.benchmarks.timing import Stopwatch
from zoo.cnn import CNN, ImprovedCNN
from zoo.torch_classifier import TorchClassifier

VAL_SIZE, TEST_SIZE = 500, 10


class Subject(NamedTuple):
    """A model, its config, and the batches of a turn."""

    model: type[TorchClassifier]
    config: str
    batch_size: int
    batches: int


SUBJECTS = (Subject(CNN, "cnn", 128, 40), Subject(ImprovedCNN, "improved_cnn", 64, 10))
TITLE = f"through fit and in a bare loop, {torch.get_num_threads()} threads"
UNIT = "images"


def _names(model: type[TorchClassifier], way: str) -> tuple[str, str, str]:
    """Return the names of what is timed: steps, the rest of an epoch, both."""
    name = f"{model.__name__} {way}"
    return f"{name}, steps", f"{name}, end of an epoch", f"{name}, epoch"


FIT, BARE = "through fit", "in a bare loop"
COMPARISONS = [
    (one, other)
    for subject in SUBJECTS
    for one, other in zip(_names(subject.model, FIT), _names(subject.model, BARE), strict=True)
    if "end of" not in one
]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let each model learn in both ways, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: of an epoch; a turn has no more.

    Returns:
        The seconds that each takes for `images` images.
    """
    stopwatch = Stopwatch()
    for subject in SUBJECTS:
        of_subject = Stopwatch()
        train_size = min(subject.batch_size * subject.batches, images)
        bare = bare_loop(subject, train_size, of_subject)
        names = _names(subject.model, FIT)
        options = {
            "config": subject.config,
            "data.source": "synthetic",
            "data.train_size": train_size,
            "data.val_size": VAL_SIZE,
            "data.test_size": TEST_SIZE,
            "trainer.max_epochs": rounds + 1,
        }
        through_fit.fit(of_subject, names[:2], bare, options)
        for way in (FIT, BARE):
            steps, rest, epoch = _names(subject.model, way)
            for of_steps, of_rest in zip(of_subject.seconds[steps][1:], of_subject.seconds[rest][1:], strict=True):
                of_epoch = of_steps * images / train_size
                stopwatch.add(steps, of_epoch)
                stopwatch.add(epoch, of_epoch + of_rest)
    return stopwatch


def bare_loop(subject: Subject, train_size: int, stopwatch: Stopwatch) -> Callable[[], None]:
    """Return an epoch of training and validation, as one would write it; the next call is the next epoch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = CIFAR10DataModule(
        source="synthetic",
        train_size=train_size,
        val_size=VAL_SIZE,
        batch_size=subject.batch_size,
        crop_padding=4,
        horizontal_flip=True,
    )
    data.setup("fit")
    assert data.train is not None
    loader, val_loader = data.train_dataloader(), data.val_dataloader()
    data.train.to(device)
    model = subject.model()
    model.configure_model()
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    steps, rest, _ = _names(subject.model, BARE)

    def learn() -> None:
        model.train()
        for batch in loader:
            loss = model.loss(model(batch.images), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        wait_for(device)

    @torch.no_grad()
    def validate() -> None:
        model.eval()
        sum((model(batch.images).argmax(1) == batch.labels).sum().item() for batch in _moved(val_loader, device))

    def epoch() -> None:
        stopwatch.time(steps, learn)
        stopwatch.time(rest, validate)

    return epoch


def _moved(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    for batch in batches:
        yield Batch(*(tensor.to(device) for tensor in batch))
