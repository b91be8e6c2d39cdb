"""The results of a run: as a table for people, and as `metrics.json` for programs."""

import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from zoo.core import files, text_table

PACKAGES = ("cifar10-zoo", "torch", "torchvision", "lightning", "torchmetrics", "numpy")
FILE = "metrics.json"


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

    The row has the accuracy (recall) of the class and its row of the confusion matrix.
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

    recalls = ["   -  " if math.isnan(recall) else f"{recall:.4f}" for recall in summary["acc_per_class"]]
    classes = text_table.align([("class", "accuracy"), *zip(class_names, recalls, strict=True)], right={1})
    heads = [name if binary else name[:5] for name in class_names]
    confusion = [[str(count) for count in row] for row in summary["confusion"]]
    counts = text_table.align([heads, *confusion], right=range(len(heads)))
    columns = zip(classes, ["taken for:", *[" " * len("taken for:")] * len(class_names)], counts, strict=True)
    return "\n".join([*lines, "", *(f"  {left}  {middle} {right}" for left, middle, right in columns)])
