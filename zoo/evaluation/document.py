"""A report: sections of texts, tables and pictures, independent of HTML and Markdown.

`zoo.evaluation.html`, `zoo.evaluation.markdown` and `as_json` write the same report in three forms.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Value = str | int | float | tuple[float, float] | None  # a pair is an interval

MISSING = "-"  # a value that does not exist, such as the recall of a class without images


class Text(NamedTuple):
    """A paragraph.

    Attributes:
        text: the paragraph.
        source: the address of a paper; "" for none.
    """

    text: str
    source: str = ""


class Fact(NamedTuple):
    """A named value.

    Attributes:
        label: the name for people.
        value: the value for programs.
        format: how people read the value, see `shown`.
        note: an explanation.
    """

    label: str
    value: Value
    format: str = ""
    note: str = ""

    def shown(self) -> str:
        """Return the value for people."""
        return shown(self.value, self.format)


class Facts(NamedTuple):
    """Values, by their names for programs."""

    facts: Mapping[str, Fact]


class Table(NamedTuple):
    """Rows of values.

    Attributes:
        key: the name for programs.
        head: the heading of the rows' names.
        columns: format by name.
        rows: a value for each column, by name.
        caption: the text below the table.
    """

    key: str
    head: str
    columns: Mapping[str, str]
    rows: Mapping[str, Sequence[Value]]
    caption: str = ""


class Picture(NamedTuple):
    """A plot or another picture.

    Attributes:
        key: the name of the file, without the suffix.
        suffix: "svg" or "png".
        content: the bytes of the file.
        description: the text for people who do not see the picture.
        caption: the text below the picture.
        width: the largest width on a page, in pixels.
    """

    key: str
    suffix: str
    content: bytes
    description: str
    caption: str
    width: int


class Tile(NamedTuple):
    """An image with facts about it.

    Attributes:
        pixels: uint8 (32, 32, 3).
        facts: by their names for programs.
    """

    pixels: np.ndarray
    facts: Mapping[str, Fact]


class Gallery(NamedTuple):
    """Images with facts.

    Attributes:
        key: the name for programs.
        tiles: at least one.
    """

    key: str
    tiles: Sequence[Tile]


class Listing(NamedTuple):
    """Lines shown as they are, folded away.

    Attributes:
        key: the name for programs.
        title: the heading.
        text: the lines.
    """

    key: str
    title: str
    text: str


Block = Text | Facts | Table | Picture | Gallery | Listing


class Section(NamedTuple):
    """A part of a report.

    Attributes:
        key: the name for programs and for links: letters, digits and underscores.
        title: the heading.
        blocks: the content.
    """

    key: str
    title: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """A report.

    Attributes:
        title: the heading.
        subtitle: the line below the heading.
        highlights: the few metrics that matter most.
        sections: the rest, in order.
    """

    title: str
    subtitle: str
    highlights: Sequence[Fact]
    sections: Sequence[Section]


def shown(value: Value, pattern: str) -> str:
    """Return a value for people; `pattern` is a format of Python, such as ".2%" for "56.10 %"."""
    if isinstance(value, tuple):
        return " to ".join(shown(end, pattern) for end in value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return value if isinstance(value, str) else format(value, pattern).replace("%", " %")


def as_json(report: Report) -> dict[str, Any]:
    """Return all values by section and name, unrounded and without pictures."""
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
