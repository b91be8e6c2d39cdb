"""Which classes are confused, the metrics of each class, and the most confident wrong predictions."""

import math

import numpy as np

from zoo.core.confusions import most_confused
from zoo.evaluation import mistakes, significance
from zoo.evaluation.document import Block, Fact, Gallery, Section, Table, Text, Tile, Value
from zoo.evaluation.sections.common import KINDS, plot
from zoo.evaluation.subject import Stage, Subject
from zoo.plots import confusion_matrix
from zoo.plots.mosaic import colors

PAIRS = 10  # of classes
IN_WORDS = 3  # pairs
WORST = 24  # mistakes
PLACES: dict[Stage, str] = {
    "test": "in the test set",
    "val": "in the training set, of which the validation set is a part",
}


def confusion(subject: Subject) -> Section:
    """Return the confusion matrix, with the most confused pairs in words."""
    counts, names = subject.predictions.confusion, subject.class_names
    pairs = most_confused(counts.tolist(), PAIRS)
    told = [f"{names[p.truth]} taken for {names[p.predicted]}: {p.images:,} of {p.total:,}" for p in pairs[:IN_WORDS]]
    images = f"{counts.sum():,} {KINDS[subject.stage]} images"
    blocks: list[Block] = [
        Text(f"Confused most: {'; '.join(told)}." if told else "No image was taken for another class."),
        plot(
            "confusion_matrix",
            confusion_matrix.draw(counts.tolist(), names, images),
            "Confusion matrix, in per cent of each true class",
            f"{subject.data.source_name}. A row has the images of a class, a column those that were taken for it.",
        ),
    ]
    if pairs:
        rows: dict[str, list[Value]] = {
            f"{names[p.truth]} taken for {names[p.predicted]}": [p.images, p.total, p.images / p.total] for p in pairs
        }
        columns = {"images": ",", "of": ",", "share": ".1%"}
        caption = "The pairs with the largest share of their true class."
        blocks.append(Table("most_confused", "confusion", columns, rows, caption))
    matrix = dict(zip(names, counts.tolist(), strict=True))
    caption = "The matrix in numbers of images: each row is a true class, each column a predicted class."
    is_large = len(names) > confusion_matrix.MOST_NUMBERED
    blocks.append(Table("confusion_matrix", "truth", dict.fromkeys(names, ","), matrix, caption, is_large))
    return Section("confusion", "Confusion matrix", blocks)


def per_class(subject: Subject) -> Section:
    """Return precision, recall and F1 of each class."""
    explanation = (
        "The accuracy of a class is its recall: the share of its images that is recognized, here with Wilson's 95 % "
        "interval. Precision is the share of the predictions of a class that is correct, and F1 the harmonic mean of "
        "precision and recall."
    )
    columns = {
        "images": ",", "predicted": ",", "accuracy (recall)": ".2%", "95 % interval": ".2%", "precision": ".2%",
        "F1": ".4f",
    }  # fmt: skip
    rows = {name: _row(subject.predictions.confusion, label) for label, name in enumerate(subject.class_names)}
    return Section("classes", "Each class", [Text(explanation), Table("per_class", "class", columns, rows)])


def _row(counts: np.ndarray, label: int) -> list[Value]:
    correct, images, predicted = (int(n) for n in (counts[label, label], counts[label].sum(), counts[:, label].sum()))
    recall = correct / images if images else math.nan
    precision = correct / predicted if predicted else math.nan
    f1 = 2 * correct / (images + predicted) if images + predicted else math.nan
    return [images, predicted, recall, significance.wilson(correct, images), precision, f1]


def worst(subject: Subject) -> Section:
    """Return the most confident wrong predictions."""
    predictions, names = subject.predictions, subject.class_names
    tiles = [
        Tile(
            colors(subject.images.pixels[position]),
            {
                "truth": Fact("truth", names[predictions.labels[position]]),
                "predicted": Fact("predicted", names[predictions.predicted[position]]),
                "probability": Fact("probability", float(predictions.confidences[position]), ".1%"),
                "index": Fact("image", int(subject.images.indices[position])),
            },
        )
        for position in mistakes.worst(predictions, WORST)
    ]
    wrong = int((~predictions.correct).sum())
    if not tiles:
        return Section("mistakes", "Worst mistakes", [Text("Every prediction is correct.")])
    text = (
        f"The {len(tiles)} most confident of {wrong:,} wrong predictions. The number of an image is its position "
        f"{PLACES[subject.stage]}, counted from 0."
    )
    return Section("mistakes", "Worst mistakes", [Text(text), Gallery("mistakes", tiles)])
