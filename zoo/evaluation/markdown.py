"""Write a report as Markdown, with its plots as files in a folder beside it."""

from collections.abc import Iterator, Sequence

from zoo.core.markup import code_block, escaped
from zoo.evaluation.document import Block, Facts, Gallery, Listing, Plot, Report, Table, Text, shown
from zoo.plots import png
from zoo.plots.mosaic import fitted

FOLDER = "pictures"
SIDE = 96  # pixels of a tile: it is enlarged here, because a viewer would blur it


def write(report: Report) -> str:
    highlights = [f"- {escaped(fact.label)}: **{escaped(fact.shown())}**" for fact in report.highlights]
    paragraphs = [f"# {escaped(report.title)}", escaped(report.subtitle), "\n".join(highlights)]
    for section in report.sections:
        paragraphs += [f"## {escaped(section.title)}", *filter(None, map(_block, section.blocks))]
    return "\n\n".join(paragraphs) + "\n"


def image_files(report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file in `FOLDER`."""
    for block in (block for section in report.sections for block in section.blocks):
        match block:
            case Plot(key, suffix, content):
                yield f"{key}.{suffix}", content
            case Gallery(key, tiles):
                for number, tile in enumerate(tiles, start=1):
                    yield _tile_name(key, number), png.encode(fitted(tile.pixels, SIDE))


def _block(block: Block) -> str:
    match block:
        case Text(text, source):
            return escaped(text) + (f" (<{source}>)" if source else "")
        case Facts(facts):
            return _table(["", "", ""], [map(escaped, (f.label, f.shown(), f.note)) for f in facts.values()])
        case Table(for_programs=True):
            return ""
        case Table(_, head, columns, rows, caption):
            lines = [
                [name, *(shown(value, pattern) for value, pattern in zip(row, columns.values(), strict=True))]
                for name, row in rows.items()
            ]
            table = _table([head, *columns], [map(escaped, line) for line in lines])
            return f"{table}\n\n{escaped(caption)}" if caption else table
        case Plot(key, suffix, _, description, caption):
            return f"![{escaped(description)}]({FOLDER}/{key}.{suffix})\n\n{escaped(caption)}"
        case Gallery(key, tiles):
            labels = [fact.label for fact in tiles[0].facts.values()]
            lines = [
                [f"![]({FOLDER}/{_tile_name(key, number)})", *(escaped(fact.shown()) for fact in tile.facts.values())]
                for number, tile in enumerate(tiles, start=1)
            ]
            return _table(["image", *labels], lines)
        case Listing(_, title, text):
            return f"{escaped(title)}:\n\n{code_block(text)}"


def _table(heads: Sequence[str], lines: Sequence[Iterator[str] | Sequence[str]]) -> str:
    rows = [map(escaped, heads), ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _tile_name(key: str, number: int) -> str:
    return f"{key}_{number:02}.png"
