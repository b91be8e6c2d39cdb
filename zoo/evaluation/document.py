"""A report: sections of texts, tables and pictures, which know nothing of HTML or Markdown.

`zoo.evaluation.html`, `zoo.evaluation.markdown` and `as_json` write one and the same report.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Value = str | int | float | tuple[float, float] | None  # a pair: the ends of an interval

MISSING = "-"  # of a figure that there is not, as the recall of a class without images


class Text(NamedTuple):
    """A paragraph.

    Attributes:
        text: what it says.
        source: the address of the paper that it goes back to.
    """

    text: str
    source: str = ""


class Fact(NamedTuple):
    """A named value.

    Attributes:
        label: its name for people.
        value: what programs read.
        format: how people read it, see `shown`.
        note: what to know of it.
    """

    label: str
    value: Value
    format: str = ""
    note: str = ""

    def shown(self) -> str:
        """Return the value as people read it."""
        return shown(self.value, self.format)


class Facts(NamedTuple):
    """Values, each with its name for programs."""

    facts: Mapping[str, Fact]


class Table(NamedTuple):
    """Rows of values.

    Attributes:
        key: its name for programs.
        head: of the rows' names.
        columns: their names and formats.
        rows: by name; as many values as there are columns.
        caption: stands with it.
    """

    key: str
    head: str
    columns: Mapping[str, str]
    rows: Mapping[str, Sequence[Value]]
    caption: str = ""


class Picture(NamedTuple):
    """A picture.

    Attributes:
        key: the name of its file, without the suffix.
        suffix: "svg" or "png".
        content: of its file.
        description: for those who do not see it.
        caption: stands with it.
        width: pixels that it is shown at, at most.
    """

    key: str
    suffix: str
    content: bytes
    description: str
    caption: str
    width: int


class Tile(NamedTuple):
    """An image of 32 x 32 pixels, with what there is to say of it.

    Attributes:
        pixels: uint8 (32, 32, 3).
        facts: by their names for programs.
    """

    pixels: np.ndarray
    facts: Mapping[str, Fact]


class Gallery(NamedTuple):
    """Images, each with a few words.

    Attributes:
        key: its name for programs.
        tiles: the images, at least one.
    """

    key: str
    tiles: Sequence[Tile]


class Listing(NamedTuple):
    """Lines to be shown as they are, out of the way.

    Attributes:
        key: its name for programs.
        title: what it is.
        text: the lines.
    """

    key: str
    title: str
    text: str


Block = Text | Facts | Table | Picture | Gallery | Listing


class Section(NamedTuple):
    """A part of a report.

    Attributes:
        key: its name for programs and for links: letters, digits and underscores.
        title: stands above.
        blocks: what is in it.
    """

    key: str
    title: str
    blocks: Sequence[Block]


class Report(NamedTuple):
    """A report.

    Attributes:
        title: stands above.
        subtitle: stands below it.
        highlights: the few figures that matter most.
        sections: the rest, in order.
    """

    title: str
    subtitle: str
    highlights: Sequence[Fact]
    sections: Sequence[Section]


def shown(value: Value, pattern: str) -> str:
    """Return a value as people read it; `pattern` is one of Python's formats, as ".2%" for "56.10 %"."""
    if isinstance(value, tuple):
        return " to ".join(shown(end, pattern) for end in value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return value if isinstance(value, str) else format(value, pattern).replace("%", " %")


def as_json(report: Report) -> dict[str, Any]:
    """Return what programs read: by section and name, every figure as it was computed; pictures stay out."""
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
    """Return values as JSON knows them: the ends of an interval have names."""
    return {
        name: dict(zip(("low", "high"), value, strict=True)) if isinstance(value, tuple) else value
        for name, value in values.items()
    }
