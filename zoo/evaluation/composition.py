"""All that a report on a trained model has, in its order."""

import numpy as np

from datamodules.errors import printable
from zoo.evaluation import calibration_error
from zoo.evaluation.corrupted_answers import SEVERITIES, Robustness
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
    """Measure, and return the report, and its verdict on the other model ("" where there is none).

    Args:
        subject: the model, and its answers.
        other: a model to compare it with.
        corruption_images: images of each corruption and severity, at most; 0 leaves them out.
        cifar10_c: see `zoo.evaluation.external_test_sets.cifar10_c`; None leaves it out.
        cifar10_1: see `zoo.evaluation.external_test_sets.cifar10_1`; None leaves it out.
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
    images = f"{len(subject.answers.labels):,} {KINDS[subject.stage]} images"
    report = Report(
        f"{subject.name} on {subject.data.source_name}",
        f"{images}, {len(subject.class_names)} classes; {printable(subject.trained.path)}",
        _highlights(subject, robust),
        [section for section in sections if section is not None],
    )
    return report, verdict


def _highlights(subject: Subject, robust: Robustness | None) -> list[Fact]:
    answers = subject.answers
    measured = accuracy(int(answers.right.sum()), len(answers.labels))
    interval = f"95 % interval: {measured['accuracy_interval'].shown()}"
    highlights, after = [measured["accuracy"]._replace(note=interval)], ""
    temperature = calibration_error.fit_temperature(subject.val) if subject.val is not None else None
    if temperature is not None and not calibration_error.is_at_end(temperature):
        scaled = calibration_error.scaled(answers, temperature)
        after = f"{100 * calibration_error.quality(scaled).ece:.2f} % with temperature scaling"
    highlights.append(Fact("Calibration error (ECE)", calibration_error.quality(answers).ece, ".2%", after))
    if robust is not None:
        balanced = "balanced; " if len(subject.class_names) == 2 else ""
        cells = (
            f"{balanced}{100 * robust.clean:.1f} % without corruption; {len(robust.cells)} corruptions, "
            f"{len(SEVERITIES)} severities, {robust.images:,} images each"
        )
        highlights.append(Fact("Mean corruption accuracy", robust.mean(), ".1%", cells))
    return [*highlights, Fact("Parameters", subject.parameters, ",")]
