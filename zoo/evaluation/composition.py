"""Compose a report on a trained model: its sections, in order."""

import numpy as np

from datamodules.errors import printable
from zoo.evaluation import calibration_error
from zoo.evaluation.corrupted_images import SEVERITIES, Robustness
from zoo.evaluation.document import Fact, Report, Section
from zoo.evaluation.sections import calibration as calibration_section
from zoo.evaluation.sections import classes, comparison, robustness, run, summary
from zoo.evaluation.sections.common import KINDS, accuracy
from zoo.evaluation.subject import Subject
from zoo.trained.trained_model import Trained


def compose(
    subject: Subject,
    other: Trained | None,
    corruption_images: int,
    cifar10_c: tuple[dict[str, np.ndarray], np.ndarray] | None,
    cifar10_1: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[Report, str]:
    """Measure everything; return the report, and its verdict on the other model ("" without one).

    `corruption_images` is the most images for each corruption and severity; 0 leaves corruptions out. `cifar10_c` and
    `cifar10_1` are results of `zoo.evaluation.external_test_sets`.
    """
    sections: list[Section | None] = [summary.section(subject)]
    verdict, robust = "", None
    if other is not None:
        compared, verdict = comparison.section(subject, other)
        sections.append(compared)
    sections += [
        classes.confusion(subject),
        classes.per_class(subject),
        calibration_section.section(subject),
        classes.worst(subject),
    ]
    if corruption_images:
        on_corrupted, robust = robustness.corrupted(subject, corruption_images)
        sections.append(on_corrupted)
    if cifar10_c is not None:
        sections.append(robustness.cifar10_c(subject, cifar10_c, corruption_images))
    if cifar10_1 is not None:
        sections.append(robustness.cifar10_1(subject, cifar10_1))
    sections += [run.curves(subject), run.speed(subject), run.origin(subject)]
    images = f"{len(subject.predictions.labels):,} {KINDS[subject.stage]} images"
    report = Report(
        f"{subject.name} on {subject.data.source_name}",
        f"{images}, {len(subject.class_names)} classes; {printable(subject.trained.path)}",
        _highlights(subject, robust),
        [section for section in sections if section is not None],
    )
    return report, verdict


def _highlights(subject: Subject, robust: Robustness | None) -> list[Fact]:
    predictions = subject.predictions
    measured = accuracy(int(predictions.correct.sum()), len(predictions.labels))
    interval = f"95 % interval: {measured['accuracy_interval'].shown()}"
    highlights, after = [measured["accuracy"]._replace(note=interval)], ""
    temperature = calibration_error.fit_temperature(subject.val) if subject.val is not None else None
    if temperature is not None and not calibration_error.is_at_end(temperature):
        scaled = calibration_error.scaled(predictions, temperature)
        after = f"{100 * calibration_error.quality(scaled).ece:.2f} % with temperature scaling"
    highlights.append(Fact("Calibration error (ECE)", calibration_error.quality(predictions).ece, ".2%", after))
    if robust is not None:
        balanced = "balanced; " if len(subject.class_names) == 2 else ""
        cells = (
            f"{balanced}{100 * robust.clean:.1f} % without corruption; {len(robust.cells)} corruptions, "
            f"{len(SEVERITIES)} severities, {robust.images:,} images each"
        )
        highlights.append(Fact("Mean corruption accuracy", robust.mean(), ".1%", cells))
    return [*highlights, Fact("Parameters", subject.parameters, ",")]
