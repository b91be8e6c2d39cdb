"""What is evaluated: a trained model, the images, and its answers to them."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import SYNTHETIC
from datamodules.errors import InputError
from datamodules.loading import ImageDataset
from zoo.core.classifier import count_parameters
from zoo.evaluation.answers import Answers, scores
from zoo.trained.inference import BATCH_SIZE
from zoo.trained.trained_model import Trained

Stage = Literal["test", "val"]


class Images(NamedTuple):
    """Images of a data set.

    Attributes:
        pixels: uint8 (n, 3, 32, 32).
        labels: their classes, int64 (n,).
        indices: their numbers in their split, int64 (n,).
    """

    pixels: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


class Subject(NamedTuple):
    """A trained model and its answers.

    Attributes:
        trained: the model.
        data: where the images are from.
        stage: "test" or "val": which images they are.
        images: that it was asked about.
        answers: to these.
        val: its answers to the validation images; None where there are none.
    """

    trained: Trained
    data: CIFAR10DataModule
    stage: Stage
    images: Images
    answers: Answers
    val: Answers | None

    @property
    def name(self) -> str:
        """The model's."""
        return type(self.trained.model).__name__

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        return self.trained.class_names

    @property
    def parameters(self) -> int:
        """How many numbers of the model are trained."""
        return count_parameters(self.trained.model)


def ask(trained: Trained, stage: Stage, data_dir: Path | None) -> Subject:
    """Let a model classify the images of a stage, and those of the validation set.

    Args:
        trained: the model.
        stage: "test" or "val".
        data_dir: where CIFAR-10 lies; None for where the model was trained on it, `CIFAR10_DIR`, or data.

    Raises:
        InputError: where the images cannot be had, or the answers are no numbers.
    """
    data = trained.data(data_dir)
    if stage == "test":
        data.setup("test")
    if trained.val_size is not None:
        data.setup("validate")  # the temperature is fitted there
    if stage == "val" and data.val is None:
        why = "was trained with --data.val_size 0" if trained.val_size == 0 else "does not tell what was held out"
        raise InputError(f"{trained.path} {why}: it has no validation set to evaluate on")
    val = None if data.val is None else answers(trained, _images(data.val))
    chosen = data.test if stage == "test" else data.val
    assert chosen is not None
    images = _images(chosen)
    found = val if stage == "val" and val is not None else answers(trained, images)
    return Subject(trained, data, stage, images, found, val)


def answers(trained: Trained, images: Images) -> Answers:
    """Let a model classify images; a terminal shows how far it is.

    Raises:
        InputError: where its answers are no numbers.
    """
    batches = torch.from_numpy(images.pixels).split(BATCH_SIZE)
    progress = tqdm(batches, f"{len(images.labels):,} images", unit=" batches", leave=False, delay=2, disable=None)
    found = np.concatenate([scores(trained.model, batch) for batch in progress])
    if not np.isfinite(found).all():
        raise InputError(f"the answers of {trained.path} are no numbers: its training diverged")
    return Answers(found, images.labels)


def check_comparable(first: Trained, second: Trained, stage: Stage) -> None:
    """Check that two models can be compared on the first one's images.

    Raises:
        InputError: where they were trained for different tasks, or the second one has learned from the images.
    """
    same = ["source", "task"]
    if stage == "val":  # what the one held out, the other must have held out, too
        same += ["val_size"] + ["train_size"] * (first.config["data"]["source"] == SYNTHETIC.name)
    for name in same:
        one, other = (trained.config["data"].get(name) for trained in (first, second))
        if one != other:
            raise InputError(
                f"--against {second.path} has data.{name} {other}, and {first.path} {one}: "
                "two models are compared on the same images, which neither was trained on"
            )


def _images(dataset: ImageDataset) -> Images:
    pixels = np.ascontiguousarray(dataset.images.permute(0, 3, 1, 2).numpy())
    return Images(pixels, dataset.labels.numpy(), dataset.indices.numpy())
