"""What is evaluated: a trained model, the images, and its predictions on them."""

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
from zoo.evaluation.classification import Predictions, class_logits
from zoo.trained.inference import BATCH_SIZE
from zoo.trained.trained_model import Trained

Stage = Literal["test", "val"]


class Images(NamedTuple):
    """Images of a data set.

    Attributes:
        pixels: uint8 (n, 3, 32, 32).
        labels: the classes, int64 (n,).
        indices: the positions in the split, int64 (n,).
    """

    pixels: np.ndarray
    labels: np.ndarray
    indices: np.ndarray


class Subject(NamedTuple):
    """A trained model and its predictions.

    Attributes:
        trained: the model.
        data: the source of the images.
        stage: which images: "test" or "val".
        images: the images.
        predictions: the predictions on these images.
        val: the predictions on the validation images; None if there are none.
    """

    trained: Trained
    data: CIFAR10DataModule
    stage: Stage
    images: Images
    predictions: Predictions
    val: Predictions | None

    @property
    def name(self) -> str:
        """The name of the model's class."""
        return type(self.trained.model).__name__

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels."""
        return self.trained.class_names

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return count_parameters(self.trained.model)


def classify(trained: Trained, stage: Stage, data_dir: Path | None) -> Subject:
    """Classify the images of a stage, and those of the validation set.

    Args:
        trained: the model.
        stage: "test" or "val".
        data_dir: the folder of CIFAR-10; None for that of the model's training, `CIFAR10_DIR`, or data.

    Raises:
        InputError: if the images cannot be read, or the logits are not finite.
    """
    data = trained.data(data_dir)
    if stage == "test":
        data.setup("test")
    if trained.val_size is not None:
        data.setup("validate")  # the temperature is fitted there
    if stage == "val" and data.val is None:
        why = "was trained with --data.val_size 0" if trained.val_size == 0 else "does not tell what was held out"
        raise InputError(f"{trained.path} {why}: it has no validation set to evaluate on")
    val = None if data.val is None else predict(trained, _images(data.val))
    chosen = data.test if stage == "test" else data.val
    assert chosen is not None
    images = _images(chosen)
    predictions = val if stage == "val" and val is not None else predict(trained, images)
    return Subject(trained, data, stage, images, predictions, val)


def predict(trained: Trained, images: Images) -> Predictions:
    """Classify images, with a progress bar.

    Raises:
        InputError: if the logits are not finite.
    """
    batches = torch.from_numpy(images.pixels).split(BATCH_SIZE)
    progress = tqdm(batches, f"{len(images.labels):,} images", unit=" batches", leave=False, delay=2, disable=None)
    logits = np.concatenate([class_logits(trained.model, batch) for batch in progress])
    if not np.isfinite(logits).all():
        raise InputError(f"the logits of {trained.path} are not finite numbers: its training diverged")
    return Predictions(logits, images.labels)


def check_comparable(first: Trained, second: Trained, stage: Stage) -> None:
    """Check that two models can be compared on the images of the first.

    Raises:
        InputError: if they were trained for different tasks, or the second was trained on the images.
    """
    same = ["source", "task"]
    if stage == "val":  # both must have held out the same images
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
