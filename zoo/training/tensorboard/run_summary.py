"""What TensorBoard tells of a run as a whole: its row among all runs (HParams), its config, what it ran on."""

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
from zoo.core.classifier import Classifier
from zoo.runs import configs, results
from zoo.training import evaluation_results
from zoo.training.callbacks.history import History
from zoo.training.tensorboard import observing

# TensorBoard reads the files of a run in the order of their names, which begin with the time in seconds. This one comes
# before all others, because what a live TensorBoard has left behind it does not look at again.
FILE = "events.out.tfevents.0000000000.summary"
# The same ones for all runs, whatever a run has of them: TensorBoard takes the columns from one of the runs.
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
SHOWN_FIRST = ("model", "optimizer", "lr", "batch size", "epochs")  # TensorBoard shows five; the others by a click
METRICS = {
    "hp/val_acc": "best val accuracy",
    "hp/test_acc": "test accuracy",
    "hp/epochs": "epochs done",
    "hp/seconds": "seconds of training",
}


class RunSummary(L.Callback):
    """Gives a run its row in TensorBoard's HParams table, and the texts "config" and "environment".

    The row's settings and the texts are a file of their own, written anew whenever a run begins, goes on or ends:
    TensorBoard keeps the first settings that it finds, and those that a run goes on with are to be the ones. The row's
    figures are curves over epochs, "hp/...", of which it shows the last value: of a run that was killed, how far it
    got. Such a run, and one that is still running, has the status "unknown" and, unless it had ended once, no test
    accuracy.

    Args:
        history: that has the epochs' figures, and comes before this in the list of callbacks.
        config: the run's, whole.
        argv: what the command line said.
    """

    def __init__(self, history: History, config: Mapping[str, Any], argv: Sequence[str]) -> None:
        self.history, self.config, self.argv = history, config, argv
        self._began = time.time()

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Write the settings and the texts."""
        self._write(trainer, pl_module, is_finished=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log how far the run is."""
        logger = observing.logger(trainer)
        if logger is not None:
            accuracies = [row["val/acc"] for row in self.history.rows if "val/acc" in row]
            best = {"hp/val_acc": max(accuracies)} if accuracies else {}
            done = {"hp/epochs": len(self.history.rows), "hp/seconds": self.history.seconds}
            logger.log_figures(best | done, trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log the test's accuracy, which is the end of a run."""
        logger = observing.logger(trainer)
        if logger is not None:
            logger.log_figures({"hp/test_acc": pl_module.results["test"]["acc"]}, trainer)
            self._write(trainer, pl_module, is_finished=True)

    def _write(self, trainer: L.Trainer, model: Classifier, is_finished: bool) -> None:
        logger = observing.logger(trainer)
        if logger is None:
            return
        with observing.optional("summary of the run"):
            columns, ended = settings(self.config, trainer, model), time.time() if is_finished else None
            texts = {"config": config_text(self.config), "environment": environment_text(self.argv, trainer)}
            summaries = [*row_summaries(columns, self._began, ended), *(text(tag, it) for tag, it in texts.items())]
            files.write(Path(logger.log_dir) / FILE, event_file(summaries))


# The row.


def settings(config: Mapping[str, Any], trainer: L.Trainer, model: Classifier) -> dict[str, str | float]:
    """Return what was asked for, by name of a column; a run that goes on without end has no number of epochs."""
    data = observing.data(trainer)
    columns: dict[str, str | float] = {
        "model": class_name(config["model"]),
        "model arguments": ", ".join(asked_for(config["model"], without=("num_classes",))) or "defaults",
        "optimizer": ", ".join([class_name(config["optimizer"]), *asked_for(config["optimizer"], without=("lr",))]),
        "schedule": ", ".join([class_name(config["lr_schedule"]), *asked_for(config["lr_schedule"])]),
        "batch size": data.batch_size * trainer.accumulate_grad_batches * trainer.world_size,
        "augmentation": observing.augmentation(data),
        "seed": config["seed_everything"],
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "data": data.source_name,
        "task": data.task,
        "training images": len(data.train) if data.train is not None else 0,
    }
    if "lr" in config["optimizer"].get("init_args", {}):  # as in all of PyTorch's own
        columns["lr"] = config["optimizer"]["init_args"]["lr"]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        columns["epochs"] = trainer.max_epochs
    return columns


def class_name(entry: Mapping[str, Any]) -> str:
    """Return the name of a class that a config names."""
    return entry["class_path"].rpartition(".")[2]


def asked_for(entry: Mapping[str, Any], without: Sequence[str] = ()) -> list[str]:
    """Return which arguments of a class in a config are not its defaults: ["momentum 0.9", "nesterov True"]."""
    parameters = inspect.signature(configs.import_class(entry["class_path"])).parameters
    defaults = {name: _plain(parameter.default) for name, parameter in parameters.items()}
    arguments = (entry.get("init_args") or {}) | (entry.get("dict_kwargs") or {})
    return [
        f"{name} {value}"
        for name, value in arguments.items()
        if name not in without and not (name in defaults and value == defaults[name])
    ]


def _plain(value: Any) -> Any:
    """Return a default as a config has it."""
    return list(value) if isinstance(value, tuple) else value


def row_summaries(columns: Mapping[str, str | float], began: float, ended: float | None) -> list[Summary]:
    """Return what TensorBoard's HParams table reads.

    Args:
        columns: a run's settings.
        began: when it did, in seconds since 1970.
        ended: likewise; None while it runs.
    """
    table = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=api_pb2.DATA_TYPE_STRING if kind is str else api_pb2.DATA_TYPE_FLOAT64,
                differs=name in SHOWN_FIRST,  # which come first, and then those that are said to be the same
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
    """Return a config as TensorBoard's Markdown: what it sets, the trainer's long part at the end."""
    asked = _set(config)
    asked |= {"trainer": asked.pop("trainer", {})}
    return f"```yaml\n{without_places(yaml.safe_dump(asked, sort_keys=False))}```\n"


def _set(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _set(entry) for name, entry in value.items() if entry is not None}


def environment_text(argv: Sequence[str], trainer: L.Trainer) -> str:
    """Return the command line, the hardware and the versions as TensorBoard's Markdown."""
    command = without_places(shlex.join(["python", "cli.py", *argv]))
    rows = {"hardware": evaluation_results.hardware(trainer)} | results.versions()
    first, *others = (f"| {name} | {value} |" for name, value in rows.items())
    return "\n".join([markup.code(command), "", first, "|-|-|", *others, ""])


def without_places(of: str) -> str:
    """Return a text without what is nobody's business where curves are shown: folders of a machine, and passwords.

    Of an absolute path the last part is left, of an address all but a user's name and password.
    """
    of = re.sub(r"(?<=://)[^/\s@]*@", "", of)
    of = re.sub(r"\bfile:/+(?=[^/\s])", "/", of)
    # A folder's name may have spaces, as long as more of the path follows.
    folder = r"[^/\\\s'\",:]+(?: [^/\\\s'\",:-][^/\\\s'\",:]*)*"
    of = re.sub(rf"(?<![\w.:/…])/(?:{folder}/)+", "…/", of)
    return re.sub(rf"\b[A-Za-z]:\\(?:{folder}\\)+", "…/", of)


# The file.


def event_file(summaries: Sequence[Summary]) -> bytes:
    """Return an event file, of format 2, with `summaries` at step 0."""
    content, now = io.BytesIO(), time.time()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in summaries:
        writer.write(Event(wall_time=now, step=0, summary=summary).SerializeToString())
    return content.getvalue()
