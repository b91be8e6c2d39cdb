"""Group finished runs that differ only in their seeds, and find the settings in which groups differ."""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from datamodules.errors import InputError, did_you_mean
from zoo.runs.finished_runs import METRICS, RunRecord, natural

Columns = dict[str, list[str]]  # the cells of each column, by its heading


class Repetitions(NamedTuple):
    """Runs that differ only in their seeds."""

    runs: list[RunRecord]

    @property
    def name(self) -> str:
        """The name of the runs, or what their names share, as in "mlp-*"."""
        names = list(dict.fromkeys(run.name for run in self.runs))
        if len(names) == 1:
            return names[0]
        start = _common_start(names)
        end = _common_start([name[len(start) :][::-1] for name in names])[::-1]
        return f"{start}*{end}" if start or end else f"{names[0]} +{len(names) - 1}"

    @property
    def settings(self) -> dict[str, Any]:
        return self.runs[0].settings

    def mean(self, column: str) -> float | None:
        """Return a metric's mean over the seeds; None if a run lacks the metric."""
        values = [run.metrics[column] for run in self.runs if column in run.metrics]
        return statistics.fmean(values) if len(values) == len(self.runs) else None

    def std(self, column: str) -> float | None:
        """Return a metric's sample standard deviation over the seeds; None if a run lacks it or there is one run."""
        values = [run.metrics[column] for run in self.runs if column in run.metrics]
        return statistics.stdev(values) if len(values) == len(self.runs) > 1 else None


def _common_start(names: Iterable[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def group(runs: Sequence[RunRecord]) -> tuple[list[Repetitions], list[str]]:
    """Return the runs in groups, in the order of their first runs, and the paths of runs that a newer one replaces.

    A newer run replaces an older one with the same settings and the same seed.
    """
    together: dict[str, list[RunRecord]] = {}
    for run in runs:
        together.setdefault(_text([run.data, run.sizes, run.settings]), []).append(run)
    groups, replaced = [], []
    for alike in together.values():
        newest = {run.seed: run for run in sorted(alike, key=lambda run: natural(run.path.resolve().name))}
        groups.append(Repetitions([run for run in alike if run is newest[run.seed]]))
        replaced += [str(run.path) for run in alike if run is not newest[run.seed]]
    return groups, replaced


def by_data(groups: Sequence[Repetitions]) -> list[list[Repetitions]]:
    """Return the groups on each data set and task: metrics on different data cannot be compared."""
    kinds = dict.fromkeys(row.runs[0].data for row in groups)
    return [[row for row in groups if row.runs[0].data == kind] for kind in kinds]


def differing_keys(groups: Sequence[Repetitions]) -> list[str]:
    """Return the keys of the settings that differ between groups.

    An argument of a class is compared only between groups with that class: SGD has no betas to differ in.
    """

    def differs(key: str) -> bool:
        owner = key.rpartition(".")[0]
        owners = [row.settings.get(owner) for row in groups if key in row.settings]
        return len({_text(row.settings.get(key)) for row in groups if row.settings.get(owner) in owners}) > 1

    return [key for key in dict.fromkeys(key for row in groups for key in row.settings) if differs(key)]


def named_key(name: str, groups: Sequence[Repetitions]) -> str:
    """Return the key of the settings that is `name` or ends in it; raise InputError unless there is exactly one."""
    known = sorted({key for row in groups for key in row.settings})
    wanted = ".".join(part for part in name.split(".") if part not in ("class_path", "init_args"))
    found = [key for key in known if key == wanted] or [key for key in known if key.endswith(f".{wanted}")]
    if len(found) > 1:
        raise InputError(f"--by {name} could be any of {', '.join(found)}: name one of them")
    if not found:
        near = did_you_mean(wanted, [*known, *(key.rpartition(".")[2] for key in known)])
        raise InputError(f"--by {name}: no run has this key in its config, but for null or what changes nothing.{near}")
    return found[0]


def setting_columns(groups: Sequence[Repetitions], keys: Iterable[str]) -> Columns:
    """Return a column of short values for each key, headed by as few parts of the key as tell it from all others."""
    keys = list(dict.fromkeys(keys))
    taken = {"name", "model", "n", *METRICS.values()}
    columns = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        free = (end for end in ends if end not in taken and sum(f".{k}".endswith(f".{end}") for k in keys) == 1)
        columns[next(free, key)] = short_values(groups, key)
    return columns


def short_values(groups: Sequence[Repetitions], key: str) -> list[str]:
    """Return a setting of each group, with classes without their modules if they still differ then."""
    values = [row.settings.get(key) for row in groups]
    short = [_short(value) for value in values]
    return short if len(set(short)) == len(set(map(_text, values))) else [_text(value).strip('"') for value in values]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    if isinstance(value, dict) and "class_path" in value:
        return _short(value["class_path"])
    if isinstance(value, str):
        return value.rpartition(".")[2] if re.fullmatch(r"(\w+\.)+[A-Z]\w*", value) else value
    return "-" if value is None else _text(value)


def _text(value: Any) -> str:
    """Return a value as text in which 1 and 1.0 differ: limit_train_batches takes one batch, or all of them."""
    return json.dumps(value, sort_keys=True, default=str)
