"""`compare`: finished runs in a table for each data set, seeds taken together, and a plot of their curves.

Needs no torch.
"""

import argparse
import csv
import json
import math
import os
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line, printable
from zoo.commands import output
from zoo.commands.arguments import Parser, check_unknown
from zoo.core import text_table
from zoo.core.markup import escaped
from zoo.runs import configs, metrics_csv, results
from zoo.runs import run_directory as runs

# Keys of a config on which it does not depend what is learnt, and how well it is tested. It does depend on the number
# of devices, and on whether the data are the official ones: `metrics.json` says which they were.
IGNORED = {
    "seed_everything", "name", "runs_dir", "save_every_n_steps", "weights_only", "compile",
    "data.seed", "data.data_dir", "data.download", "data.mirrors", "data.verify_checksums", "data.eval_batch_size",
    "data.device",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.benchmark", "trainer.inference_mode",
    "trainer.logger", "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.enable_autolog_hparams", "trainer.profiler", "trainer.detect_anomaly", "trainer.default_root_dir",
    "trainer.model_registry", "trainer.num_sanity_val_steps", "trainer.limit_predict_batches",
}  # fmt: skip
CHECKPOINT = "ckpt_path"  # what a run started from
# Columns of figures, by what `metrics.json` calls them; those with a format have no spread.
FIGURES = {
    "epochs": "epochs", "parameters": "parameters", "fit_seconds": "seconds",
    "val/acc": "val/acc", "test/acc": "test/acc", "test/f1": "test/f1",
}  # fmt: skip
FORMATS = {"epochs": "g", "parameters": ",.0f", "seconds": ".1f"}
SORTS = ("val/acc", "name", *FORMATS)
SPREAD = "mean ± sample standard deviation"
PACKAGES = ("cifar10-zoo", "torch")  # of which one version is expected

Columns = dict[str, list[str]]  # the cells of each column


class Run(NamedTuple):
    """A finished run.

    Attributes:
        path: its directory.
        name: of the folder that its directory lies in.
        settings: all of its config on which it depends what is learnt, but the seed, by dotted keys.
        seed: the run's, that of its data, and the checkpoint that it started from: its repetitions differ in these.
        figures: by column; those that it has.
        data: their source, and the task.
        versions: by package.
    """

    path: Path
    name: str
    settings: dict[str, Any]
    seed: tuple[str, str, str]
    figures: dict[str, float]
    data: tuple[str, str]
    versions: dict[str, str]


class Row(NamedTuple):
    """Runs that differ in nothing but the seed."""

    runs: list[Run]

    @property
    def name(self) -> str:
        """The name of the runs; where they have several, what these share, as in "mlp-*"."""
        names = list(dict.fromkeys(run.name for run in self.runs))
        if len(names) == 1:
            return names[0]
        start = _common_start(names)
        end = _common_start([name[len(start) :][::-1] for name in names])[::-1]
        return f"{start}*{end}" if start or end else f"{names[0]} +{len(names) - 1}"

    @property
    def settings(self) -> dict[str, Any]:
        """What the runs have in common."""
        return self.runs[0].settings

    def mean(self, column: str) -> float | None:
        """Return a figure's mean over the seeds; None where one of them lacks it."""
        values = [run.figures[column] for run in self.runs if column in run.figures]
        return statistics.fmean(values) if len(values) == len(self.runs) else None

    def std(self, column: str) -> float | None:
        """Return a figure's sample standard deviation over the seeds; None where one lacks it, or there is only one."""
        values = [run.figures[column] for run in self.runs if column in run.figures]
        return statistics.stdev(values) if len(values) == len(self.runs) > 1 else None


class Table(NamedTuple):
    """Rows that can be compared, and what is shown of their configs.

    Attributes:
        rows: on the same data, for the same task.
        keys: of the settings that get a column.
    """

    rows: list[Row]
    keys: list[str]

    def settings(self) -> Columns:
        """Return the columns of the settings."""
        return {head: _in_short(self.rows, key) for head, key in _heads(self.keys).items()}


def _common_start(names: Iterable[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def main(argv: list[str]) -> int:
    """Run `compare` and return its exit code, 0.

    Args:
        argv: what follows `compare` on the command line.

    Raises:
        InputError: for a misspelled command line, and for runs that cannot be read or must not be compared.
    """
    options = parse(argv)
    rows = _rows(_read_all(options.runs))
    _note_versions(rows)
    named = [_named(name, rows) for name in options.by or ()]
    tables = [Table(alike, named or _differing(alike)) for alike in _by_data(rows, options.sort)]
    if options.plot:
        _check_same_data(tables)
        _plot(options.plot, options.curve or "val/acc", tables[0])
    PRINTERS[options.format](tables)
    return 0


# The command line.


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options on the command line."""
    about = "Compare finished runs. Those that differ in nothing but the seed are one row: mean and standard deviation."
    by = "show these keys of the configs, such as optimizer.lr, in place of all that differ"
    parser = Parser(prog="python cli.py compare", description=about, allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="*", help="a run's directory, or a folder of runs at any depth")
    parser.add_argument("--by", metavar="KEY", nargs="+", action="extend", help=by)
    parser.add_argument("--sort", metavar="COLUMN", help=f"{', '.join(SORTS)} (default: in the order of the RUNs)")
    parser.add_argument("--format", default="text", help=f"{', '.join(PRINTERS)} (default: %(default)s)")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="draw a curve of each row over the epochs")
    parser.add_argument("--curve", metavar="COLUMN", help="the column of metrics.csv to draw (default: val/acc)")
    options, unknown = parser.parse_known_intermixed_args(argv)

    check_unknown("compare", unknown, (key for key in vars(options) if key != "runs"))
    if not options.runs:
        raise InputError("compare needs runs, before its options: folders of them, as in: compare runs/CNN runs/MLP")
    if str(options.sort).startswith("test"):
        raise InputError(
            f"--sort {options.sort} is refused: what is selected by the test set is not as good as its figures there, "
            "so select by the validation set: --sort val/acc"
        )
    _check_choice("--sort", options.sort or "name", SORTS)
    _check_choice("--format", options.format, PRINTERS)
    if options.curve and not options.plot:
        raise InputError(f"--curve {options.curve} needs a file to be drawn to: --plot FILE.png")
    if options.plot is not None and (options.plot.suffix.lower() != ".png" or os.path.isdir(options.plot)):
        raise InputError(f"--plot {options.plot}: give a file whose name ends in .png")
    return options


def _check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise InputError(f"{option} {value} is unknown.{did_you_mean(value, choices)} Known are: {', '.join(choices)}")


# Reading runs.


def _read_all(names: Sequence[str]) -> list[Run]:
    """Return the finished runs in the folders `names`: in their order, alphabetically in each, none of them twice."""
    paths: dict[Path, Path] = {}
    for path in (path for name in names for path in _find(os.path.expanduser(name))):
        paths.setdefault(path.resolve(), path)
    found, unfinished = [], 0
    damaged: list[InputError] = []
    for path in paths.values():
        try:
            runs.check_links(path)
            run = _read(path)
        except InputError as error:
            damaged.append(error)
            continue
        if run is None:
            unfinished += 1
        else:
            found.append(run)
    if not found and damaged:
        more = f"; of {len(paths)} runs, {len(damaged)} cannot be read" if len(damaged) > 1 else ""
        raise InputError(f"{damaged[0]}{more}") from damaged[0]
    if not found:
        raise InputError(f"no run in '{names[0]}' is finished: none has a {results.FILE} with results of the test set")
    for problem in damaged:
        output.note(f"{problem}: this run is left out")
    if unfinished:
        output.note(f"not finished, and left out: {unfinished} of {len(paths)} runs")
    return found


def _find(name: str) -> list[Path]:
    """Return the directories of runs in the folder `name`, finished or not."""
    if not os.path.exists(name):
        path = Path(os.path.abspath(name))
        missing = next((part for part in reversed(path.parents) if not os.path.exists(part)), path)
        siblings = (sibling.name for sibling in missing.parent.glob("*"))
        raise InputError(f"'{name}' does not exist.{did_you_mean(missing.name, siblings)}")
    # The results of an evaluation of a checkpoint, in a folder of the run, have no config beside them.
    found = [Path(folder) for folder, _, held in os.walk(name) if runs.CONFIG in held]
    if not found:
        raise InputError(
            f"'{name}' holds no run: give a directory with a {runs.CONFIG}, or a folder of such directories"
        )
    return sorted(found, key=lambda path: [_natural(part) for part in path.resolve().parts])


def _natural(text: str) -> list[Any]:
    """A key to sort by that takes numbers for numbers: run_2 comes before run_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def _read(path: Path) -> Run | None:
    """Return the run in the directory `path`; None where it is not finished."""
    facts = _load(path / results.FILE, json.loads)
    if (path / results.FILE).exists() and not isinstance(facts.get("model"), str):
        raise InputError(f"'{path / results.FILE}' is not what a run leaves behind (it names no model)")
    if "test/acc" not in facts:
        return None
    config = _flat(_load(path / runs.CONFIG, _parse_yaml))
    seed = config.get("seed_everything")
    try:
        settings = {"model": str(facts["model"]), "processes": _processes(facts)} | _settings(config)
        run = Run(
            path,
            name=path.resolve().parent.name,
            settings=settings,
            seed=(str(seed), str(config.get("data.seed", seed)), str(config.get(CHECKPOINT))),
            figures=_figures(facts),
            data=(str(facts["data"]["source"]), str(facts["data"]["task"])),
            versions={package: str(facts.get("versions", {}).get(package, "unknown")) for package in PACKAGES},
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        cause = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"'{path / results.FILE}' is not what a run leaves behind ({cause})") from error
    return run._replace(settings=settings | _before(path, settings))


def _load(path: Path, reader: Callable[[str], Any]) -> dict[str, Any]:
    """Return the names and values that a file holds; none where there is no such file."""
    try:
        content = reader(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(content, dict):
            raise ValueError(f"it holds no names and values, but a {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be read: {one_line(error)}") from error
    return content


def _parse_yaml(text: str) -> Any:
    return configs.parse("the file", text)


def _figures(facts: Mapping[str, Any]) -> dict[str, float]:
    figures = {column: facts.get(key) for key, column in FIGURES.items()}
    if facts["data"]["task"] == "binary":
        first, *_ = facts["test/acc_per_class"]
        figures[f"recall of {first}"] = facts["test/acc_per_class"][first]
    numbers = {column: float(value) for column, value in figures.items() if value is not None}
    for column, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{column} is {number}")
    return numbers


def _processes(facts: Mapping[str, Any]) -> int:
    """How many processes trained the run, each on batches of its own."""
    found = re.search(r"^(\d+) x |(\d+) processes", facts.get("hardware", ""))
    return int(found[1] or found[2]) if found else 1


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return what a config sets, by dotted keys; a class by the key of its section."""
    if not isinstance(value, dict):
        return {} if value is None else {key: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, key if name in ("class_path", "init_args") else f"{key}.{name}".lstrip("."))
    return flat


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return what of a flat config decides what is learnt, but the seed."""
    below = tuple(f"{key}." for key in IGNORED)
    settings = {key: value for key, value in config.items() if key not in IGNORED and not key.startswith(below)}
    if CHECKPOINT in settings:  # each seed may have one of its own: of it, the name of its run
        settings[CHECKPOINT] = Path(str(settings[CHECKPOINT])).parent.parent.parent.name
    return settings


def _before(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a run had before it was resumed with others, as no run of one piece has them."""
    before = {}
    for file in path.glob("config_*_epochs.yaml"):
        earlier = {"processes": settings["processes"]} | _settings(_flat(_load(file, _parse_yaml)))
        for key in earlier | settings:
            if earlier.get(key) != settings.get(key):
                before[f"{key} until epoch {file.stem.split('_')[1]}"] = earlier.get(key, "null")
    return before


# Comparing them.


def _by_data(rows: Sequence[Row], sort: str | None) -> list[list[Row]]:
    """Return the rows of each data set and task, sorted: metrics on different data cannot be compared."""
    together: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        together.setdefault(row.runs[0].data, []).append(row)
    return [_sorted(alike, sort) for alike in together.values()]


def _check_same_data(tables: Sequence[Table]) -> None:
    """Refuse to draw curves on different data or tasks into one plot."""
    if len(tables) > 1:
        first, second = (table.rows[0].runs[0] for table in tables[:2])
        raise InputError(
            f"--plot draws curves on the same data and task: {first.path} is of {', '.join(first.data)}, "
            f"{second.path} of {', '.join(second.data)}. Name the folders of one kind, as in: "
            f"compare {shlex.quote(str(first.path.parent))} --plot FILE.png"
        )


def _note_versions(rows: Sequence[Row]) -> None:
    for package in PACKAGES:
        versions = sorted({run.versions[package] for row in rows for run in row.runs}, key=_natural)
        if len(versions) > 1:
            output.note(f"the runs are of different versions of {package}: {', '.join(versions)}")


def _rows(found: Sequence[Run]) -> list[Row]:
    """Put runs on the same data together that differ in nothing but the seed, in the order of their first ones."""
    together: dict[str, list[Run]] = {}
    for run in found:
        together.setdefault(_text([run.data, run.settings]), []).append(run)
    rows, older = [], []
    for alike in together.values():
        newest = {run.seed: run for run in sorted(alike, key=lambda run: _natural(run.path.resolve().name))}
        rows.append(Row([run for run in alike if run is newest[run.seed]]))
        older += [str(run.path) for run in alike if run is not newest[run.seed]]
    if older:
        output.note(f"left out, because a newer run has the same config and the same seed: {', '.join(older)}")
    return rows


def _sorted(rows: list[Row], column: str | None) -> list[Row]:
    """Return rows in the order of a column: val/acc from the best, what is lacking last."""
    if column is None:
        return rows
    if column == "name":
        return sorted(rows, key=lambda row: _natural(row.name))
    sign = -1 if column == "val/acc" else 1
    return sorted(rows, key=lambda row: (row.mean(column) is None, sign * (row.mean(column) or 0)))


def _differing(rows: Sequence[Row]) -> list[str]:
    """Return the keys of the settings that differ between rows.

    An argument counts between those rows that have its class: that SGD has no betas goes without saying.
    """

    def differs(key: str) -> bool:
        owner = key.rpartition(".")[0]
        owners = [row.settings.get(owner) for row in rows if key in row.settings]
        return len({_text(row.settings.get(key)) for row in rows if row.settings.get(owner) in owners}) > 1

    return [key for key in dict.fromkeys(key for row in rows for key in row.settings) if differs(key)]


def _text(value: Any) -> str:
    """A value as text, in which 1 and 1.0 are not the same: of limit_train_batches, one batch and all of them."""
    return json.dumps(value, sort_keys=True, default=str)


def _named(name: str, rows: Sequence[Row]) -> str:
    """Return the key of the settings that is `name`, or ends in it.

    Raises:
        InputError: where there is none, or more than one.
    """
    known = sorted({key for row in rows for key in row.settings})
    wanted = ".".join(part for part in name.split(".") if part not in ("class_path", "init_args"))
    found = [key for key in known if key == wanted] or [key for key in known if key.endswith(f".{wanted}")]
    if len(found) > 1:
        raise InputError(f"--by {name} could be any of {', '.join(found)}: name one of them")
    if not found:
        near = did_you_mean(wanted, [*known, *(key.rpartition(".")[2] for key in known)])
        raise InputError(f"--by {name}: no run has this key in its config, but for null or what changes nothing.{near}")
    return found[0]


def _heads(keys: Iterable[str]) -> dict[str, str]:
    """Return keys by the heads of their columns: as few of their last parts as tell them from all other columns."""
    keys = list(dict.fromkeys(keys))
    taken = {"name", "model", "n", *FIGURES.values()}
    heads = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        free = (end for end in ends if end not in taken and sum(f".{k}".endswith(f".{end}") for k in keys) == 1)
        heads[next(free, key)] = key
    return heads


def _in_short(rows: Sequence[Row], key: str) -> list[str]:
    """Return a setting's value in each row, classes without their modules where that leaves them different."""
    values = [row.settings.get(key) for row in rows]
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


# Showing them.


def _title(rows: Sequence[Row], shown: str) -> str:
    seeds = f"; {shown} of n seeds" if any(len(row.runs) > 1 for row in rows) else ""
    return one_line(f"{', '.join(rows[0].runs[0].data)}{seeds}")


def _texts(rows: Sequence[Row], settings: Columns) -> Columns:
    """Return the columns before those of figures."""
    first = {"name": [row.name for row in rows], "model": _in_short(rows, "model")}
    return first | settings | {"n": [str(len(row.runs)) for row in rows]}


def _columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of figures; the recall is one of the binary task only."""
    return list(dict.fromkeys([*FIGURES.values(), *(column for row in rows for column in row.runs[0].figures)]))


def _lines(rows: Sequence[Row], settings: Columns) -> list[tuple[str, ...]]:
    """Return the heads of the table, and the cells of each row."""
    table = _texts(rows, settings) | {column: [_cell(row, column) for row in rows] for column in _columns(rows)}
    return [tuple(map(one_line, line)) for line in (table, *zip(*table.values(), strict=True))]


def _cell(row: Row, column: str) -> str:
    mean, std = row.mean(column), row.std(column)
    if mean is None:
        return "-"
    if column in FORMATS:
        return f"{mean:{FORMATS[column]}}"
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def _print_text(tables: Sequence[Table]) -> None:
    for number, table in enumerate(tables):
        lines = _lines(table.rows, table.settings())
        right = [position for position, head in enumerate(lines[0]) if head in ("n", *FORMATS)]
        output.say("\n" * (number > 0) + f"{_title(table.rows, SPREAD)}\n")
        for line in text_table.align(lines, right):
            output.say(f"  {line}".rstrip())


def _print_markdown(tables: Sequence[Table]) -> None:
    for number, table in enumerate(tables):
        heads, *lines = (tuple(map(escaped, line)) for line in _lines(table.rows, table.settings()))
        output.say("\n" * (number > 0) + f"{escaped(_title(table.rows, SPREAD))}\n")
        for line in (heads, ("---",) * len(heads), *lines):
            output.say(f"| {' | '.join(line)} |")


def _print_csv(tables: Sequence[Table]) -> None:
    """Print all tables as one, whose first columns name the data and the task."""
    rows = [row for table in tables for row in table.rows]
    settings = Table(rows, list(dict.fromkeys(key for table in tables for key in table.keys))).settings()
    data, task = zip(*(row.runs[0].data for row in rows), strict=True)
    columns: dict[str, Sequence[Any]] = {"data": data, "task": task, **_texts(rows, settings)}
    for column in _columns(rows):
        means = [row.mean(column) for row in rows]
        if column in FORMATS:
            columns[column] = means
        else:
            columns |= {f"{column}_mean": means, f"{column}_std": [row.std(column) for row in rows]}
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(printable, columns))
    for line in zip(*columns.values(), strict=True):
        writer.writerow("" if cell in (None, "-") else printable(cell) for cell in line)


PRINTERS = {"text": _print_text, "markdown": _print_markdown, "csv": _print_csv}


# Drawing them.


def _plot(path: Path, column: str, table: Table) -> None:
    """Draw a column of the rows' `metrics.csv` to `path`, over the epochs that all seeds of a row have."""
    rows, labels = table.rows, _labels(table.rows, table.settings())
    from zoo.plots import run_curves  # matplotlib takes a second to import

    histories = [[_history(run.path / metrics_csv.FILE) for run in row.runs] for row in rows]
    curves = []
    for label, seeds in zip(labels, histories, strict=True):
        epochs = sorted(set.intersection(*(set(seed.get(column, ())) for seed in seeds)))
        if epochs:
            values = [[seed[column][epoch] for epoch in epochs] for seed in seeds]
            curves.append(run_curves.Curve(f"{label} (n={len(seeds)})", epochs, values))
    if not curves:
        known = dict.fromkeys(name for seeds in histories for seed in seeds for name in seed)
        hint = f"{did_you_mean(column, known)} There are: {', '.join(known) or 'none'}"
        raise InputError(f"--curve {column}: no metrics.csv of these runs has such a column.{hint}")
    if len(curves) > len(run_curves.STYLES):
        raise InputError(f"--plot draws up to {len(run_curves.STYLES)} curves, not {len(curves)}: name fewer runs")
    if len(curves) < len(rows):
        output.note(f"rows not drawn, because not all of their runs have {column}: {len(rows) - len(curves)}")
    figure = run_curves.draw(curves, column, _title(rows, "mean and range"))
    output.write("--plot", path, run_curves.as_png(figure))
    output.note(f"drawn: {path}")


def _labels(rows: Sequence[Row], settings: Columns) -> list[str]:
    """Return the rows' names; where several have one, with what differs between these."""
    names = [row.name for row in rows]
    columns = {"model": _in_short(rows, "model"), **settings}
    labels = []
    for position, name in enumerate(names):
        alike = [other for other, its_name in enumerate(names) if its_name == name]
        different = {head: cells for head, cells in columns.items() if len({cells[other] for other in alike}) > 1}
        told = [f"{head} {cells[position]}" for head, cells in different.items() if cells[position] != "-"]
        labels.append(one_line(", ".join([name, *told])))
    return labels


def _history(path: Path) -> dict[str, dict[int, float]]:
    """Return the metrics of a `metrics.csv` by column and by epoch."""
    columns = metrics_csv.read(path)
    epochs = columns.pop("epoch", [])
    return {
        name: {int(epoch): value for epoch, value in zip(epochs, values, strict=True) if not math.isnan(value)}
        for name, values in columns.items()
    }
