"""The measured results: what configs/results.yaml holds. Needs no torch."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

FILE = Path(__file__).resolve().parents[2] / "configs" / "results.yaml"


class Result(NamedTuple):
    """One measured result; configs/results.yaml explains its fields. Decimals keep their digits: 0.8990 has four."""

    model: str
    config: str
    data: str
    metrics: dict[str, Decimal]
    std: Mapping[str, Decimal] = MappingProxyType({})
    options: str = ""
    task: str = "multiclass"
    seeds: list[int] | None = None
    n: int | None = None
    epochs: int | None = None
    minutes: Decimal | int | None = None
    hardware: str = ""
    versions: str = ""
    commit: str = ""
    note: str = ""
    source: str | None = None
    cell: list[str] | None = None

    @property
    def runs(self) -> int:
        return self.n or len(self.seeds or [])

    @property
    def command(self) -> str:
        """The command without `python cli.py`, such as "fit --config cnn"."""
        return f"fit --config {self.config} {self.options}".rstrip()

    def metric(self, name: str) -> str:
        """Return a metric with its standard deviation, such as "0.562 ± 0.005"; "" if it was not measured."""
        spread = f" ± {self.std[name]}" if name in self.std else ""
        return f"{self.metrics[name]}{spread}" if name in self.metrics else ""

    def __str__(self) -> str:
        """Return the accuracy with its data and runs, such as "0.562 ± 0.005 (JPEG copy, n = 3)"."""
        shortened = f", epochs: {self.epochs}" if "max_epochs" in self.options else ""
        return f"{self.metric('acc')} ({self.data}, n = {self.runs}{shortened})"

    def as_json(self) -> dict[str, Any]:
        """Return the fields as what JSON can hold, and the result as a text."""
        metrics, std = ({key: float(value) for key, value in part.items()} for part in (self.metrics, self.std))
        texts = {"text": str(self), "command": self.command}
        minutes = None if self.minutes is None else float(self.minutes)
        return self._asdict() | {"metrics": metrics, "std": std, "minutes": minutes} | texts


class Table(NamedTuple):
    """Results that belong together."""

    title: str
    text: str
    results: list[Result]


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A YAML loader, fast where PyYAML has its C library, that reads numbers with a point as decimals."""


Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: Decimal(node.value))


@cache
def tables() -> list[Table]:
    """Return all results, in the order of the file."""
    content: list[dict[str, Any]] = yaml.load(FILE.read_text(encoding="utf-8"), Loader)
    return [
        Table(table["title"], table.get("text", ""), [_result(table["shared"], entry) for entry in table["entries"]])
        for table in content
    ]


def _result(shared: dict[str, Any], entry: dict[str, Any]) -> Result:
    """Return the result of an entry. A result of others shares nothing about our runs."""
    if entry.get("source"):
        shared = {name: value for name, value in shared.items() if name not in ("seeds", "hardware", "versions")}
    return Result(**shared | entry)


def results() -> list[Result]:
    """Return all results, in the order of the file."""
    return [result for table in tables() for result in table.results]


def best(model: str) -> Result | None:
    """Return the best test accuracy on the ten classes of CIFAR-10 that a model of the zoo reached here."""
    own = [
        result
        for result in results()
        if result.model == model and result.source is None and result.task == "multiclass"
        if result.data in ("CIFAR-10", "JPEG copy") and "acc" in result.metrics
    ]
    return max(own, key=lambda result: result.metrics["acc"], default=None)
