"""The images to explain, and the predictions of a network on them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from zoo.core.inputs import black_images
from zoo.trained import inference
from zoo.trained.trained_model import Trained


class Chosen(NamedTuple):
    """Images to explain."""

    names: Sequence[str]
    images: Tensor  # uint8 (n, c, h, w)
    labels: Tensor | None = None  # the true classes, int64 (n,), if they are known


class Classified(NamedTuple):
    """Images to explain as in `Chosen`, and the predictions on them."""

    names: Sequence[str]
    images: Tensor
    labels: Tensor | None
    probabilities: Tensor  # float32 (n, k)
    classes: Tensor  # to explain, int64 (n,)


def classify(trained: Trained, chosen: Chosen, explained: int | None) -> Classified:
    """Classify images, and choose the class to explain: `explained`, or by default each predicted class."""
    probabilities = _probabilities(trained, chosen.images)
    classes = probabilities.argmax(1) if explained is None else torch.full((len(chosen.images),), explained)
    return Classified(*chosen, probabilities, classes)


def check_finite(trained: Trained) -> None:
    """Raise InputError if the network gives no finite probabilities, because its training diverged."""
    _probabilities(trained, black_images(trained.model))


def _probabilities(trained: Trained, images: Tensor) -> Tensor:
    probabilities = inference.probabilities(trained.model, images)
    if not probabilities.isfinite().all():
        raise InputError(f"the probabilities of {trained.path} are not finite numbers: its training diverged")
    return probabilities


def training_data(trained: Trained, data_dir: Path | None, stages: Iterable[str]) -> ImageDataModule:
    """Return the data of `Trained.data`, read for the stages "fit" (training and validation), "test" or both."""
    data = trained.data(data_dir)
    for stage in stages:
        data.setup(stage)
    return data


def choose(
    data: ImageDataModule, stage: Literal["val", "test"], count: int, indices: Sequence[int] | None = None
) -> Chosen:
    """Return at most `count` images of a stage that was set up, the classes in turn, or those at `indices`.

    Raises:
        InputError: if the stage has no images, or no image at an index.
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
    positions = np.flatnonzero(numbers == index)
    if not len(positions):
        some = f"{', '.join(map(str, numbers[:3]))}, ... {numbers[-1]}"
        hint = "; validation images have numbers of training images" if stage == "val" else ""
        raise InputError(f"--indices {index}: there is no {stage} image of that number, but {some}{hint}")
    return int(positions[0])


def in_turn(labels: np.ndarray) -> np.ndarray:
    """Return the positions of labels (n,) in an order in which the classes take turns."""
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    return np.lexsort((labels, turn))
