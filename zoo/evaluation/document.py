"""A report: sections of texts, tables and plots, which `html`, `markdown` and `as_json` write in three forms."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Value = str | int | float | tuple[float, float] | None  # a pair is an interval

MISSING = "-"  # a value that does not exist, such as the recall of a class without images


class Text(NamedTuple):
    """A paragraph."""

    text: str
    source: str = ""  # the address of a paper


class Fact(NamedTuple):
    """A value with its name for people."""

    label: str
    value: Value
    format: str = ""  # see `shown`
    note: str = ""

    def shown(self) -> str:
        return shown(self.value, self.format)


class Facts(NamedTuple):
    """Values, by their names for programs."""

    facts: Mapping[str, Fact]


class Table(NamedTuple):
    """Rows of values; `key` is the name for programs, here and below."""

    key: str
    head: str  # the heading of the rows' names
    columns: Mapping[str, str]  # format by name
    rows: Mapping[str, Sequence[Value]]  # a value for each column, by name
    caption: str = ""
    for_programs: bool = False  # whether only JSON has the table, which is too large for a page


class Plot(NamedTuple):
    """A plot, or a grid of images."""

    key: str  # the name of the file, without the suffix
    suffix: str  # "svg" or "png"
    content: bytes
    description: str  # for people who do not see the plot
    caption: str
    width: int  # the largest on a page, in pixels


class Tile(NamedTuple):
    """An image with facts about it, by their names for programs."""

    pixels: np.ndarray  # uint8 (height, width, 3)
    facts: Mapping[str, Fact]


class Gallery(NamedTuple):
    """Images with facts, at least one."""

    key: str
    tiles: Sequence[Tile]


class Listing(NamedTuple):
    """Lines shown as they are, folded away."""

    key: str
    title: str
    text: str


Block = Text | Facts | Table | Plot | Gallery | Listing


class Section(NamedTuple):
    """A part of a report."""

    key: str  # for programs and for links: letters, digits and underscores
    title: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """A report."""

    title: str
    subtitle: str
    highlights: Sequence[Fact]  # the few metrics that matter most
    sections: Sequence[Section]


def shown(value: Value, pattern: str) -> str:
    """Return a value for people; `pattern` is a format of Python, such as ".2%" for "56.10 %"."""
    if isinstance(value, tuple):
        return " to ".join(shown(end, pattern) for end in value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return value if isinstance(value, str) else format(value, pattern).replace("%", " %")


def as_json(report: Report) -> dict[str, Any]:
    """Return all values by section and name, unrounded and without plots."""
    return {"title": report.title, "data": report.subtitle} | {
        section.key: _section(section) for section in report.sections
    }


def _section(section: Section) -> dict[str, Any]:
    content: dict[str, Any] = {"title": section.title}
    for block in section.blocks:
        match block:
            case Facts(facts):
                content |= _plain({key: fact.value for key, fact in facts.items()})
            case Table(key, _, columns, rows):
                content[key] = {name: _plain(dict(zip(columns, row, strict=True))) for name, row in rows.items()}
            case Gallery(key, tiles):
                content[key] = {
                    str(number): _plain({name: fact.value for name, fact in tile.facts.items()})
                    for number, tile in enumerate(tiles, start=1)
                }
            case Listing(key, _, text):
                content[key] = text
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    return content | ({"text": texts} if texts else {})


def _plain(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return values for JSON, with named ends of intervals."""
    return {
        name: dict(zip(("low", "high"), value, strict=True)) if isinstance(value, tuple) else value
        for name, value in values.items()
    }
