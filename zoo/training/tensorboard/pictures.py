"""Plots of a network's predictions and features in TensorBoard, as it learns."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor

from datamodules.image_data_module import ImageDataModule
from datamodules.loading import ImageDataset
from zoo.core.classifier import Classifier
from zoo.interpretation import class_activation, layer_outputs
from zoo.interpretation.images import in_turn
from zoo.plots import confusion_matrix, feature_maps, filters, png, predictions
from zoo.trained import inference
from zoo.training import run_logger
from zoo.training.run_logger import RunLogger
from zoo.training.tensorboard import observing

# Images per plot. A plot of 40 images takes 60 ms, more than half of it for TensorBoard's checksum.
EXAMPLES, MISTAKES, EXPLAINED, WITH_FEATURES = 32, 24, 8, 3
# Images among which mistakes are searched: all 5,000 for validation would take a large network 4 % of an epoch.
CLASSIFIED = 1000

Plots = Iterator[tuple[str, np.ndarray]]  # tags, and pixels uint8 (height, width, 3)


class Shown(NamedTuple):
    kind: str  # "validation", or "training" without a validation set
    images: Tensor  # uint8 (n, c, h, w), not augmented; the classes take turns
    labels: np.ndarray  # int64 (n,)


class Scene(NamedTuple):
    model: Classifier  # after the epoch
    title: str  # model, data and epoch
    class_names: tuple[str, ...]  # in the order of the labels
    shown: Shown  # the images
    probabilities: np.ndarray  # predicted for the images, float32 (n, k)
    confusion: list[list[int]] | None  # of the epoch's validation; None without one


class Pictures(L.Callback):
    """Draws plots after the epochs that `has_pictures` names, and the first one before training:

    - "images/augmented": training images of the first epoch.
    - "images/predictions": validation images with their predictions.
    - "images/worst_mistakes": the most confident mistakes, after the last epoch only.
    - "val/confusion_matrix".
    - "weights/first_layer": see `zoo.plots.filters`.
    - "features/LAYER": outputs of the first and the last convolution for a few images.
    - "images/class_activation": see `zoo.interpretation.class_activation`.

    The time for the plots is logged as "perf/pictures_seconds". A plot that fails costs a line, not the run.
    """

    def __init__(self) -> None:
        self._shown: Shown | None = None
        self._drawn: dict[str, int] = {}  # the last epoch of each plot
        self._failed: set[str] = set()
        self._timed_epoch: int | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        logger, data = observing.logger(trainer), observing.data(trainer)
        if logger is None:
            return
        self._shown = choose(data)
        if logger.is_new:
            with self._timed(logger, 0):
                self.add(logger, 0, "augmented images", partial(_augmented, data))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        epoch = run_logger.epochs_done(trainer)
        is_last = epoch == trainer.max_epochs or trainer.global_step == trainer.max_steps
        self._draw(trainer, pl_module, epoch, is_last)

    def on_train_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Draw the missing plots of the last epoch, if training stopped early."""
        self._draw(trainer, pl_module, trainer.current_epoch, is_last=True)

    def _draw(self, trainer: L.Trainer, model: Classifier, epoch: int, is_last: bool) -> None:
        wanted = (PICTURES if has_pictures(epoch, is_last) else {}) | (LAST_PICTURES if is_last else {})
        missing = {what: draw for what, draw in wanted.items() if self._drawn.get(what) != epoch}
        logger = observing.logger(trainer)
        if logger is None or self._shown is None or not missing:
            return
        with self._timed(logger, epoch):
            scene = None
            with observing.optional("pictures"):
                scene = _scene(model, observing.data(trainer), self._shown, epoch)
            if scene is None:
                self._shown = None  # not tried again
                return
            for what, draw in missing.items():
                self._drawn[what] = epoch
                self.add(logger, epoch, what, partial(draw, scene))

    @contextmanager
    def _timed(self, logger: RunLogger, epoch: int) -> Iterator[None]:
        """Log the seconds of the block, once per epoch."""
        began = time.perf_counter()
        yield
        if epoch != self._timed_epoch:
            logger.experiment.add_scalar("perf/pictures_seconds", time.perf_counter() - began, epoch)
        self._timed_epoch = epoch

    def add(self, logger: RunLogger, epoch: int, what: str, draw: Callable[[], Plots]) -> None:
        """Add plots to TensorBoard, unless they have failed before."""
        if what in self._failed:
            return
        self._failed.add(what)
        drawn: list[tuple[str, np.ndarray]] = []
        with observing.optional(what):
            drawn = list(draw())
            self._failed.remove(what)
        for tag, picture in drawn:
            logger.log_picture(tag, png.encode(picture, smallest=False), epoch)


def has_pictures(epoch: int, is_last: bool) -> bool:
    """Return whether an epoch, from 1, has plots: the last and powers of 2, as TensorBoard keeps ten per tag."""
    return is_last or epoch & (epoch - 1) == 0


def choose(data: ImageDataModule) -> Shown:
    kind, images, labels = observing.held_out(data, CLASSIFIED)
    order = in_turn(labels.numpy())
    return Shown(kind, images[order], labels.numpy()[order])


def _by_class(labels: np.ndarray) -> np.ndarray:
    return np.argsort(labels, kind="stable")


def _scene(model: Classifier, data: ImageDataModule, shown: Shown, epoch: int) -> Scene:
    title = f"{type(model).__name__} on {data.source_name}, epoch {epoch}"
    probabilities = inference.probabilities(model, shown.images).numpy()
    val = model.results.get("val", {})
    confusion = val["confusion"] if val.get("epoch") == epoch - 1 else None
    return Scene(model, title, data.class_names, shown, probabilities, confusion)


def _augmented(data: ImageDataModule) -> Plots:
    dataset = cast(ImageDataset, data.train)
    chosen = torch.from_numpy(in_turn(dataset.labels.cpu().numpy())[:EXAMPLES])
    batch = dataset.fetch(chosen.to(dataset.device))
    images, labels = batch.images, batch.labels.cpu().numpy()
    explanation = f"Augmentation: {data.augmentation.describe()}."
    if batch.partners is not None:
        images = batch.partners.mix(images.float(), batch.partners.images.float()).round().to(torch.uint8)
        explanation += " The labels are those before the mixing."
    order = _by_class(labels)
    title = f"Training images as the first epoch has them: {data.source_name}"
    drawn = predictions.draw_labelled(images.cpu().numpy()[order], labels[order], data.class_names, title, explanation)
    yield "images/augmented", drawn


def _draw_predictions(scene: Scene, chosen: np.ndarray, explanation: str) -> np.ndarray:
    images, labels = scene.shown.images.numpy()[chosen], scene.shown.labels[chosen]
    return predictions.draw(images, labels, scene.probabilities[chosen], scene.class_names, scene.title, explanation)


def _predictions(scene: Scene) -> Plots:
    order = _by_class(scene.shown.labels[:EXAMPLES])
    explanation = (
        f"{len(order)} {scene.shown.kind} images, their classes, and the probability of the prediction. "
        "In a frame: a wrong prediction, after the >."
    )
    yield "images/predictions", _draw_predictions(scene, order, explanation)


def worst_mistakes(scene: Scene) -> Plots:
    """Draw the wrong predictions with the highest probability, if there are any."""
    wrong = np.flatnonzero(scene.probabilities.argmax(1) != scene.shown.labels)
    worst = wrong[np.argsort(-scene.probabilities[wrong].max(1), kind="stable")][:MISTAKES]
    explanation = (
        f"The {len(worst)} most confident of {len(wrong):,} wrong predictions for {len(scene.shown.labels):,} "
        f"{scene.shown.kind} images: the class, and after the > the prediction."
    )
    if len(worst):
        yield "images/worst_mistakes", _draw_predictions(scene, worst, explanation)


def _confusion_matrix(scene: Scene) -> Plots:
    if scene.confusion is not None:
        yield "val/confusion_matrix", confusion_matrix.pixels(scene.confusion, scene.class_names, scene.title)


def _first_weights(scene: Scene) -> Plots:
    model, weights = scene.model, layer_outputs.first_weights(scene.model)
    if weights is not None:
        names = layer_outputs.names_of_first_units(model, scene.class_names)
        yield "weights/first_layer", filters.draw(weights.numpy(), f"First-layer weights: {scene.title}", names)


def _features(scene: Scene) -> Plots:
    model, images = scene.model, scene.shown.images[:WITH_FEATURES]
    convolutions = layer_outputs.convolutions(model)
    wanted = list(dict.fromkeys(convolutions[:1] + convolutions[-1:]))
    names = [scene.class_names[label] for label in scene.shown.labels[:WITH_FEATURES]]
    for name, maps in layer_outputs.outputs(model, images, wanted).items():
        channels = min(maps.shape[1], feature_maps.CHANNELS)
        explanation = f"The first {channels} of {maps.shape[1]} channels of the convolution '{name}'."
        yield f"features/{name}", feature_maps.draw(images.numpy(), maps.numpy(), names, scene.title, explanation)


def _class_activation(scene: Scene) -> Plots:
    layer = layer_outputs.last_convolution(scene.model)
    if layer is None:
        return
    order = _by_class(scene.shown.labels[:EXPLAINED])
    images, probabilities = scene.shown.images[order], scene.probabilities[order]
    maps = class_activation.maps(scene.model, images, torch.from_numpy(probabilities.argmax(1)), layer)
    yield (
        "images/class_activation",
        predictions.draw(
            images.numpy(),
            scene.shown.labels[order],
            probabilities,
            scene.class_names,
            scene.title,
            f"Bright places speak for the model's prediction (Grad-CAM at '{layer}').",
            maps.numpy(),
        ),
    )


PICTURES: dict[str, Callable[[Scene], Plots]] = {
    "predictions": _predictions,
    "confusion matrix": _confusion_matrix,
    "first-layer weights": _first_weights,
    "feature maps": _features,
    "class-activation maps": _class_activation,
}
LAST_PICTURES: dict[str, Callable[[Scene], Plots]] = {"worst mistakes": worst_mistakes}
