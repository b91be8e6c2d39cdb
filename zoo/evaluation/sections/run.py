"""How the model was trained, how fast it is, and what the report was made with."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from datamodules.errors import InputError
from zoo.evaluation.document import Fact, Facts, Listing, Section, Text
from zoo.evaluation.latency import TURNS, Latency, measure
from zoo.evaluation.sections.common import picture
from zoo.evaluation.subject import Subject
from zoo.plots import learning_curves
from zoo.runs import configs, metrics_csv, results, run_directory
from zoo.trained.inference import BATCH_SIZE
from zoo.trained.trained_model import Trained


def epoch_metrics(trained: Trained) -> dict[str, list[float]]:
    """Return the columns of the run's metrics.csv; no columns if there is no run or no such file.

    Raises:
        InputError: if the file cannot be read.
    """
    run = run_directory.run_of(trained.path)
    return metrics_csv.read(run / metrics_csv.FILE) if run else {}


def best_epoch(columns: Mapping[str, list[float]]) -> int | None:
    """Return the epoch of the highest accuracy on the validation set; None where there is none."""
    accuracies = np.array(columns.get("val/acc", [math.nan]))
    return None if np.isnan(accuracies).all() else int(columns["epoch"][np.nanargmax(accuracies)])


def curves(subject: Subject) -> Section | None:
    """Return the learning curves; None where the checkpoint lies in no run that has any."""
    columns = epoch_metrics(subject.trained)
    if not columns:
        return None
    figure = learning_curves.draw(columns, subject.data.source_name)
    title = "Loss and accuracy over the epochs"
    caption = f"{title}. The checkpoint is of epoch {subject.trained.epochs:,}."
    return Section("curves", "Learning curves", [picture("learning_curves", figure, title, caption)])


def speed(subject: Subject) -> Section:
    """Return throughput and latency."""
    found: Latency = measure(subject.trained.model, subject.images.pixels[:BATCH_SIZE])
    facts = {
        "images_per_second": Fact("Throughput", found.images_per_second, ",.0f", f"images/s, {BATCH_SIZE} at a time"),
        "milliseconds": Fact("Latency", found.milliseconds, ".3g", "ms for one image alone"),
        "hardware": Fact("Hardware", found.hardware),
    }
    method = (
        f"Medians of {TURNS['batch']} and {TURNS['single']} turns, from pixels in memory to logits. Other load on the "
        "machine makes both worse."
    )
    return Section("speed", "Speed", [Facts(facts), Text(method)])


def origin(subject: Subject) -> Section:
    """Return the config of the model, and the versions of what made the report."""
    text = yaml.safe_dump(_given(_config(subject.trained)), sort_keys=False, allow_unicode=True)
    versions = {name.replace("-", "_"): Fact(name, version) for name, version in results.versions().items()}
    made = {"date": Fact("Made on", time.strftime("%Y-%m-%d"))}
    return Section("origin", "Config and versions", [Facts(made | versions), Listing("config", "The config", text)])


def _config(trained: Trained) -> dict[str, Any]:
    """Return the config of the run; where that cannot be had, what the checkpoint tells of it."""
    run = run_directory.run_of(trained.path)
    try:
        return configs.read(run / run_directory.CONFIG) if run else trained.config
    except InputError:
        return trained.config


def _given(value: Any) -> Any:
    """Return `value` without what is null in it."""
    if not isinstance(value, dict):
        return value
    return {name: _given(inner) for name, inner in value.items() if inner is not None}
