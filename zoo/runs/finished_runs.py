"""Read finished runs: what each was trained with, and the metrics of its test."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line
from datamodules.tasks import task_title
from zoo.runs import configs, metrics_json, run_directory
from zoo.runs.options import OPTIONS

# Options that cannot change what is learned.
IGNORED = {option.name for option in OPTIONS if not option.learning}
STARTS = ("ckpt_path", "init_from")  # files that a run may start from
METRICS = {  # by the keys of `metrics.json`
    "epochs": "epochs", "parameters": "parameters", "fit_seconds": "seconds",
    "val/acc": "val/acc", "test/acc": "test/acc", "test/f1": "test/f1",
}  # fmt: skip
PACKAGES = ("cifar10-zoo", "torch")
PARSE_YAML = partial(configs.parse, "the file")


class DataRecord(NamedTuple):
    """The data that a run was trained and tested on."""

    source: str
    task: str
    class_names: tuple[str, ...]

    def describe(self) -> str:
        return f"{self.source}, {task_title(self.task, self.class_names)}"


class RunRecord(NamedTuple):
    """What a run was trained with, and its metrics."""

    path: Path
    name: str  # of the folder above the run directory
    settings: dict[str, Any]  # the parts of the config that decide what is learned, except the seeds, by dotted keys
    seed: tuple[str, ...]  # of the run and of its data, and the files of `STARTS`: repetitions differ in these
    metrics: dict[str, float]  # by column of a table of runs; without those that the run lacks
    data: DataRecord
    sizes: tuple[str, ...]  # of the splits: folders of one name may have other images
    versions: dict[str, str]  # by package


def read_all(names: Sequence[str]) -> tuple[list[RunRecord], list[str]]:
    """Return the finished runs in some folders, each run once, and a line about each kind of run that is left out."""
    paths: dict[Path, Path] = {}
    for path in (path for name in names for path in _find(os.path.expanduser(name))):
        paths.setdefault(path.resolve(), path)
    runs: list[RunRecord | None] = []
    damaged: list[InputError] = []
    for path in paths.values():
        try:
            run_directory.check_links(path)
            runs.append(_read(path))
        except InputError as error:
            damaged.append(error)
    finished = [run for run in runs if run is not None]
    unfinished = len(runs) - len(finished)
    if not finished and damaged:
        more = f"; of {len(paths)} runs, {len(damaged)} cannot be read" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{more}") from damaged[0]
    if not finished:
        missing = f"none has a {metrics_json.FILE} with results of the test set"
        raise InputError(f"no run in '{names[0]}' is finished: {missing}")
    notes = [f"{problem}: this run is left out" for problem in damaged]
    return finished, notes + [f"not finished, and left out: {unfinished} of {len(paths)} runs"] * (unfinished > 0)


def _find(name: str) -> list[Path]:
    """Return the run directories in the folder `name` in natural order, finished or not."""
    if not os.path.exists(name):
        path = Path(os.path.abspath(name))
        missing = next((part for part in reversed(path.parents) if not os.path.exists(part)), path)
        siblings = (sibling.name for sibling in missing.parent.glob("*"))
        raise InputError(f"'{name}' does not exist.{did_you_mean(missing.name, siblings)}")
    # A folder in a run with the results of another evaluation has no config.
    found = [Path(folder) for folder, _, held in os.walk(name) if run_directory.CONFIG in held]
    if not found:
        problem = f"give a directory with a {run_directory.CONFIG}, or a folder of such directories"
        raise InputError(f"'{name}' holds no run: {problem}")
    return sorted(found, key=lambda path: [natural(part) for part in path.resolve().parts])


def natural(text: str) -> list[Any]:
    """Return a sort key that compares numbers in a text by value: run_2 comes before run_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def _read(path: Path) -> RunRecord | None:
    """Return the run in the directory `path`, or None if it is not finished."""
    facts = load(path / metrics_json.FILE, json.loads)
    if (path / metrics_json.FILE).exists() and not isinstance(facts.get("model"), str):
        raise InputError(f"'{path / metrics_json.FILE}' is not what a run leaves behind (it names no model)")
    if "test/acc" not in facts:
        return None
    config = _flat(load(path / run_directory.CONFIG, PARSE_YAML))
    seed = config.get("seed_everything")
    try:
        settings = {"model": str(facts["model"]), "processes": _processes(facts)} | _settings(config)
        run = RunRecord(
            path,
            name=path.resolve().parent.name,
            settings=settings,
            seed=(str(seed), str(config.get("data.seed", seed)), *(str(config.get(key)) for key in STARTS)),
            metrics=_metrics(facts),
            data=DataRecord(
                str(facts["data"]["source"]), str(facts["data"]["task"]), tuple(facts.get("test/acc_per_class", ()))
            ),
            sizes=tuple(str(facts["data"].get(split)) for split in ("train", "val", "test")),
            versions={package: str(facts.get("versions", {}).get(package, "unknown")) for package in PACKAGES},
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        cause = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"'{path / metrics_json.FILE}' is not what a run leaves behind ({cause})") from error
    return run._replace(settings=settings | _earlier_settings(path, settings))


def load(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return the names and values in a file; an empty result if there is no such file."""
    try:
        content = parse(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(content, dict):
            raise ValueError(f"expected names and values, found a {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be read: {one_line(error)}") from error
    return content


def _metrics(facts: Mapping[str, Any]) -> dict[str, float]:
    metrics = {column: facts.get(key) for key, column in METRICS.items()}
    if facts["data"]["task"] == "binary":
        first, *_ = facts["test/acc_per_class"]
        metrics[f"recall of {first}"] = facts["test/acc_per_class"][first]
    numbers = {column: float(value) for column, value in metrics.items() if value is not None}
    for column, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{column} is {number}")
    return numbers


def _processes(facts: Mapping[str, Any]) -> int:
    """Return how many processes trained the run, each on its own batches."""
    found = re.search(r"^(\d+) x |(\d+) processes", facts.get("hardware", ""))
    return int(found[1] or found[2]) if found else 1


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return a config by dotted keys; a class has the key of its section."""
    if not isinstance(value, dict):
        return {} if value is None else {key: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, key if name in ("class_path", "init_args") else f"{key}.{name}".lstrip("."))
    return flat


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a flat config that decides what is learned, except the seeds."""
    below = tuple(f"{key}." for key in IGNORED)
    settings = {key: value for key, value in config.items() if key not in IGNORED and not key.startswith(below)}
    for key in settings.keys() & STARTS:  # each seed may start from a run of its own: keep the name of that run
        path = Path(str(settings[key]))
        if path.parent.name == run_directory.CHECKPOINTS:
            settings[key] = path.parent.parent.parent.name
    return settings


def _earlier_settings(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a run had before it was resumed with others, under keys that no other run has."""
    changed = {}
    for file in path.glob("config_*_epochs.yaml"):
        earlier = {"processes": settings["processes"]} | _settings(_flat(load(file, PARSE_YAML)))
        for key in earlier | settings:
            if earlier.get(key) != settings.get(key):
                changed[f"{key} until epoch {file.stem.split('_')[1]}"] = earlier.get(key, "null")
    return changed
