"""Print the metrics of an evaluation, and write them with their plots to a run directory."""

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch

from datamodules.image_data_module import ImageDataModule
from zoo.core import devices, files
from zoo.core.classifier import Classifier, Stage, count_parameters
from zoo.runs import metrics_csv, metrics_json
from zoo.training import run_logger

CONFUSION_MATRIX, LEARNING_CURVES = PLOTS = ("confusion_matrix.png", "learning_curves.png")


def show(model: Classifier, data: ImageDataModule, stage: Stage) -> None:
    """Print the metrics of the model's last pass over `stage`."""
    print(f"\n{metrics_json.table(_title(model, data, stage), model.results[stage], data.class_names)}\n", flush=True)


def write(
    trainer: L.Trainer, model: Classifier, data: ImageDataModule, stage: Stage, directory: Path, facts: dict[str, Any]
) -> None:
    """Write the metrics and plots of the model's last pass over `stage` to `directory`, and to TensorBoard.

    `metrics.json`, which `facts` are added to, comes last: a run with this file has all others.
    """
    summary = model.results[stage]
    content = {
        "model": type(model).__name__,
        "parameters": count_parameters(model),
        "data": {
            "source": data.source_name,
            "task": data.task,
            "train": len(data.train) if data.train else None,
            "val": len(data.val) if data.val else 0 if data.train else None,
            "test": len(data.test) if data.test else None,
        },
        **facts,
        f"{stage}/images": _images(summary),
        **metrics_json.flatten(stage, summary, data.class_names),
        "hardware": hardware(trainer),
        "versions": metrics_json.versions(),
    }
    if facts.get("checkpoint"):
        content["checkpoint"] = os.path.relpath(facts["checkpoint"], directory)
    _draw(trainer, data, stage, _title(model, data, stage), summary, directory)
    for logger in run_logger.run_loggers(trainer):
        logger.publish_test()
    metrics_json.write_json(directory / metrics_json.FILE, content)


def _images(summary: dict[str, Any]) -> int:
    return sum(map(sum, summary["confusion"]))


def _title(model: Classifier, data: ImageDataModule, stage: Stage) -> str:
    return f"{type(model).__name__} on {data.source_name}, {_images(model.results[stage]):,} {stage} images"


def _draw(
    trainer: L.Trainer, data: ImageDataModule, stage: Stage, title: str, summary: dict[str, Any], directory: Path
) -> None:
    from zoo.plots import confusion_matrix, learning_curves, png  # matplotlib takes a second to import

    plot = png.encode(confusion_matrix.pixels(summary["confusion"], data.class_names, title))
    files.write(directory / CONFUSION_MATRIX, plot)
    for logger in run_logger.run_loggers(trainer):
        logger.log_picture(f"{stage}/confusion_matrix", plot, run_logger.epochs_done(trainer))
    if columns := metrics_csv.read(directory / metrics_csv.FILE):
        curves = learning_curves.draw(columns, title.split(", ")[0])
        files.write(directory / LEARNING_CURVES, png.render(curves))


def hardware(trainer: L.Trainer) -> str:
    device, threads = trainer.strategy.root_device, torch.get_num_threads()
    if device.type != "cpu":
        return f"{trainer.world_size} x {devices.name(device)}"
    processes = f"{trainer.world_size} processes, " if trainer.world_size > 1 else ""
    return f"{devices.name(device)}, {processes}{threads} thread{'s' * (threads != 1)}"
