"""The accuracy of the model on corrupted images and on other test sets."""

from collections.abc import Mapping, Sequence

import numpy as np

from datamodules.data_sets import CIFAR10
from zoo.evaluation import external_test_sets
from zoo.evaluation.corrupted_images import SEED, SEVERITIES, Robustness, measure, score, subset
from zoo.evaluation.corruptions import CORRUPTIONS, corrupt, names_for
from zoo.evaluation.corruptions import __doc__ as definitions
from zoo.evaluation.document import Block, Fact, Facts, Listing, Plot, Section, Table, Text, Value
from zoo.evaluation.sections.common import KINDS, accuracy, plot
from zoo.evaluation.subject import Images, Subject, predict
from zoo.plots import image_table, png, severity_plot

PAPER = "https://arxiv.org/abs/1903.12261"


def corrupted(subject: Subject, images: int) -> tuple[Section, Robustness]:
    """Return the section on corrupted images, and the accuracies alone; a cell has at most `images` images."""
    chosen = subset(subject.images.labels, images)
    pixels, labels = subject.images.pixels[chosen], subject.images.labels[chosen]
    clean = score(labels, subject.predictions.predicted[chosen], len(subject.class_names))
    _, channels, side, _ = pixels.shape
    names = names_for(channels)

    def cell(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        return corrupt(pixels, name, severity, SEED), labels

    robust = measure(subject.trained.model, clean, names, cell, len(chosen), "corruptions")
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(CORRUPTIONS[name].kind, []).append(name)
    method = (
        f"Each cell has the same {len(chosen):,} of {len(subject.images.labels):,} {KINDS[subject.stage]} images: a "
        "random stratified choice, the same for every model of its task. The corruptions are this project's own, after "
        "Hendrycks and Dietterich. They are not CIFAR-10-C, and accuracies on the two are not comparable."
    )
    if missing := [name for name in CORRUPTIONS if name not in names]:
        method += f" Left out, because it is for color images: {', '.join(missing)}."
    parameters: dict[str, list[Value]] = {
        name: [*(CORRUPTIONS[name].parameter(severity, side) for severity in SEVERITIES), CORRUPTIONS[name].unit]
        for name in names
    }
    columns = {f"severity {severity}": "g" for severity in SEVERITIES} | {"the parameter c": ""}
    blocks: list[Block] = [
        Text(method, PAPER),
        *_blocks("corruptions", subject, robust, kinds),
        _examples(pixels[_showing(pixels)]),
        Table("parameters", "corruption", columns, parameters, "The parameter c of each corruption."),
        Listing("definitions", "What each corruption does", "".join((definitions or "").partition("On pixels")[1:])),
    ]
    return Section("robustness", "Robustness", blocks), robust


def cifar10_c(subject: Subject, files: tuple[dict[str, np.ndarray], np.ndarray], images: int) -> Section:
    """Return the section on CIFAR-10-C, the result of `zoo.evaluation.external_test_sets.cifar10_c`."""
    pixels, labels = files[0], _task_labels(subject, files[1])
    block = len(labels) // len(SEVERITIES)
    chosen = subset(labels[:block], images)

    def cell(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
        rows = (severity - 1) * block + chosen
        return pixels[name][rows].transpose(0, 3, 1, 2), labels[rows]

    clean = score(subject.predictions.labels, subject.predictions.predicted, len(subject.class_names))
    robust = measure(subject.trained.model, clean, pixels, cell, len(chosen), "CIFAR-10-C")
    kinds, left_out = external_test_sets.KINDS, external_test_sets.FOR_CHOICES
    choice = "" if len(chosen) == block else ", a random stratified choice"
    text = (
        f"{len(pixels)} of the 19 corruptions of CIFAR-10-C, {len(chosen):,} of {block:,} images a cell{choice}. "
        "As in publications, the means leave out the corruptions for choices: "
        f"{', '.join(left_out)}. The accuracy without corruption is that on all "
        f"{len(subject.images.labels):,} {KINDS[subject.stage]} images."
    )
    blocks = _blocks("cifar10_c", subject, robust, kinds, left_out)
    return Section("cifar10_c", "CIFAR-10-C", [Text(text, PAPER), *blocks])


def cifar10_1(subject: Subject, files: tuple[np.ndarray, np.ndarray]) -> Section:
    """Return the section on CIFAR-10.1, the result of `zoo.evaluation.external_test_sets.cifar10_1`."""
    labels = _task_labels(subject, files[1])
    pixels = np.ascontiguousarray(files[0].transpose(0, 3, 1, 2))
    predictions = predict(subject.trained, Images(pixels, labels, np.arange(len(labels))))
    correct, n = int(predictions.correct.sum()), len(labels)
    difference = correct / n - float(subject.predictions.correct.mean())
    facts = {
        "images": Fact("Number of images", n, ","),
        **accuracy(correct, n),
        "difference": Fact("Difference", difference, "+.2%", f"from the {KINDS[subject.stage]} set"),
    }
    text = (
        "New photographs, chosen as the images of CIFAR-10 were. Its authors found every network less accurate "
        "on them than on CIFAR-10's own test images."
    )
    return Section("cifar10_1", "CIFAR-10.1", [Text(text, "https://arxiv.org/abs/1806.00451"), Facts(facts)])


def _task_labels(subject: Subject, labels: np.ndarray) -> np.ndarray:
    """Return the labels of the subject's task, given those of CIFAR-10."""
    if subject.data.task == "multiclass":
        return labels
    return (labels != CIFAR10.class_names.index(subject.class_names[0])).astype(np.int64)


def _blocks(
    key: str,
    subject: Subject,
    robust: Robustness,
    kinds: Mapping[str, Sequence[str]],
    not_in_mean: Sequence[str] = (),
) -> list[Block]:
    quantity = "Accuracy" if len(subject.class_names) > 2 else "Balanced accuracy"
    averaged = robust.without(not_in_mean)
    cells = f"mean of {len(averaged.cells)} x {len(SEVERITIES)} cells"
    facts = {
        "images_per_cell": Fact("Images a cell", robust.images, ","),
        "clean": Fact("Without corruption", robust.clean, ".2%", quantity.lower()),
        "mean_corruption_accuracy": Fact("Mean corruption accuracy", averaged.mean(), ".2%", cells),
    }
    rows: dict[str, list[Value]] = {
        name: [*accuracies, float(np.mean(accuracies))] for name, accuracies in robust.cells.items()
    }
    rows["mean"] = [*averaged.severity_means(), averaged.mean()]
    columns = dict.fromkeys([*(f"severity {severity}" for severity in SEVERITIES), "mean"], ".1%")
    groups = {
        kind: {name: robust.cells[name] for name in names if name in robust.cells} for kind, names in kinds.items()
    }
    plotted = {kind: accuracies for kind, accuracies in groups.items() if accuracies}
    title = f"{quantity} by the severity of the corruption"
    return [
        Facts(facts),
        plot(key, severity_plot.draw(plotted, robust.clean, quantity), title, f"{title}."),
        Table(key, "corruption", columns, rows, f"{quantity} on corrupted images."),
    ]


def _showing(pixels: np.ndarray) -> int:
    """Return the position of an image with much color and detail, which shows most corruptions well."""
    color = pixels.std(1).mean((1, 2)) if pixels.shape[1] > 1 else 1
    detail = np.abs(np.diff(pixels.mean(1))).mean((1, 2))
    return int((color * detail).argmax())


def _examples(image: np.ndarray) -> Plot:
    names = names_for(len(image))
    rows = [
        np.concatenate([image[None], *(corrupt(image[None], name, severity, SEED) for severity in SEVERITIES)])
        for name in names
    ]
    columns = ["as it is", *map(str, SEVERITIES)]
    pixels = image_table.draw(np.stack(rows), columns, names, side=64)
    title = "One of the images under each corruption, by severity"
    return Plot("examples", "png", png.encode(pixels), title, f"{title}.", pixels.shape[1])
