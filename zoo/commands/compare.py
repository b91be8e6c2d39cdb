"""`compare`: finished runs in a table for each data set, seeds taken together, and a plot of their curves; no torch."""

import argparse
import csv
import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line, printable
from datamodules.tasks import task_title
from zoo.commands import output
from zoo.commands.arguments import Parser, check_choice
from zoo.core import text_table
from zoo.core.markup import escaped
from zoo.runs import finished_runs, metrics_csv, repetitions
from zoo.runs.finished_runs import METRICS, PACKAGES, natural
from zoo.runs.repetitions import Columns, Repetitions

FORMATS = {"epochs": "g", "parameters": ",.0f", "seconds": ".1f"}  # of the columns without a spread
SORTS = ("val/acc", "name", *FORMATS)
SPREAD = "mean ± sample standard deviation"


class Table(NamedTuple):
    """Rows that can be compared, on the same data and for the same task."""

    rows: list[Repetitions]
    keys: list[str]  # of the settings that have a column

    def settings(self) -> Columns:
        return repetitions.setting_columns(self.rows, self.keys)


def main(argv: list[str]) -> int:
    """Run `compare` and return its exit code, 0."""
    options = parse(argv)
    runs, notes = finished_runs.read_all(options.runs)
    rows, replaced = repetitions.group(runs)
    if replaced:
        notes.append(f"left out, because a newer run has the same config and the same seed: {', '.join(replaced)}")
    for package in PACKAGES:
        versions = sorted({run.versions[package] for row in rows for run in row.runs}, key=natural)
        if len(versions) > 1:
            notes.append(f"the runs are of different versions of {package}: {', '.join(versions)}")
    for note in notes:
        output.note(note)
    named = [repetitions.named_key(name, rows) for name in options.by or ()]
    tables = [
        Table(_sorted(alike, options.sort), named or repetitions.differing_keys(alike))
        for alike in repetitions.by_data(rows)
    ]
    if options.plot:
        _plot(options.plot, options.curve or "val/acc", tables)
    PRINTERS[options.format](tables)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    about = "Compare finished runs. Those that differ in nothing but the seed are one row: mean and standard deviation."
    by = "show these keys of the configs, such as optimizer.lr, in place of all that differ"
    parser = Parser(prog="python cli.py compare", description=about)
    parser.add_argument("runs", metavar="RUN", nargs="*", help="a run's directory, or a folder of runs at any depth")
    parser.add_argument("--by", metavar="KEY", nargs="+", action="extend", help=by)
    parser.add_argument("--sort", metavar="COLUMN", help=f"{', '.join(SORTS)} (default: in the order of the RUNs)")
    parser.add_argument("--format", default="text", help=f"{', '.join(PRINTERS)} (default: %(default)s)")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="draw a curve of each row over the epochs")
    parser.add_argument("--curve", metavar="COLUMN", help="the column of metrics.csv to draw (default: val/acc)")
    options = parser.parse_args(argv)

    if not options.runs:
        raise InputError("compare needs runs, before its options: folders of them, as in: compare runs/CNN runs/MLP")
    if str(options.sort).startswith("test"):
        raise InputError(
            f"--sort {options.sort} is refused: selecting by test metrics makes them too optimistic, so select by the "
            "validation set: --sort val/acc"
        )
    check_choice("--sort", options.sort or "name", SORTS)
    check_choice("--format", options.format, PRINTERS)
    if options.curve and not options.plot:
        raise InputError(f"--curve {options.curve} needs a file to be drawn to: --plot FILE.png")
    if options.plot is not None and (options.plot.suffix.lower() != ".png" or os.path.isdir(options.plot)):
        raise InputError(f"--plot {options.plot}: give a file whose name ends in .png")
    return options


def _sorted(rows: list[Repetitions], column: str | None) -> list[Repetitions]:
    """Return rows in the order of a column: val/acc from the best, rows without a value last."""
    if column is None:
        return rows
    if column == "name":
        return sorted(rows, key=lambda row: natural(row.name))
    sign = -1 if column == "val/acc" else 1
    return sorted(rows, key=lambda row: (row.mean(column) is None, sign * (row.mean(column) or 0)))


def _title(rows: Sequence[Repetitions], shown: str) -> str:
    seeds = f"; {shown} of n seeds" if any(len(row.runs) > 1 for row in rows) else ""
    return one_line(f"{rows[0].runs[0].data.describe()}{seeds}")


def _texts(rows: Sequence[Repetitions], settings: Columns) -> Columns:
    first = {"name": [row.name for row in rows], "model": repetitions.short_values(rows, "model")}
    return first | settings | {"n": [str(len(row.runs)) for row in rows]}


def _metrics(rows: Sequence[Repetitions]) -> list[str]:
    """Return the columns of metrics; only the binary task has a recall."""
    return list(dict.fromkeys([*METRICS.values(), *(column for row in rows for column in row.runs[0].metrics)]))


def _lines(table: Table) -> list[tuple[str, ...]]:
    rows = table.rows
    columns = _texts(rows, table.settings()) | {name: [_cell(row, name) for row in rows] for name in _metrics(rows)}
    return [tuple(map(one_line, line)) for line in (columns, *zip(*columns.values(), strict=True))]


def _cell(row: Repetitions, column: str) -> str:
    mean, std = row.mean(column), row.std(column)
    if mean is None:
        return "-"
    if column in FORMATS:
        return f"{mean:{FORMATS[column]}}"
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def _print_text(tables: Sequence[Table]) -> None:
    for number, table in enumerate(tables):
        lines = _lines(table)
        right = [position for position, head in enumerate(lines[0]) if head in ("n", *FORMATS)]
        output.say("\n" * (number > 0) + f"{_title(table.rows, SPREAD)}\n")
        for line in text_table.align(lines, right):
            output.say(f"  {line}".rstrip())


def _print_markdown(tables: Sequence[Table]) -> None:
    for number, table in enumerate(tables):
        heads, *lines = (tuple(map(escaped, line)) for line in _lines(table))
        output.say("\n" * (number > 0) + f"{escaped(_title(table.rows, SPREAD))}\n")
        for line in (heads, ("---",) * len(heads), *lines):
            output.say(f"| {' | '.join(line)} |")


def _print_csv(tables: Sequence[Table]) -> None:
    """Print all tables as one table, whose first columns name the data and the task."""
    rows = [row for table in tables for row in table.rows]
    settings = Table(rows, [key for table in tables for key in table.keys]).settings()
    data = [row.runs[0].data for row in rows]
    columns: dict[str, Sequence[Any]] = {"data": [one.source for one in data]}
    columns |= {"task": [task_title(one.task, one.class_names) for one in data], **_texts(rows, settings)}
    for column in _metrics(rows):
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


def _plot(path: Path, column: str, tables: Sequence[Table]) -> None:
    """Draw a column of the runs' `metrics.csv` to `path`, over the epochs that all seeds of a row have."""
    if len(tables) > 1:
        first, second = (table.rows[0].runs[0] for table in tables[:2])
        raise InputError(
            f"--plot draws curves on the same data and task: {first.path} is of {first.data.describe()}, "
            f"{second.path} of {second.data.describe()}. Name the folders of one kind, as in: "
            f"compare {shlex.quote(str(first.path.parent))} --plot FILE.png"
        )
    rows, labels = tables[0].rows, _labels(tables[0])
    from zoo.plots import png, run_curves  # matplotlib takes a second to import

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
    output.write("--plot", path, png.render(figure, dpi=100))
    output.note(f"drawn: {path}")


def _labels(table: Table) -> list[str]:
    """Return the names of the rows; rows of one name also have the settings that differ between them."""
    names = [row.name for row in table.rows]
    columns = {"model": repetitions.short_values(table.rows, "model"), **table.settings()}
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
