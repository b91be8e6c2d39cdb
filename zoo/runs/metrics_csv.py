"""`metrics.csv`: the metrics of a run, one row per epoch."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import InputError, one_line
from zoo.core import files

FILE = "metrics.csv"


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a row per epoch; columns appear in the order in which the rows first name them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    files.write(path, text.getvalue().encode())


def read(path: Path) -> dict[str, list[float]]:
    """Return the columns of numbers, NaN where an epoch lacks a metric; no columns if there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in (rows[0] if rows else ()) if name != "data"]
        columns = {name: [float(row[name] or "nan") for row in rows] for name in names}
        if rows and not all(map(math.isfinite, columns["epoch"])):
            raise ValueError("an epoch has no number")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read: {type(error).__name__}: {one_line(error)}") from error
    return columns
