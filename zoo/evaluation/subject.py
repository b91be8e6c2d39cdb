"""What is evaluated: a trained model, the images, and its predictions on them."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from datamodules.data_sets import SYNTHETIC
from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.loading import ImageDataset
from zoo.core.classifier import count_parameters
from zoo.evaluation.classification import Predictions, class_logits
from zoo.runs import data_modules
from zoo.trained.inference import BATCH_SIZE
from zoo.trained.trained_model import Trained

Stage = Literal["test", "val"]


class Images(NamedTuple):
    """Images of a data set."""

    pixels: np.ndarray  # uint8 (n, c, h, w)
    labels: np.ndarray  # int64 (n,)
    indices: np.ndarray  # the positions in the split, int64 (n,)


class Subject(NamedTuple):
    """A trained model and its predictions."""

    trained: Trained
    data: ImageDataModule
    stage: Stage
    images: Images  # of the stage
    predictions: Predictions  # on these images
    val: Predictions | None  # on the validation images, if there are any

    @property
    def name(self) -> str:
        return type(self.trained.model).__name__

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.trained.class_names

    @property
    def parameters(self) -> int:
        return count_parameters(self.trained.model)


def classify(trained: Trained, stage: Stage, data_dir: Path | None) -> Subject:
    """Classify the images of a stage, and those of the validation set; arguments and errors as of `Trained.data`."""
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
    """Classify images; raise InputError if the logits are not finite."""
    batches = torch.from_numpy(images.pixels).split(BATCH_SIZE)
    progress = tqdm(batches, f"{len(images.labels):,} images", unit=" batches", leave=False, delay=2, disable=None)
    logits = np.concatenate([class_logits(trained.model, batch) for batch in progress])
    if not np.isfinite(logits).all():
        raise InputError(f"the logits of {trained.path} are not finite numbers: its training diverged")
    return Predictions(logits, images.labels)


def check_comparable(first: Trained, second: Trained, stage: Stage) -> None:
    """Raise InputError if two models are of other data or tasks, or the second was trained on images of the first."""
    ours, theirs = (_data_of(trained, stage) for trained in (first, second))
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"--against {second.path} has {name} {theirs.get(name)}, and {first.path} {ours.get(name)}: "
                "two models are compared on the same images, which neither was trained on"
            )


def _data_of(trained: Trained, stage: Stage) -> dict[str, Any]:
    """Return, by name, what tells on which images and classes a model can be evaluated."""
    data = trained.config["data"]
    names = ["class_path", *data_modules.arguments_of_data(data_modules.find(data)), "task"]
    if stage == "val":  # both models must have held out the same images
        names += ["val_size"] + ["train_size"] * (data.get("source") == SYNTHETIC.name)
    shape = " x ".join(map(str, trained.model.image_shape))
    told = {f"data.{name}": data.get(name) for name in names}
    return told | {"classes": ", ".join(trained.class_names), "images of": shape}


def _images(dataset: ImageDataset) -> Images:
    pixels = np.ascontiguousarray(dataset.images.permute(0, 3, 1, 2).numpy())
    return Images(pixels, dataset.labels.numpy(), dataset.indices.numpy())
