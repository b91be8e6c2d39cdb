"""How good the model is on other images than those it was made for."""

from collections.abc import Mapping, Sequence

import numpy as np

from zoo.evaluation import external_test_sets
from zoo.evaluation.corrupted_answers import SEED, SEVERITIES, Robustness, measure, score, subset
from zoo.evaluation.corruptions import CORRUPTIONS, corrupt
from zoo.evaluation.corruptions import __doc__ as definitions
from zoo.evaluation.document import Block, Fact, Facts, Listing, Picture, Section, Table, Text, Value
from zoo.evaluation.sections.common import KINDS, accuracy, picture
from zoo.evaluation.subject import Images, Subject, answers
from zoo.plots import mosaic
from zoo.plots import severity_plot as figures

PAPER = "https://arxiv.org/abs/1903.12261"


def corrupted(subject: Subject, images: int) -> tuple[Section, Robustness]:
    """Return the accuracies on corrupted images, and these alone.

    Args:
        subject: the model, and the images.
        images: a cell, at most.
    """
    chosen = subset(subject.images.labels, images)
    pixels, labels = subject.images.pixels[chosen], subject.images.labels[chosen]
    clean = score(labels, subject.answers.predictions[chosen], len(subject.class_names))

    def cell(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        return corrupt(pixels, name, severity, SEED), labels

    found = measure(subject.trained.model, clean, CORRUPTIONS, cell, len(chosen), "corruptions")
    kinds = dict.fromkeys(corruption.kind for corruption in CORRUPTIONS.values())
    groups = {
        kind: {name: found.cells[name] for name, corruption in CORRUPTIONS.items() if corruption.kind == kind}
        for kind in kinds
    }
    method = (
        f"Each cell is of the same {len(chosen):,} of {len(subject.images.labels):,} {KINDS[subject.stage]} images: a "
        "random choice, the classes in proportion, the same for every model of its task. The corruptions are this "
        "project's own, after Hendrycks and Dietterich; they are not CIFAR-10-C, and its figures not comparable with "
        "these."
    )
    parameters: dict[str, list[Value]] = {
        name: [*corruption.parameters, corruption.unit] for name, corruption in CORRUPTIONS.items()
    }
    columns = {f"severity {severity}": "g" for severity in SEVERITIES} | {"the parameter c": ""}
    blocks: list[Block] = [
        Text(method, PAPER),
        *_blocks("corruptions", subject, found, groups),
        _examples(pixels[_showing(pixels)]),
        Table("parameters", "corruption", columns, parameters, "The parameter c of each corruption."),
        Listing("definitions", "What each corruption does", "".join((definitions or "").partition("On pixels")[1:])),
    ]
    return Section("robustness", "Robustness", blocks), found


def cifar10_c(subject: Subject, files: tuple[dict[str, np.ndarray], np.ndarray], images: int) -> Section:
    """Return the accuracies on CIFAR-10-C.

    Args:
        subject: the model.
        files: see `zoo.evaluation.external_test_sets.cifar10_c`.
        images: a cell, at most.
    """
    pixels, labels = files[0], _of_task(subject, files[1])
    block = len(labels) // len(SEVERITIES)
    chosen = subset(labels[:block], images)

    def cell(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        rows = (severity - 1) * block + chosen
        return pixels[name][rows].transpose(0, 3, 1, 2), labels[rows]

    clean = score(subject.answers.labels, subject.answers.predictions, len(subject.class_names))
    found = measure(subject.trained.model, clean, pixels, cell, len(chosen), "CIFAR-10-C")
    kinds = {
        kind: {name: found.cells[name] for name in names if name in found.cells}
        for kind, names in external_test_sets.KINDS.items()
    }
    choice = "" if len(chosen) == block else ", a random choice, the classes in proportion"
    text = (
        f"{len(pixels)} of the 19 corruptions of CIFAR-10-C, {len(chosen):,} of {block:,} images a cell{choice}. "
        "As in publications, the means leave out those that are for choices: "
        f"{', '.join(external_test_sets.FOR_CHOICES)}. "
        f"The figure without corruption is of all {len(subject.images.labels):,} {KINDS[subject.stage]} images."
    )
    groups = {kind: accuracies for kind, accuracies in kinds.items() if accuracies}
    blocks = _blocks("cifar10_c", subject, found, groups, external_test_sets.FOR_CHOICES)
    return Section("cifar10_c", "CIFAR-10-C", [Text(text, PAPER), *blocks])


def cifar10_1(subject: Subject, files: tuple[np.ndarray, np.ndarray]) -> Section:
    """Return the accuracy on CIFAR-10.1; for `files` see `zoo.evaluation.external_test_sets.cifar10_1`."""
    labels = _of_task(subject, files[1])
    pixels = np.ascontiguousarray(files[0].transpose(0, 3, 1, 2))
    found = answers(subject.trained, Images(pixels, labels, np.arange(len(labels))))
    right, n = int(found.right.sum()), len(labels)
    difference = right / n - float(subject.answers.right.mean())
    facts = {
        "images": Fact("Number of images", n, ","),
        **accuracy(right, n),
        "difference": Fact("Difference", difference, "+.2%", f"from the {KINDS[subject.stage]} set"),
    }
    text = (
        "New photographs, chosen as those of CIFAR-10 were. Its authors found every network to do worse on them than "
        "on CIFAR-10's own test images."
    )
    return Section("cifar10_1", "CIFAR-10.1", [Text(text, "https://arxiv.org/abs/1806.00451"), Facts(facts)])


def _of_task(subject: Subject, labels: np.ndarray) -> np.ndarray:
    """Return the classes of CIFAR-10 as those of the model's task."""
    return labels if len(subject.class_names) > 2 else (labels != 0).astype(np.int64)


def _blocks(
    key: str,
    subject: Subject,
    found: Robustness,
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    not_in_mean: Sequence[str] = (),
) -> list[Block]:
    quantity = "Accuracy" if len(subject.class_names) > 2 else "Balanced accuracy"
    averaged = found.without(not_in_mean)
    cells = f"mean of {len(averaged.cells)} x {len(SEVERITIES)} cells"
    facts = {
        "images_per_cell": Fact("Images a cell", found.images, ","),
        "clean": Fact("Without corruption", found.clean, ".2%", quantity.lower()),
        "mean_corruption_accuracy": Fact("Mean corruption accuracy", averaged.mean(), ".2%", cells),
    }
    rows: dict[str, list[Value]] = {
        name: [*accuracies, float(np.mean(accuracies))] for name, accuracies in found.cells.items()
    }
    rows["mean"] = [*averaged.of_severities(), averaged.mean()]
    columns = dict.fromkeys([*(f"severity {severity}" for severity in SEVERITIES), "mean"], ".1%")
    title = f"{quantity} by the severity of the corruption"
    return [
        Facts(facts),
        picture(key, figures.draw_accuracies(groups, found.clean, quantity), title, f"{title}."),
        Table(key, "corruption", columns, rows, f"{quantity} on corrupted images."),
    ]


def _showing(pixels: np.ndarray) -> int:
    """Return which of images (n, 3, height, width) has much colour and much detail: it shows most corruptions well."""
    colour = pixels.std(1).mean((1, 2))
    detail = np.abs(np.diff(pixels.mean(1))).mean((1, 2))
    return int((colour * detail).argmax())


def _examples(image: np.ndarray) -> Picture:
    spoiled = {
        name: np.concatenate([corrupt(image[None], name, severity, SEED) for severity in SEVERITIES])
        for name in CORRUPTIONS
    }
    figure = figures.draw_examples(image, spoiled)
    title = "One of the images under each corruption, by severity"
    return Picture(
        "examples", "png", mosaic.as_png(figure), title, f"{title}.", round(figure.get_figwidth() * figure.dpi)
    )
