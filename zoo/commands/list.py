"""`list`: the models of the zoo in one table. Needs no torch, and imports no model."""

import argparse
import textwrap
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line
from zoo.catalogue import model_facts, registry
from zoo.commands import output
from zoo.commands.arguments import Parser, check_unknown
from zoo.core import about, text_table

WIDTH = 100
HEADS = ("name", "family", "parameters", "FLOPs", "milestone", "best known result")
NOTE = "FLOPs: of the forward pass of an image, a multiply-add counts as two. More: python cli.py info MODEL"


class Row(NamedTuple):
    """A model with what is known of it."""

    entry: registry.Entry
    facts: model_facts.Facts


def main(argv: list[str]) -> int:
    """Run `list` and return its exit code, 0.

    Args:
        argv: what follows `list` on the command line.

    Raises:
        InputError: for a misspelled command line, or where no model matches it.
    """
    options = parse(argv)
    rows = [Row(entry, model_facts.known(entry)) for entry in registry.entries().values()]
    tags = list(dict.fromkeys(tag for row in rows for tag in row.facts.about.tags))
    if options.tag is not None and options.tag not in tags:
        hint = f"{did_you_mean(options.tag, tags)} There are: {', '.join(tags)}"
        raise InputError(f"list: no model has the tag '{options.tag}'.{hint}")
    tagged = [row for row in rows if options.tag is None or options.tag in row.facts.about.tags]
    chosen = [row for row in tagged if _matches(row.entry.name.lower(), options.pattern.lower())]
    if not chosen:
        names = [row.entry.name for row in tagged]
        where = "The zoo has" if options.tag is None else f"With the tag '{options.tag}' there are"
        hint = f"{did_you_mean(options.pattern, names)} {where}: {', '.join(names)}"
        raise InputError(f"list: no model matches '{options.pattern}'.{hint}")
    if options.json:
        output.say_json([as_json(row.entry, row.facts) for row in chosen])
    else:
        output.say("\n".join([*_table(chosen), "", NOTE, f"Tags, for --tag: {one_line(', '.join(tags))}"]))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options on the command line."""
    parser = Parser(prog="python cli.py list", description="The models of the zoo.", allow_abbrev=False)
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="part of a name, or a glob as 'c*'")
    parser.add_argument("--tag", metavar="TAG", help="only models with this tag")
    parser.add_argument("--json", action="store_true", help="everything that is known of them, for programs")
    options, unknown = parser.parse_known_args(argv)
    check_unknown("list", unknown, (key for key in vars(options) if key != "pattern"))
    return options


def _matches(name: str, pattern: str) -> bool:
    return pattern in name or fnmatchcase(name, pattern)


def as_json(entry: registry.Entry, facts: model_facts.Facts) -> dict[str, Any]:
    """Return what is known of a model as what JSON can hold."""
    return {
        "name": entry.name,
        "package": entry.distribution,
        "class": entry.class_path,
        "parameters": facts.parameters,
        "flops": facts.flops,
        **about.to_json(facts.about),
    }


def _table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table; its last column goes on in a further line where it would be too wide."""
    lines = [tuple(map(one_line, cells)) for cells in (HEADS, *map(_cells, rows))]
    right = {HEADS.index("parameters"), HEADS.index("FLOPs")}
    starts = text_table.align([[*cells, ""] for *cells, _ in lines], right)
    return [
        wrapped
        for start, (*_, last) in zip(starts, lines, strict=True)
        for wrapped in textwrap.wrap(last, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
    ]


def _cells(row: Row) -> tuple[str, ...]:
    entry, facts = row
    result = str(facts.about.result or "-")
    return (
        entry.name,
        facts.about.family or "-",
        "-" if facts.parameters is None else f"{facts.parameters:,}",
        "-" if facts.flops is None else _short(facts.flops),
        ", ".join(map(str, facts.about.milestones)) or "-",
        result if entry.distribution == registry.DISTRIBUTION else f"{result}, from the package {entry.distribution}",
    )


def _short(number: int) -> str:
    """Return a number with three digits and a unit, as "310 M"."""
    rounded = float(f"{number:.2e}")
    for unit in ("", " k", " M", " G"):
        if rounded < 1000:
            return f"{rounded:g}{unit}"
        rounded /= 1000
    return f"{rounded:g} T"
