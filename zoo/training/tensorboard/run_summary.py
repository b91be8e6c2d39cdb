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

from zoo.core import files, markup
from zoo.core.classifier import Classifier, count_parameters
from zoo.runs import configs, results
from zoo.training import evaluation_results
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
    "unknown" and, unless it had ended before, no test accuracy.

    Args:
        history: has the epochs' metrics, and comes before this callback in the trainer's list.
        config: the whole config of the run.
        argv: the command line.
    """

    def __init__(self, history: History, config: Mapping[str, Any], argv: Sequence[str]) -> None:
        self.history, self.config, self.argv = history, config, argv
        self._began = time.time()

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Write the settings and the texts."""
        self._write(trainer, pl_module, is_finished=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log the best accuracy, the epochs and the seconds so far."""
        logger = observing.logger(trainer)
        if logger is not None:
            accuracies = [row["val/acc"] for row in self.history.rows if "val/acc" in row]
            best = {"hp/val_acc": max(accuracies)} if accuracies else {}
            done = {"hp/epochs": len(self.history.rows), "hp/seconds": self.history.seconds}
            logger.log_epoch(best | done, trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log the accuracy of the test, and that the run has ended."""
        logger = observing.logger(trainer)
        if logger is not None:
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


# The row.


def settings(config: Mapping[str, Any], trainer: L.Trainer, model: Classifier) -> dict[str, str | float]:
    """Return the settings by column; "epochs" is missing if training has no end."""
    data = observing.data(trainer)
    columns: dict[str, str | float] = {
        "model": class_name(config["model"]),
        "model arguments": ", ".join(asked_for(config["model"], without=("num_classes",))) or "defaults",
        "optimizer": ", ".join([class_name(config["optimizer"]), *asked_for(config["optimizer"], without=("lr",))]),
        "schedule": ", ".join([class_name(config["lr_schedule"]), *asked_for(config["lr_schedule"])]),
        "batch size": data.batch_size * trainer.accumulate_grad_batches * trainer.world_size,
        "augmentation": data.augmentation.describe(),
        "seed": config["seed_everything"],
        "parameters": count_parameters(model),
        "data": data.source_name,
        "task": data.task,
        "training images": len(data.train) if data.train is not None else 0,
    }
    if "lr" in config["optimizer"].get("init_args", {}):  # as in all of PyTorch's optimizers
        columns["lr"] = config["optimizer"]["init_args"]["lr"]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        columns["epochs"] = trainer.max_epochs
    return columns


def class_name(entry: Mapping[str, Any]) -> str:
    """Return the name of a class in a config."""
    return entry["class_path"].rpartition(".")[2]


def asked_for(entry: Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """Return the arguments of a class in a config that differ from the defaults: ["momentum 0.9", "nesterov True"]."""
    parameters = inspect.signature(configs.import_class(entry["class_path"])).parameters
    defaults = {name: _plain(parameter.default) for name, parameter in parameters.items()}
    arguments = (entry.get("init_args") or {}) | (entry.get("dict_kwargs") or {})
    return [
        f"{name} {value}"
        for name, value in arguments.items()
        if name not in without and not (name in defaults and value == defaults[name])
    ]


def _plain(value: Any) -> Any:
    """Return a default as a config holds it."""
    return list(value) if isinstance(value, tuple) else value


def row_summaries(columns: Mapping[str, str | float], began: float, ended: float | None) -> list[Summary]:
    """Return the summaries of TensorBoard's HParams table.

    Args:
        columns: a run's settings.
        began: start of the run, in seconds since 1970.
        ended: its end, likewise; None while it runs.
    """
    table = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=api_pb2.DATA_TYPE_STRING if kind is str else api_pb2.DATA_TYPE_FLOAT64,
                differs=name in SHOWN_FIRST,  # TensorBoard shows these first
            )
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


# The texts.


def config_text(config: Mapping[str, Any]) -> str:
    """Return the values that a config sets as Markdown, the trainer's long section at the end."""
    asked = _set(config)
    asked |= {"trainer": asked.pop("trainer", {})}
    return f"```yaml\n{without_places(yaml.safe_dump(asked, sort_keys=False))}```\n"


def _set(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _set(entry) for name, entry in value.items() if entry is not None}


def environment_text(argv: Sequence[str], trainer: L.Trainer) -> str:
    """Return the command line, the hardware and the versions as Markdown."""
    command = without_places(shlex.join(["python", "cli.py", *argv]))
    rows = {"hardware": evaluation_results.hardware(trainer)} | results.versions()
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


# The file.


def event_file(summaries: Sequence[Summary]) -> bytes:
    """Return an event file, of format 2, with `summaries` at step 0."""
    content, now = io.BytesIO(), time.time()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in summaries:
        writer.write(Event(wall_time=now, step=0, summary=summary).SerializeToString())
    return content.getvalue()
