"""The training of the model, its speed, and the versions that made the report."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from datamodules.errors import InputError
from zoo.evaluation.document import Fact, Facts, Listing, Section, Text
from zoo.evaluation.latency import TURNS, measure
from zoo.evaluation.sections.common import plot
from zoo.evaluation.subject import Subject
from zoo.plots import learning_curves
from zoo.runs import configs, metrics_csv, metrics_json, run_directory
from zoo.trained.inference import BATCH_SIZE
from zoo.trained.trained_model import Trained


def epoch_metrics(trained: Trained) -> dict[str, list[float]]:
    """Return the columns of the run's metrics.csv; no columns if there is no run or no such file."""
    run = run_directory.run_of(trained.path)
    return metrics_csv.read(run / metrics_csv.FILE) if run else {}


def best_epoch(columns: Mapping[str, list[float]]) -> int | None:
    """Return the epoch with the highest validation accuracy; None if no epoch has one."""
    accuracies = np.array(columns.get("val/acc", [math.nan]))
    return None if np.isnan(accuracies).all() else int(columns["epoch"][np.nanargmax(accuracies)])


def curves(subject: Subject) -> Section | None:
    """Return the learning curves; None if the checkpoint lies in no run with a metrics.csv."""
    columns = epoch_metrics(subject.trained)
    if not columns:
        return None
    figure = learning_curves.draw(columns, subject.data.source_name)
    title = "Loss and accuracy over the epochs"
    caption = f"{title}. The checkpoint is of epoch {subject.trained.epochs:,}."
    return Section("curves", "Learning curves", [plot("learning_curves", figure, title, caption)])


def speed(subject: Subject) -> Section:
    latency = measure(subject.trained.model, subject.images.pixels[:BATCH_SIZE])
    facts = {
        "images_per_second": Fact("Throughput", latency.images_per_second, ",.0f", f"images/s, {BATCH_SIZE} at a time"),
        "milliseconds": Fact("Latency", latency.milliseconds, ".3g", "ms for one image alone"),
        "hardware": Fact("Hardware", latency.hardware),
    }
    method = (
        f"Medians of {TURNS['batch']} and {TURNS['single']} runs, from pixels in memory to logits. Other load on the "
        "machine makes both worse."
    )
    return Section("speed", "Speed", [Facts(facts), Text(method)])


def origin(subject: Subject) -> Section:
    text = yaml.safe_dump(_without_null(_config(subject.trained)), sort_keys=False, allow_unicode=True)
    versions = {name.replace("-", "_"): Fact(name, version) for name, version in metrics_json.versions().items()}
    made = {"date": Fact("Made on", time.strftime("%Y-%m-%d"))}
    return Section("origin", "Config and versions", [Facts(made | versions), Listing("config", "The config", text)])


def _config(trained: Trained) -> dict[str, Any]:
    """Return the config of the run, or the part of it in the checkpoint if that cannot be read."""
    run = run_directory.run_of(trained.path)
    try:
        return configs.read(run / run_directory.CONFIG) if run else trained.config
    except InputError:
        return trained.config


def _without_null(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_null(inner) for name, inner in value.items() if inner is not None}
