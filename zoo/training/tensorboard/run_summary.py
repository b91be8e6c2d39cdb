"""A run's row in TensorBoard's HParams table, its config, and its environment."""

import inspect
import io
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import text

from datamodules.tasks import task_title
from zoo.core import files, markup
from zoo.core.about import FROM_DATA
from zoo.core.classifier import Classifier, count_parameters
from zoo.runs import configs, metrics_json
from zoo.training import stage_results
from zoo.training.callbacks.history import History
from zoo.training.tensorboard import observing

# TensorBoard reads the files of a run in the order of their names, which begin with the time in seconds, and never goes
# back. This file comes first.
FILE = "events.out.tfevents.0000000000.summary"
# All runs declare the same columns, because TensorBoard takes them from a single run.
COLUMNS = {
    "model": str,
    "model arguments": str,
    "optimizer": str,
    "lr": float,
    "schedule": str,
    "batch size": int,
    "epochs": int,
    "augmentation": str,
    "seed": int,
    "parameters": int,
    "data": str,
    "task": str,
    "training images": int,
}
DATA_TYPES = {str: api_pb2.DATA_TYPE_STRING, int: api_pb2.DATA_TYPE_FLOAT64, float: api_pb2.DATA_TYPE_FLOAT64}
SHOWN_FIRST = ("model", "optimizer", "lr", "batch size", "epochs")  # TensorBoard shows five until one clicks
METRICS = {
    "hp/val_acc": "best val accuracy",
    "hp/test_acc": "test accuracy",
    "hp/epochs": "epochs done",
    "hp/seconds": "seconds of training",
}


class RunSummary(L.Callback):
    """Gives a run its row in TensorBoard's HParams table, and the texts "config" and "environment".

    The row's settings and the texts have a file of their own, rewritten whenever a run begins, resumes or ends:
    TensorBoard keeps the first settings that it finds, and the latest ones must win. The row's metrics are curves over
    epochs, "hp/...", of which the table shows the last value. A run that is in progress, or was killed, has the status
    "unknown". The callback comes after `history` in the trainer's list.
    """

    def __init__(self, history: History, config: Mapping[str, Any], argv: Sequence[str]) -> None:
        self.history, self.config, self.argv = history, config, argv
        self._began = time.time()

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._write(trainer, pl_module, is_finished=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if (logger := observing.logger(trainer)) is not None:
            accuracies = [row["val/acc"] for row in self.history.rows if "val/acc" in row]
            best = {"hp/val_acc": max(accuracies)} if accuracies else {}
            done = {"hp/epochs": len(self.history.rows), "hp/seconds": self.history.seconds}
            logger.log_epoch(best | done, trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if (logger := observing.logger(trainer)) is not None:
            logger.log_epoch({"hp/test_acc": pl_module.results["test"]["acc"]}, trainer)
            self._write(trainer, pl_module, is_finished=True)

    def _write(self, trainer: L.Trainer, model: Classifier, is_finished: bool) -> None:
        logger = observing.logger(trainer)
        if logger is None:
            return
        with observing.optional("summary of the run"):
            columns, ended = settings(self.config, trainer, model), time.time() if is_finished else None
            texts = {"config": config_text(self.config), "environment": environment_text(self.argv, trainer)}
            summaries = [*row_summaries(columns, self._began, ended), *(text(*entry) for entry in texts.items())]
            files.write(Path(logger.log_dir) / FILE, event_file(summaries))


def settings(config: Mapping[str, Any], trainer: L.Trainer, model: Classifier) -> dict[str, str | float]:
    """Return the settings by column; "epochs" is missing if training has no end."""
    data, optimizer, schedule = observing.data(trainer), config["optimizer"], config["lr_schedule"]
    columns: dict[str, str | float] = {
        "model": class_name(config["model"]),
        "model arguments": ", ".join(asked_for(config["model"], without=FROM_DATA)) or "defaults",
        "optimizer": ", ".join([class_name(optimizer), *asked_for(optimizer, without=("lr",))]),
        "schedule": ", ".join([class_name(schedule), *asked_for(schedule)]),
        "batch size": data.batch_size * trainer.accumulate_grad_batches * trainer.world_size,
        "augmentation": data.augmentation.describe(),
        "seed": config["seed_everything"],
        "parameters": count_parameters(model),
        "data": data.source_name,
        "task": task_title(data.task, data.class_names),
        "training images": len(data.train) if data.train is not None else 0,
    }
    if "lr" in optimizer.get("init_args", {}):  # as in all of PyTorch's optimizers
        columns["lr"] = optimizer["init_args"]["lr"]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        columns["epochs"] = trainer.max_epochs
    return columns


def class_name(entry: Mapping[str, Any]) -> str:
    return entry["class_path"].rpartition(".")[2]


def asked_for(entry: Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """Return the arguments of a class in a config that differ from the defaults: ["momentum 0.9", "nesterov True"]."""
    parameters = inspect.signature(configs.import_class(entry["class_path"])).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    # A config holds a tuple as a list.
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    arguments = (entry.get("init_args") or {}) | (entry.get("dict_kwargs") or {})
    changed = (name for name in arguments if name not in defaults or arguments[name] != defaults[name])
    return [f"{name} {arguments[name]}" for name in changed if name not in without]


def row_summaries(columns: Mapping[str, str | float], began: float, ended: float | None) -> list[Summary]:
    """Return the summaries of TensorBoard's HParams table; times are seconds since 1970, `ended` None while it runs."""
    table = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=DATA_TYPES[kind], differs=name in SHOWN_FIRST)
            for name, kind in COLUMNS.items()
        ],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=name) for tag, name in METRICS.items()
        ],
    )
    start = SessionStartInfo(start_time_secs=began)
    for name, value in columns.items():
        setattr(start.hparams[name], "string_value" if COLUMNS[name] is str else "number_value", value)
    parts = {
        metadata.EXPERIMENT_TAG: HParamsPluginData(experiment=table),
        metadata.SESSION_START_INFO_TAG: HParamsPluginData(session_start_info=start),
    }
    if ended is not None:
        end = SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=ended)
        parts[metadata.SESSION_END_INFO_TAG] = HParamsPluginData(session_end_info=end)
    return [
        Summary(value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(part))])
        for tag, part in parts.items()
    ]


def config_text(config: Mapping[str, Any]) -> str:
    """Return the values that a config sets as Markdown, the trainer's long section at the end."""
    asked = _set(config)
    asked["trainer"] = asked.pop("trainer", {})
    return f"```yaml\n{without_places(yaml.safe_dump(asked, sort_keys=False))}```\n"


def _set(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _set(entry) for name, entry in value.items() if entry is not None}


def environment_text(argv: Sequence[str], trainer: L.Trainer) -> str:
    command = without_places(shlex.join(["python", "cli.py", *argv]))
    rows = {"hardware": stage_results.hardware(trainer)} | metrics_json.versions()
    first, *others = (f"| {name} | {value} |" for name, value in rows.items())
    return "\n".join([markup.code(command), "", first, "|-|-|", *others, ""])


def without_places(content: str) -> str:
    """Return a text without private parts: the folders of absolute paths, users and passwords in addresses."""
    content = re.sub(r"(?<=://)[^/\s@]*@", "", content)
    content = re.sub(r"\bfile:/+(?=[^/\s])", "/", content)
    # A folder's name may contain spaces if more of the path follows.
    folder = r"[^/\\\s'\",:]+(?: [^/\\\s'\",:-][^/\\\s'\",:]*)*"
    content = re.sub(rf"(?<![\w.:/…])/(?:{folder}/)+", "…/", content)
    return re.sub(rf"\b[A-Za-z]:\\(?:{folder}\\)+", "…/", content)


def event_file(summaries: Sequence[Summary]) -> bytes:
    content, now = io.BytesIO(), time.time()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in summaries:
        writer.write(Event(wall_time=now, step=0, summary=summary).SerializeToString())
    return content.getvalue()
