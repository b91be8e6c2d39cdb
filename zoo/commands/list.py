"""`list`: the models, or the data sets, of the zoo in one table. Needs no torch, and imports no model."""

import argparse
import math
import textwrap
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line
from zoo.catalogue import measured_results, model_facts, registry
from zoo.commands import output
from zoo.commands.arguments import Parser, check_choice
from zoo.core import text_table
from zoo.core.installation import check_torch

if TYPE_CHECKING:
    from datamodules.data_set import DataSet

DATA_HEADS = ("name", "classes", "image", "train + test", "about")
HEADS = ("name", "family", "parameters", "FLOPs", "milestone", "best known result")
NOTE = "FLOPs: of the forward pass of an image, a multiply-add counts as two. More: python cli.py info MODEL"


# Module and name of the model that takes the networks of a library by name.
LIBRARIES = {
    "timm": ("zoo.models.timm_model", "TimmModel"),
    "torchvision": ("zoo.models.torchvision_model", "TorchvisionModel"),
}


class Row(NamedTuple):
    """A model, the facts about it, and its best result; None if there is none."""

    entry: registry.Entry
    facts: model_facts.Facts
    result: measured_results.Result | None


def main(argv: list[str]) -> int:
    """Run `list` and return its exit code, 0."""
    options = parse(argv)
    if options.all is not None:
        return _list_all(options)
    if options.data:
        return _list_data(options)
    rows = sorted(map(make_row, registry.entries().values()), key=lambda row: row.facts.flops or math.inf)
    tags = list(dict.fromkeys(tag for row in rows for tag in row.facts.about.tags))
    if options.tag is not None and options.tag not in tags:
        hint = f"{did_you_mean(options.tag, tags)} There are: {', '.join(tags)}"
        raise InputError(f"list: no model has the tag '{options.tag}'.{hint}")
    tagged = [row for row in rows if options.tag is None or options.tag in row.facts.about.tags]
    chosen = [row for row in tagged if _matches(row.entry.name, options.pattern)]
    if not chosen:
        names = [row.entry.name for row in tagged]
        where = "The zoo has" if options.tag is None else f"With the tag '{options.tag}' there are"
        hint = f"{did_you_mean(options.pattern, names)} {where}: {', '.join(names)}"
        raise InputError(f"list: no model matches '{options.pattern}'.{hint}")
    if options.json:
        output.say_json([as_json(row) for row in chosen])
    else:
        words = text_table.wrap(f"Tags, for --tag: {one_line(', '.join(tags))}")
        output.say("\n".join([*_table(chosen), "", NOTE, words]))
    return 0


def _matches(name: str, pattern: str) -> bool:
    """Return whether a name has a pattern as a part, or fits it as a glob; upper and lower case are the same."""
    return pattern.lower() in name.lower() or fnmatchcase(name.lower(), pattern.lower())


def _list_data(options: argparse.Namespace) -> int:
    """Print the data sets."""
    from datamodules.data_sets import OWN_IMAGES, PUBLISHED  # here: it imports numpy

    if options.tag is not None:
        raise InputError(f"list: --tag {options.tag} is about models: leave out --data")
    names = {name.removesuffix("DataModule"): entry for name, entry in registry.data.entries().items()}
    chosen = {name: entry for name, entry in names.items() if _matches(name, options.pattern)}
    if not chosen:
        hint = did_you_mean(options.pattern, names)
        raise InputError(f"list: no data set matches '{options.pattern}'.{hint} There are: {', '.join(names)}")
    if options.json:
        output.say_json([_data_as_json(name, entry, PUBLISHED.get(name)) for name, entry in chosen.items()])
        return 0
    rows = [DATA_HEADS]
    for name, entry in chosen.items():
        if data_set := PUBLISHED.get(name):
            shape = " x ".join(map(str, data_set.shape))
            counts = f"{data_set.train_images:,} + {data_set.test_images:,}"
            rows.append((name, str(len(data_set.class_names)), shape, counts, data_set.origin))
        else:
            rows.append((name, *"---", OWN_IMAGES.get(name, f"from the package {entry.distribution}")))
    output.say("\n".join(line.rstrip() for line in text_table.align([list(map(one_line, row)) for row in rows])))
    return 0


def _data_as_json(name: str, entry: registry.Entry, data_set: "DataSet | None") -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "package": entry.distribution, "class": entry.class_path}
    if data_set is not None:
        facts |= {"title": data_set.title, "classes": list(data_set.class_names), "image": list(data_set.shape)}
        facts |= {"train": data_set.train_images, "test": data_set.test_images}
        facts |= {"origin": data_set.origin, "page": data_set.page}
    return facts


def _list_all(options: argparse.Namespace) -> int:
    """Print the names of a library's networks, which a model of the zoo takes; return the exit code, 0."""
    check_choice("list --all", options.all, LIBRARIES)
    if options.tag is not None:
        raise InputError(f"list --all {options.all} has no tags: leave out --tag")
    check_torch()
    home, model = LIBRARIES[options.all]
    names = import_module(home).names()
    chosen = [name for name in names if _matches(name, options.pattern)]
    if not chosen:
        hint = did_you_mean(options.pattern, names)
        raise InputError(f"list: {options.all} has no network '{options.pattern}'.{hint}")
    if options.json:
        output.say_json(chosen)
    else:
        more = f"{len(chosen):,} of {len(names):,} networks. Train one: fit --model {model} --model.name {chosen[0]}"
        output.say("\n".join([*chosen, "", more]))
    return 0


def make_row(entry: registry.Entry, facts: model_facts.Facts | None = None) -> Row:
    """Return the row of a model, with the known facts unless others are given."""
    is_ours = entry.distribution == registry.DISTRIBUTION
    return Row(entry, facts or model_facts.known(entry), measured_results.best(entry.name) if is_ours else None)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py list", description="The models of the zoo, or its data sets.")
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="part of a name, or a glob: 'c*'")
    parser.add_argument("--tag", metavar="TAG", help="only models with this tag")
    parser.add_argument(
        "--data", action="store_true", help="the data sets that fit --data takes, in place of the models"
    )
    everything = f"the networks that TimmModel or TorchvisionModel takes by name: {' or '.join(LIBRARIES)}"
    parser.add_argument("--all", metavar="LIBRARY", help=everything)
    parser.add_argument("--json", action="store_true", help="all facts, as JSON")
    return parser.parse_args(argv)


def as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.entry.name,
        "package": row.entry.distribution,
        "class": row.entry.class_path,
        "parameters": row.facts.parameters,
        "flops": row.facts.flops,
        **row.facts.about._asdict(),
        "result": row.result and row.result.as_json(),
    }


def _table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table; a last column that is too wide is wrapped."""
    lines = [tuple(map(one_line, cells)) for cells in (HEADS, *map(_cells, rows))]
    right = {HEADS.index("parameters"), HEADS.index("FLOPs")}
    starts = text_table.align([[*cells, ""] for *cells, _ in lines], right)
    return [
        wrapped
        for start, (*_, last) in zip(starts, lines, strict=True)
        for wrapped in textwrap.wrap(
            last, text_table.WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
        )
    ]


def _cells(row: Row) -> tuple[str, ...]:
    entry, facts, result = row
    origin = "" if entry.distribution == registry.DISTRIBUTION else f", from the package {entry.distribution}"
    return (
        entry.name,
        facts.about.family or "-",
        "-" if facts.parameters is None else f"{facts.parameters:,}",
        "-" if facts.flops is None else _short(facts.flops),
        ", ".join(map(str, facts.about.milestones)) or "-",
        f"{result or '-'}{origin}",
    )


def _short(number: int) -> str:
    """Return a number with three digits and a unit, such as "310 M"."""
    rounded = float(f"{number:.2e}")
    for unit in ("", " k", " M", " G"):
        if rounded < 1000:
            return f"{rounded:g}{unit}"
        rounded /= 1000
    return f"{rounded:g} T"
