"""The metadata of an exported file, and its model card, whose template is `card.md.jinja`."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import lightning as L
import numpy as np
import yaml

from datamodules.errors import InputError, one_line
from datamodules.tasks import task_title
from zoo.catalogue import registry
from zoo.catalogue.registry import DISTRIBUTION
from zoo.core import about, views
from zoo.core.classifier import count_parameters
from zoo.core.markup import code, code_block, escaped
from zoo.exporting.check import BATCH_SIZES, TOLERANCE, Checked
from zoo.runs import configs, finished_runs, metrics_json, options, run_directory
from zoo.trained.trained_model import Trained

PLACES = ("data_dir", "download", "mirrors", "verify_checksums", "eval_batch_size", "device")
METRICS = {
    "test/acc": "accuracy",
    "test/acc_tta": "accuracy with test-time augmentation",
    "test/balanced_acc": "balanced accuracy (mean recall of the two classes)",
    "test/majority_acc": "accuracy of always answering the commonest class",
    "test/f1": "F1",
    "test/loss": "loss",
    "val/acc": "accuracy on the validation set, by which the checkpoint was chosen",
}


class File(NamedTuple):
    name: str
    size: int  # in bytes
    title: str  # of its format
    install: str  # packages for pip that run the file
    packages: Sequence[str]  # optional packages with which it was made and checked
    probabilities: Callable[[str, np.ndarray], np.ndarray]  # runs the file
    checked: Checked  # result of the comparison with the model


def entry(trained: Trained) -> registry.Entry:
    return registry.find(trained.config["model"]["class_path"])


def metadata(trained: Trained) -> dict[str, str]:
    """Return the metadata as texts, those of other types as JSON.

    Returns:
        "model": name in the zoo, or dotted path; "class": dotted path; "arguments": of the class, by name;
        "class_names": in the order of the probabilities; "epochs": of training; "tta": views, see `zoo.core.views`;
        "versions": of the exporting packages.
    """
    return {
        "model": entry(trained).name,
        "class": trained.config["model"]["class_path"],
        "arguments": json.dumps(trained.config["model"]["init_args"]),
        "class_names": json.dumps(trained.class_names),
        "epochs": str(trained.epochs),
        "tta": trained.model.tta,
        "versions": json.dumps(metrics_json.versions()),
    }


def text(trained: Trained, file: File) -> str:
    """Return the card as Markdown; raise InputError if the results or the config of the model's run cannot be read."""
    path = run_directory.home(trained.path) / metrics_json.FILE
    facts = finished_runs.load(path, json.loads) if path.is_file() else {}
    facts = facts if "test/images" in facts else {}  # no results on the test set
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.exporting", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"escaped": escaped, "code": code, "code_block": code_block, "repr": repr}
    try:
        return environment.get_template("card.md.jinja").render(_content(trained, file, facts))
    except (LookupError, TypeError, ValueError, AttributeError, jinja2.UndefinedError) as error:
        if isinstance(error, InputError):
            raise
        cause = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"'{path}' is not what a run leaves behind ({cause})") from error


def _content(trained: Trained, file: File, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the template shows."""
    kind, task = type(trained.model), task_title(trained.config["data"]["task"], trained.class_names)
    data, shape = f"{trained.data_title}, {task}", trained.model.image_shape
    metrics: dict[str, float | None] = {}
    if facts:
        data = "{train:,} images of {source}, {task}".format(**facts["data"] | {"task": task})
        metrics = {name: facts.get(key) for key, name in METRICS.items()}
        metrics |= {f"accuracy on {name}": value for name, value in facts["test/acc_per_class"].items()}
    run, config, started_with = run_directory.home(trained.path), None, None
    whole: dict[str, Any] = {}
    if (run / run_directory.CONFIG).is_file():
        whole = configs.read(run / run_directory.CONFIG)
        config = yaml.safe_dump(_essential(whole), sort_keys=False, allow_unicode=True)
        started_with = _started_with(whole)
    if whole.get("tta", views.NO_VIEWS) != trained.model.tta:  # measured with other views than those of the file
        metrics.pop(METRICS["test/acc_tta"], None)
    return {
        "name": kind.__name__,
        "summary": (kind.__doc__ or "").strip().partition("\n")[0],
        "paper": about.read(kind).paper,
        "entry": entry(trained),
        "arguments": [f"{name}={value!r}" for name, value in trained.config["model"]["init_args"].items()],
        "parameters": count_parameters(trained.model),
        "classes": list(trained.class_names),
        "shape": shape,
        "size": f"{shape[1]} x {shape[2]}",
        "kind": "gray" if shape[0] == 1 else "color",
        "channels": "gray" if shape[0] == 1 else "red, green, blue",
        "epochs": trained.epochs,
        "views": views.VIEWS[trained.model.tta].number,
        "file": file,
        "source": inspect.getsource(file.probabilities).strip(),
        "project": DISTRIBUTION,
        "data": data,
        "task": task,
        "config": config,
        "started_with": started_with,
        "earlier": sorted(path.name for path in run.glob("config_*_epochs.yaml")),
        "facts": facts,
        "is_same_checkpoint": (run / str(facts.get("checkpoint"))).resolve() == trained.path.resolve(),
        "metrics": metrics,
        "batch_sizes": BATCH_SIZES,
        "tolerance": TOLERANCE,
        "versions": metrics_json.versions() | {package: version(package) for package in file.packages},
    }


def _essential(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a run's config that decide what is learned, without places, machines and most defaults."""
    default = inspect.signature(L.Trainer).parameters
    trainer, kept = config.get("trainer", {}).items(), options.names("trainer", kept="fit")
    own = {name: config.get(name) for name in options.names("", kept="fit", learning=True)}
    essential: dict[str, Any] = {"seed_everything": config.get("seed_everything"), "data": {}}
    essential |= {name: value for name, value in own.items() if value != options.TABLE[name].default}
    essential["data"] = {name: value for name, value in config.get("data", {}).items() if name not in PLACES}
    essential["trainer"] = {k: v for k, v in trainer if k in kept and v != default[k].default}
    return _given(essential)


def _started_with(config: Mapping[str, Any]) -> str | None:
    """Return which weights a run started with; None for random ones. A file is told by its name within `runs_dir`."""
    arguments = (config.get("model") or {}).get("init_args") or {}
    if any(arguments.get(name) for name in about.AT_START):
        return "the pretrained ones of its library"
    paths = [config[name] for name in finished_runs.STARTS if config.get(name)]
    return f"those of {'/'.join(Path(paths[0]).parts[-4:])}" if paths else None


def _given(value: Any) -> Any:
    """Return a config without null values and empty sections."""
    if not isinstance(value, dict):
        return value
    given = {name: _given(inner) for name, inner in value.items()}
    return {name: inner for name, inner in given.items() if inner is not None and inner != {}}
