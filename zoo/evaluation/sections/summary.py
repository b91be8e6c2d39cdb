"""Who was evaluated on what, and the figures that people ask for first."""

import torch

from datamodules.errors import printable
from zoo.core import metrics
from zoo.evaluation import calibration_error
from zoo.evaluation.document import Fact, Facts, Section, Text
from zoo.evaluation.sections.common import KINDS, accuracy
from zoo.evaluation.sections.run import best_epoch, epoch_metrics
from zoo.evaluation.subject import Stage, Subject

ONCE: dict[Stage, str] = {
    "test": (
        "All figures are of the test set, which is for the end: choose between models, settings and checkpoints on "
        "the validation set (--stage val). Who chooses by the figures of this report makes them too good."
    ),
    "val": (
        "All figures are of the validation set, which is for choices. Where the checkpoint was chosen on these very "
        "images, they flatter it a little: the test set says, once and at the end, how good it is."
    ),
}


def section(subject: Subject) -> Section:
    """Return the section."""
    interval = Text(
        "The interval is Wilson's: another sample of as many images would give another accuracy, and intervals made in "
        "this way hold the accuracy on all images there could be in 95 of 100 cases.",
        "https://doi.org/10.1080/01621459.1927.10502953",
    )
    facts = {**_about(subject), **_figures(subject), **_training(subject)}
    return Section("summary", "Summary", [Facts(facts), Text(ONCE[subject.stage]), interval])


def _about(subject: Subject) -> dict[str, Fact]:
    return {
        "model": Fact("Model", subject.name),
        "parameters": Fact("Parameters", subject.parameters, ","),
        "checkpoint": Fact("Checkpoint", printable(subject.trained.path)),
        "source": Fact("Images", subject.data.source_name),
        "stage": Fact("Set", KINDS[subject.stage]),
        "images": Fact("Number of images", len(subject.answers.labels), ","),
        "task": Fact("Task", subject.data.task, note=f"{len(subject.class_names)} classes"),
    }


def _figures(subject: Subject) -> dict[str, Fact]:
    answers, binary = subject.answers, len(subject.class_names) == 2
    found = metrics.summarize(torch.from_numpy(answers.confusion))
    of = f"of '{subject.class_names[1]}'" if binary else "mean over the classes"
    facts = accuracy(int(answers.right.sum()), len(answers.labels))
    if binary:
        majority = "of always answering the commonest class"
        facts |= {
            "balanced_accuracy": Fact("Balanced accuracy", found["balanced_acc"], ".2%", "mean recall of the classes"),
            "majority_accuracy": Fact("For comparison", found["majority_acc"], ".2%", majority),
        }
    return facts | {
        "precision": Fact("Precision", found["precision"], ".4f", of),
        "recall": Fact("Recall", found["recall"], ".4f", of),
        "f1": Fact("F1", found["f1"], ".4f", of),
        "loss": Fact("Loss", calibration_error.quality(answers).nll, ".4f", "mean cross-entropy, in nats"),
    }


def _training(subject: Subject) -> dict[str, Fact]:
    trained = subject.trained
    facts = {"epochs": Fact("Epochs trained", trained.epochs, ",", "at this checkpoint")}
    columns = epoch_metrics(trained)
    if columns:
        facts["epochs_of_run"] = Fact("Epochs of its run", int(columns["epoch"][-1]), ",")
    if (best := best_epoch(columns)) is not None:
        facts["best_epoch"] = Fact("Best epoch", best, ",", "by the accuracy on the validation set")
    seed = trained.config.get("seed_everything")
    return facts | {"seed": Fact("Seed", None if seed is None else str(seed))}
