"""What was evaluated on which images, and the metrics that people ask for first."""

import torch

from datamodules.errors import printable
from zoo.core import metrics, views
from zoo.evaluation import calibration_error
from zoo.evaluation.document import Fact, Facts, Section, Text
from zoo.evaluation.sections.common import KINDS, accuracy
from zoo.evaluation.sections.run import best_epoch, epoch_metrics
from zoo.evaluation.subject import Stage, Subject

ONCE: dict[Stage, str] = {
    "test": (
        "All metrics are of the test set. Choose between models, settings and checkpoints on the validation set "
        "(--stage val): selecting by test metrics makes them too optimistic."
    ),
    "val": (
        "All metrics are of the validation set, which is for choices. If the checkpoint was chosen on these images, "
        "they are a little too optimistic. The test set is for one measurement at the end."
    ),
}


def section(subject: Subject) -> Section:
    interval = Text(
        "The interval is Wilson's: another sample of as many images would give another accuracy, and 95 of 100 such "
        "intervals contain the accuracy on all possible images.",
        "https://doi.org/10.1080/01621459.1927.10502953",
    )
    facts = {**_about(subject), **_metrics(subject), **_training(subject)}
    return Section("summary", "Summary", [Facts(facts), Text(ONCE[subject.stage]), interval])


def _about(subject: Subject) -> dict[str, Fact]:
    names = subject.class_names
    tta = subject.trained.model.tta
    averaged = {} if tta == views.NO_VIEWS else {"tta": Fact("Test-time augmentation", tta, note=views.describe(tta))}
    classes = f"{len(names)} classes" if subject.data.task == "multiclass" else f"{names[0]} against the rest"
    return {
        "model": Fact("Model", subject.name),
        "parameters": Fact("Parameters", subject.parameters, ","),
        "checkpoint": Fact("Checkpoint", printable(subject.trained.path)),
        "source": Fact("Images", subject.data.source_name),
        "stage": Fact("Set", KINDS[subject.stage]),
        "images": Fact("Number of images", len(subject.predictions.labels), ","),
        "task": Fact("Task", subject.data.task, note=classes),
        **averaged,
    }


def _metrics(subject: Subject) -> dict[str, Fact]:
    predictions, is_binary = subject.predictions, len(subject.class_names) == 2
    summary = metrics.summarize(torch.from_numpy(predictions.confusion))
    note = f"of '{subject.class_names[1]}'" if is_binary else "mean over the classes"
    facts = accuracy(int(predictions.correct.sum()), len(predictions.labels))
    if is_binary:
        balanced, majority = "mean recall of the classes", "of always answering the commonest class"
        facts["balanced_accuracy"] = Fact("Balanced accuracy", summary["balanced_acc"], ".2%", balanced)
        facts["majority_accuracy"] = Fact("For comparison", summary["majority_acc"], ".2%", majority)
    return facts | {
        "precision": Fact("Precision", summary["precision"], ".4f", note),
        "recall": Fact("Recall", summary["recall"], ".4f", note),
        "f1": Fact("F1", summary["f1"], ".4f", note),
        "loss": Fact("Loss", calibration_error.quality(predictions).nll, ".4f", "mean cross-entropy, in nats"),
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
