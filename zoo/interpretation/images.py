"""The images that a network is asked about, and its answers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from zoo.trained import inference
from zoo.trained.trained_model import Trained


class Chosen(NamedTuple):
    """Images to ask about.

    Attributes:
        names: of the images.
        images: uint8 (n, 3, 32, 32).
        labels: their classes, int64 (n,); None where nobody knows them.
    """

    names: Sequence[str]
    images: Tensor
    labels: Tensor | None = None


class Asked(NamedTuple):
    """Images that a network was asked about, and its answers.

    Attributes:
        names, images, labels: see `Chosen`.
        probabilities: of all classes, float32 (n, k).
        classes: that are explained, int64 (n,).
    """

    names: Sequence[str]
    images: Tensor
    labels: Tensor | None
    probabilities: Tensor
    classes: Tensor


def ask(trained: Trained, chosen: Chosen, explained: int | None) -> Asked:
    """Let a network classify images.

    Args:
        trained: the network.
        chosen: the images.
        explained: the class to explain; None for what it answers.

    Raises:
        InputError: where its answers are no numbers.
    """
    probabilities = _answers(trained, chosen.images)
    classes = probabilities.argmax(1) if explained is None else torch.full((len(chosen.images),), explained)
    return Asked(*chosen, probabilities, classes)


def check_answers(trained: Trained) -> None:
    """Check that a network has answers, which one that diverged has not.

    Raises:
        InputError: where they are no numbers.
    """
    _answers(trained, torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def _answers(trained: Trained, images: Tensor) -> Tensor:
    probabilities = inference.probabilities(trained.model, images)
    if not probabilities.isfinite().all():
        raise InputError(f"the probabilities of {trained.path} are no numbers: its training diverged")
    return probabilities


def data_of(trained: Trained, data_dir: Path | None, stages: Iterable[str]) -> CIFAR10DataModule:
    """Return the data that a model was trained on, without augmentation.

    Args:
        trained: the model.
        data_dir: where CIFAR-10 lies; None for where the model was trained on it, `CIFAR10_DIR`, or data.
        stages: "fit", which reads training and validation images, "test", or both.

    Raises:
        InputError: where they cannot be had.
    """
    data = trained.data(data_dir)
    for stage in stages:
        data.setup(stage)
    return data


def of_data(
    data: CIFAR10DataModule, stage: Literal["val", "test"], count: int, indices: Sequence[int] | None = None
) -> Chosen:
    """Return images of a data set, the classes in turn.

    Args:
        data: with the stage's images.
        stage: "val" or "test".
        count: how many; fewer where there are no more.
        indices: their numbers in their split, in place of `count`.

    Raises:
        InputError: where the stage has no images, or none of such a number.
    """
    dataset = getattr(data, stage)
    if dataset is None:
        raise InputError("the model was trained with --data.val_size 0, without validation images: add --test_set")
    numbers, labels = dataset.indices.numpy(), dataset.labels.numpy()
    if indices is None:
        positions = in_turn(labels)[:count]
    else:
        positions = np.array([_position(index, numbers, stage) for index in indices])
    names = [f"{stage} {number}" for number in numbers[positions]]
    return Chosen(names, dataset.images[positions].permute(0, 3, 1, 2).contiguous(), dataset.labels[positions])


def _position(index: int, numbers: np.ndarray, stage: str) -> int:
    found = np.flatnonzero(numbers == index)
    if not len(found):
        some = f"{', '.join(map(str, numbers[:3]))}, ... {numbers[-1]}"
        of_training = "; validation images have numbers of training images" if stage == "val" else ""
        raise InputError(f"--indices {index}: there is no {stage} image of that number, but {some}{of_training}")
    return int(found[0])


def in_turn(labels: np.ndarray) -> np.ndarray:
    """Return the positions of labels (n,) in an order in which the classes take turns."""
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    return np.lexsort((labels, turn))
