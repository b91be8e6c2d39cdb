"""The pages of `explain`: images that show what a trained network looks at and looks for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datamodules.errors import InputError, printable
from datamodules.loading import ImageDataset
from zoo.core.classifier import Classifier
from zoo.core.inputs import black_images
from zoo.interpretation import attribution, class_activation, layer_outputs, neighbours, pixels
from zoo.interpretation.images import Classified
from zoo.plots import explanation, feature_maps, filters
from zoo.plots.explanation import AMOUNT, SIGNED, Cell, Column, Row
from zoo.plots.mosaic import boxed, colors, fitted
from zoo.plots.predictions import overlay
from zoo.trained.trained_model import Trained

NEIGHBOURS = 5  # training images beside each image


def misfit(model: Classifier, method: str, layer: str | None) -> str | None:
    """Return in a line why one of `zoo.commands.explain.METHODS` does not fit a model and a named layer, or None."""
    image = black_images(model)
    try:
        if method == "cam":
            class_activation.maps(model, image, torch.zeros(1, dtype=torch.int64), layer)
        elif method in ("saliency", "integrated_gradients"):
            pixels.check(model, image)
        elif method == "filters" and layer_outputs.first_weights(model) is None:
            return f"the first layer of {type(model).__name__} does not see the pixels of an image"
        elif method in ("features", "neighbours"):
            layer_outputs.with_weights(model)
    except InputError as error:
        return str(error)
    return None


# Which pixels matter.


def attributions(trained: Trained, classified: Classified, methods: Sequence[str], layer: str | None) -> np.ndarray:
    """Draw what speaks for a class in each image, a column for each method of `zoo.commands.explain.ATTRIBUTIONS`.

    `layer` is that of the class-activation maps; None takes the last convolution.
    """
    columns, cells = zip(*(_column(trained.model, classified, method, layer) for method in methods), strict=True)
    pairs = zip(_facts(trained, classified), zip(*cells, strict=True), strict=True)
    rows = [Row(*facts, maps) for facts, maps in pairs]
    text = (
        "What speaks for the predicted class, or for the class that is explained. The number below each map is the "
        "value at the end of its colors, in units of the class's logit"
    )
    if "saliency" in methods:
        text += ", of saliency per step of a pixel's 0 to 255"
    return explanation.draw(rows, columns, _title(trained), f"{text}.")


def _column(model: Classifier, classified: Classified, method: str, layer: str | None) -> tuple[Column, list[Cell]]:
    if method == "cam":
        maps = class_activation.maps(model, classified.images, classified.classes, layer).numpy()
        column = Column("class activation", layer or layer_outputs.last_convolution(model) or "", AMOUNT)
        return column, [*map(_laid_over, classified.images.numpy(), maps)]
    square = attribution.square_side(model)
    column, explain, draw = {
        "saliency": (Column("saliency", "|gradient|", AMOUNT), attribution.saliency, explanation.amount),
        "integrated_gradients": (
            Column("integrated", "gradients", SIGNED), attribution.integrated_gradients, explanation.signed,
        ),
        "occlusion": (
            Column("occlusion", f"of {square} x {square}", SIGNED),
            attribution.occlusion, explanation.signed,
        ),
    }[method]  # fmt: skip
    return column, [draw(values) for values in explain(model, classified.images, classified.classes).numpy()]


def _laid_over(image: np.ndarray, values: np.ndarray) -> Cell:
    """Draw a class-activation map (height, width) over its image (c, h, w)."""
    highest = float(values.max())
    pixels = overlay(fitted(colors(image)), values / (highest or 1))
    return Cell(boxed(pixels), f"0 to {highest:.2g}" if highest else "0 everywhere")


def _facts(trained: Trained, classified: Classified) -> list[tuple[np.ndarray, list[str]]]:
    """Return each image, and lines of facts about it."""
    facts = []
    for number, name in enumerate(classified.names):
        probabilities, names = classified.probabilities[number], trained.class_names
        best, following = probabilities.argsort(descending=True)[:2].tolist()
        lines = [name]
        if classified.labels is not None:
            lines.append(f"truth     {names[classified.labels[number]]}")
        lines.append(f"predicted {names[best]} {100 * probabilities[best]:.0f} %")
        lines.append(f"next      {names[following]} {100 * probabilities[following]:.0f} %")
        if classified.classes[number] != best:
            lines += ["", f"explained: {names[classified.classes[number]]}"]
        facts.append((classified.images[number].numpy(), lines))
    return facts


# The outputs of the layers.


def first_filters(trained: Trained) -> np.ndarray:
    """Draw the weights of the first layer."""
    model, weights = trained.model, layer_outputs.first_weights(trained.model)
    assert weights is not None, "see misfit"
    names = layer_outputs.names_of_first_units(model, trained.class_names)
    return filters.draw(weights.numpy(), f"First-layer weights: {_title(trained)}", names)


def features(trained: Trained, classified: Classified, layer: str | None) -> np.ndarray:
    """Draw the output of `layer`; by default of the first and the last convolution, or else layer with weights."""
    model, images = trained.model, classified.images.numpy()
    names = layer_outputs.names(model)
    known = layer_outputs.convolutions(model) or layer_outputs.with_weights(model)
    wanted = [layer] if layer else list(dict.fromkeys([known[0], known[-1]]))
    drawn = []
    for name, output in layer_outputs.outputs(model, classified.images, wanted).items():
        values, title = output.numpy(), f"Layer '{name}': {_title(trained)}"
        if values.ndim == 4:
            which = _first(values.shape[1], feature_maps.CHANNELS, "channels")
            drawn.append(feature_maps.draw(images, values, classified.names, title, which))
            continue
        values = values.reshape(len(values), -1)
        which = _first(values.shape[1], feature_maps.UNITS, "units")
        are_logits = name == names[-1] and values.shape[1] == model.num_outputs
        unit_names = trained.class_names[-model.num_outputs :] if are_logits else ()
        drawn.append(feature_maps.draw_units(images, values, classified.names, title, which, unit_names))
    return _below(drawn)


def _first(there: int, shown: int, what: str) -> str:
    return f"The first {shown} of {there:,} {what}." if there > shown else f"All {what}."


def _below(plots: Sequence[np.ndarray]) -> np.ndarray:
    """Return plots (height, width, 3), one below the other."""
    width = max(plot.shape[1] for plot in plots)
    margins = [((0, 0), (0, width - plot.shape[1]), (0, 0)) for plot in plots]
    return np.concatenate([np.pad(p, margin, constant_values=255) for p, margin in zip(plots, margins, strict=True)])


# Similar images.


def nearest(trained: Trained, classified: Classified, training: ImageDataset, cache: Path) -> np.ndarray:
    """Draw the nearest of the training images, without augmentation, for each image.

    `cache` is the file of `zoo.interpretation.neighbours.directions`.
    """
    directions = neighbours.directions(trained.model, training.images.permute(0, 3, 1, 2), cache)
    nearest_images = neighbours.nearest(trained.model, classified.images, directions, NEIGHBOURS)
    rows = []
    for known, positions, similarities in zip(_facts(trained, classified), *nearest_images, strict=True):
        near = [
            Cell(
                boxed(colors(training.images[position].permute(2, 0, 1).numpy())),
                f"{trained.class_names[training.labels[position]]} {similarity:.2f}",
            )
            for position, similarity in zip(positions, similarities, strict=True)
        ]
        rows.append(Row(*known, near))
    columns = [Column(f"{place}.") for place in range(1, len(rows[0].cells) + 1)]
    text = (
        f"The nearest of {len(training):,} training images, by the cosine between the features of the two images, "
        "which are the inputs of the last layer. Below each: its class and the cosine, 1 for the same direction."
    )
    return explanation.draw(rows, columns, _title(trained), text)


def _title(trained: Trained) -> str:
    source, epochs = trained.data_title, f"{trained.epochs} epoch{'s' * (trained.epochs != 1)}"
    return f"{type(trained.model).__name__}, {source}, {epochs} ({printable(trained.path)})"
