"""Which classes are confused, how good each is, and which wrong answers the model was surest of."""

import math

import numpy as np

from zoo.evaluation import mistakes, significance
from zoo.evaluation.document import Block, Fact, Gallery, Section, Table, Text, Tile, Value
from zoo.evaluation.sections.common import KINDS, picture
from zoo.evaluation.subject import Stage, Subject
from zoo.plots import confusion_matrix

PAIRS = 10  # of classes
IN_WORDS = 3  # of these
WORST = 24  # mistakes
PLACES: dict[Stage, str] = {
    "test": "in the test set",
    "val": "in the training set, of which the validation set is a part",
}


def confusion(subject: Subject) -> Section:
    """Return the confusion matrix, and the pairs that are confused most in words."""
    counts, names = subject.answers.confusion, subject.class_names
    pairs = mistakes.most_confused(counts, PAIRS)
    told = [f"{names[p.truth]} taken for {names[p.answer]}: {p.images:,} of {p.of:,}" for p in pairs[:IN_WORDS]]
    images = f"{counts.sum():,} {KINDS[subject.stage]} images"
    blocks: list[Block] = [
        Text(f"Confused most: {'; '.join(told)}." if told else "No image was taken for another class."),
        picture(
            "confusion_matrix",
            confusion_matrix.draw(counts.tolist(), names, images),
            "Confusion matrix, in per cent of each true class",
            f"{subject.data.source_name}. A row has the images of a class, a column those that were taken for it.",
        ),
    ]
    if pairs:
        rows: dict[str, list[Value]] = {
            f"{names[p.truth]} taken for {names[p.answer]}": [p.images, p.of, p.images / p.of] for p in pairs
        }
        columns = {"images": ",", "of": ",", "share": ".1%"}
        blocks.append(
            Table("most_confused", "confusion", columns, rows, "Those with the largest share of their class.")
        )
    blocks.append(
        Table(
            "confusion_matrix",
            "truth",
            dict.fromkeys(names, ","),
            dict(zip(names, counts.tolist(), strict=True)),
            "The matrix in numbers of images: each row is a true class, each column an answer.",
        )
    )
    return Section("confusion", "Confusion matrix", blocks)


def per_class(subject: Subject) -> Section:
    """Return precision, recall and F1 of each class."""
    explanation = (
        "The accuracy of a class is its recall: the share of its images that is recognized, here with Wilson's 95 % "
        "interval. Precision is the share of the answers naming the class that is right, and F1 the harmonic mean of "
        "precision and recall."
    )
    columns = {
        "images": ",", "answers": ",", "accuracy (recall)": ".2%", "95 % interval": ".2%", "precision": ".2%",
        "F1": ".4f",
    }  # fmt: skip
    rows = {name: _row(subject.answers.confusion, label) for label, name in enumerate(subject.class_names)}
    return Section("classes", "Each class", [Text(explanation), Table("per_class", "class", columns, rows)])


def _row(counts: np.ndarray, label: int) -> list[Value]:
    right, images, answers = (int(n) for n in (counts[label, label], counts[label].sum(), counts[:, label].sum()))
    recall = right / images if images else math.nan
    precision = right / answers if answers else math.nan
    f1 = 2 * right / (images + answers) if images + answers else math.nan
    return [images, answers, recall, significance.wilson(right, images), precision, f1]


def worst(subject: Subject) -> Section:
    """Return the wrong answers that the model was surest of."""
    answers, names = subject.answers, subject.class_names
    tiles = [
        Tile(
            subject.images.pixels[position].transpose(1, 2, 0),
            {
                "truth": Fact("truth", names[answers.labels[position]]),
                "answer": Fact("answer", names[answers.predictions[position]]),
                "probability": Fact("sure", float(answers.confidences[position]), ".1%"),
                "index": Fact("image", int(subject.images.indices[position])),
            },
        )
        for position in mistakes.worst(answers, WORST)
    ]
    wrong = int((~answers.right).sum())
    if not tiles:
        return Section("mistakes", "Worst mistakes", [Text("Not one answer is wrong.")])
    text = (
        f"Of {wrong:,} wrong answers the {len(tiles)} that the model was surest of. An image's number is its place "
        f"{PLACES[subject.stage]}, counted from 0."
    )
    return Section("mistakes", "Worst mistakes", [Text(text), Gallery("mistakes", tiles)])
