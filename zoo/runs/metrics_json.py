"""The results of a run: as a table for people, and as `metrics.json` for programs."""

import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import Any

from zoo.core import files, text_table
from zoo.core.confusions import most_confused

PACKAGES = ("cifar10-zoo", "torch", "torchvision", "lightning", "torchmetrics", "numpy")
FILE = "metrics.json"
MOST_IN_TABLE = 20  # classes: a terminal has no room for a larger confusion matrix
EXTREMES = 5  # classes, and pairs of classes, in a summary of more


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "not installed"
    return installed


def flatten(stage: str, summary: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """Return a summary of `zoo.core.metrics.summarize` under keys like "test/acc", and its classes by name."""
    flat: dict[str, Any] = {f"{stage}/{name}": value for name, value in summary.items() if isinstance(value, float)}
    flat[f"{stage}/acc_per_class"] = dict(zip(class_names, summary["acc_per_class"], strict=True))
    flat[f"{stage}/confusion"] = summary["confusion"]
    return flat


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as JSON."""
    files.write(path, as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """Return `content` as JSON, in which NaN and infinity become null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    text = re.sub(r"\[\s*\n[\s\d,]+\]", lambda row: " ".join(row[0].split()), text)  # a row of a matrix is one line
    return f"{text}\n".encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, summary: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Return a summary of `zoo.core.metrics.summarize` as text: the metrics, then a row for each class.

    The row has the accuracy (recall) of the class and its row of the confusion matrix. Of many classes, the text has
    those with the lowest and the highest accuracy, and the most confused pairs.
    """
    binary = len(class_names) == 2
    kind = f"of '{class_names[1]}'" if binary else "mean over the classes"
    lines = [title, f"  accuracy   {summary['acc']:.4f}"]
    if binary:
        lines[-1] += f"   (always predicting the commonest class: {summary['majority_acc']:.4f})"
        lines.append(f"  balanced   {summary['balanced_acc']:.4f}   (mean recall of the two classes)")
    if "acc_tta" in summary:
        lines.append(f"  averaged   {summary['acc_tta']:.4f}   (accuracy with test-time augmentation)")
    lines += [f"  {name:<10} {summary[name]:.4f}   ({kind})" for name in ("precision", "recall", "f1")]
    lines.append(f"  loss       {summary['loss']:.4f}")
    if len(class_names) > MOST_IN_TABLE:
        return "\n".join([*lines, "", *(f"  {line}" for line in _of_many_classes(summary, class_names))])

    recalls = ["   -  " if math.isnan(recall) else f"{recall:.4f}" for recall in summary["acc_per_class"]]
    classes = text_table.align([("class", "accuracy"), *zip(class_names, recalls, strict=True)], right={1})
    heads = [name if binary else name[:5] for name in class_names]
    confusion = [[str(count) for count in row] for row in summary["confusion"]]
    counts = text_table.align([heads, *confusion], right=range(len(heads)))
    columns = zip(classes, ["taken for:", *[" " * len("taken for:")] * len(class_names)], counts, strict=True)
    return "\n".join([*lines, "", *(f"  {left}  {middle} {right}" for left, middle, right in columns)])


def _of_many_classes(summary: Mapping[str, Any], class_names: Sequence[str]) -> list[str]:
    accuracies = [
        entry for entry in zip(summary["acc_per_class"], class_names, strict=True) if not math.isnan(entry[0])
    ]
    ranked = [(f"  {name}", f"{accuracy:.4f}") for accuracy, name in sorted(accuracies, key=itemgetter(0))]
    confused = [
        (f"  {class_names[pair.truth]} taken for {class_names[pair.predicted]}", f"{pair.images:,} of {pair.total:,}")
        for pair in most_confused(summary["confusion"], EXTREMES)
    ]
    rows = [(f"lowest of {len(class_names)} classes", "accuracy"), *ranked[:EXTREMES]]
    rows += [("highest", ""), *ranked[: -EXTREMES - 1 : -1]]
    rows += [("confused most", "images"), *confused] if confused else []
    return text_table.align(rows, right={1})
