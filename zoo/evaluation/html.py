"""A report as one HTML file: its style and its pictures are in it, and nothing is fetched from elsewhere."""

import base64
from collections.abc import Sequence
from html import escape

from datamodules.errors import one_line
from zoo.evaluation.document import (
    Block,
    Facts,
    Gallery,
    Listing,
    Picture,
    Report,
    Section,
    Table,
    Text,
    Tile,
    Value,
    shown,
)
from zoo.plots import png

TYPES = {"svg": "image/svg+xml", "png": "image/png"}
TOP = "top"  # the id of the table of contents

# In the fonts of the system, and light or dark as that is; figures keep their white ground. Tables and wide pictures
# scroll within their own box, in which the names of the rows stay. A row is whole pixels high: else
# the names hide the lines between them.
STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --wash: #f6f8fa; --paper: #fff; --accent: #0b5394; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 60rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { margin: 3.5rem 0 1rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 1.4rem; line-height: 1.3; }
p { max-width: 46rem; margin: 0.75rem 0; overflow-wrap: anywhere; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 2px; }
.subtitle { margin: 0.5rem 0 1.75rem; color: var(--soft); font-size: 1.05rem; }
.highlights { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 0.75rem; margin: 0; }
.highlights div { padding: 0.9rem 1rem; border: 1px solid var(--line); border-radius: 8px; background: var(--wash); }
.highlights dt { color: var(--soft); font-size: 0.85rem; }
.highlights dd { margin: 0; font-size: 1.6rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.highlights small { display: block; color: var(--soft); font-size: 0.8rem; font-weight: 400; }
nav { margin-top: 1.75rem; }
nav ol { margin: 0; padding-left: 1.5rem; columns: 14rem 3; column-gap: 2rem; }
nav li { padding: 0.1rem 0; break-inside: avoid; }
.scroll { margin: 1rem 0; overflow-x: auto; }
figure .scroll { margin: 0; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.9375rem; line-height: 1.6;
  font-variant-numeric: tabular-nums; }
th, td { padding: 0.375rem 0.85rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { border-bottom: 2px solid var(--ink); vertical-align: bottom; font-weight: 600; }
th:first-child { position: sticky; left: 0; padding-left: 0; text-align: left; background: var(--paper); }
tbody th { font-weight: 400; }
th.words, td.words { text-align: left; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.facts th { color: var(--soft); vertical-align: top; white-space: normal; min-width: 8rem; }
.note { color: var(--soft); font-size: 0.88rem; }
figure { margin: 1.5rem 0; }
figure img { display: block; width: 100%; height: auto; }
figure.wide img { min-width: 34rem; }
figcaption, .caption { max-width: 46rem; margin-top: 0.5rem; color: var(--soft); font-size: 0.88rem; }
img.png, .tiles img { image-rendering: crisp-edges; image-rendering: pixelated; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 1.25rem 1rem;
  margin: 1.25rem 0; padding: 0; list-style: none; }
.tiles li { font-size: 0.85rem; line-height: 1.4; overflow-wrap: anywhere; }
.tiles img { display: block; width: 128px; height: 128px; margin-bottom: 0.4rem; border: 1px solid var(--line); }
.tiles span { color: var(--soft); }
summary { cursor: pointer; color: var(--accent); }
pre { margin: 0.75rem 0; padding: 1rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 8px;
  background: var(--wash); font: 0.82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: 0.85rem; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --line: #30363d; --wash: #161b22; --paper: #0d1117; --accent: #79b8ff; }
  figure .scroll { width: fit-content; max-width: 100%; padding: 0.5rem; border-radius: 6px; background: #fff; }
}
@media (max-width: 40rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.55rem; }
  h2 { margin-top: 2.5rem; font-size: 1.25rem; }
  .highlights { grid-template-columns: 1fr 1fr; }
  .highlights dd { font-size: 1.3rem; }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); gap: 1rem 0.5rem; }
  .tiles img { width: 96px; height: 96px; }
  th, td { padding: 0.375rem 0.6rem; }
  tbody th { min-width: 8.5rem; white-space: normal; }
  figure.wide figcaption::before { content: "Swipe to see all of it. "; }
}
@media print {
  @page { margin: 15mm; }
  html { font-size: 9.5pt; }
  body { max-width: none; padding: 0; }
  th, td { padding: 0.3rem 0.6rem; }
  nav, .back { display: none; }
  h2 { margin-top: 1.5rem; break-after: avoid; }
  figure, tr, .tiles li, .highlights div { break-inside: avoid; }
  .scroll { overflow: visible; }
  th:first-child { position: static; }
  .tiles img { width: 7rem; height: 7rem; }
  details::details-content { content-visibility: visible; block-size: auto; }
  figure.wide img { min-width: 0; }
  a { color: inherit; text-decoration: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def write(report: Report) -> str:
    """Return a report as HTML."""
    links = "\n".join(f'<li><a href="#{s.key}">{_escaped(s.title)}</a></li>' for s in report.sections)
    highlights = "\n".join(
        f"<div><dt>{_escaped(fact.label)}</dt><dd>{_escaped(fact.shown())}{_small(fact.note)}</dd></div>"
        for fact in report.highlights
    )
    sections = "\n".join(map(_section, report.sections))
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_escaped(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header id="{TOP}">
<h1>{_escaped(report.title)}</h1>
<p class="subtitle">{_escaped(report.subtitle)}</p>
<dl class="highlights">
{highlights}
</dl>
</header>
<nav aria-label="Contents">
<ol>
{links}
</ol>
</nav>
<main>
{sections}
</main>
<footer class="back"><a href="#{TOP}">Back to the top</a></footer>
</body>
</html>
"""


def _small(note: str) -> str:
    return f"<small>{_escaped(note)}</small>" if note else ""


def _section(section: Section) -> str:
    blocks = "\n".join(map(_block, section.blocks))
    return f'<section id="{section.key}">\n<h2>{_escaped(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    match block:
        case Text(text, source):
            link = f' <a href="{escape(source)}">{_escaped(source.removeprefix("https://"))}</a>' if source else ""
            return f"<p>{_escaped(text)}{link}</p>"
        case Facts():
            return _facts(block)
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Gallery(_, tiles):
            return '<ul class="tiles">\n' + "\n".join(map(_tile, tiles)) + "\n</ul>"
        case Listing(_, title, text):
            return f"<details>\n<summary>{_escaped(title)}</summary>\n<pre>{escape(text.rstrip())}</pre>\n</details>"


def _facts(block: Facts) -> str:
    rows = [
        f'<tr><th scope="row">{_escaped(fact.label)}</th><td>{_escaped(fact.shown())}'
        + (f' <span class="note">{_escaped(fact.note)}</span>' if fact.note else "")
        + "</td></tr>"
        for fact in block.facts.values()
    ]
    return _scrolling('<table class="facts">\n<tbody>\n' + "\n".join(rows) + "\n</tbody>\n</table>", "Facts")


def _table(table: Table) -> str:
    words = [any(isinstance(row[column], str) for row in table.rows.values()) for column in range(len(table.columns))]
    heads = "".join(f'<th scope="col"{_kind(w)}>{_escaped(n)}</th>' for n, w in zip(table.columns, words, strict=True))
    rows = [_row(name, row, list(table.columns.values()), words) for name, row in table.rows.items()]
    caption = f'\n<p class="caption">{_escaped(table.caption)}</p>' if table.caption else ""
    head = f'<thead><tr><th scope="col">{_escaped(table.head)}</th>{heads}</tr></thead>'
    body = "<tbody>\n" + "\n".join(rows) + "\n</tbody>"
    return _scrolling(f"<table>\n{head}\n{body}\n</table>", table.caption or table.head or "Table") + caption


def _row(name: str, values: Sequence[Value], patterns: Sequence[str], words: Sequence[bool]) -> str:
    cells = "".join(
        f"<td{_kind(is_word)}>{_escaped(shown(value, pattern))}</td>"
        for value, pattern, is_word in zip(values, patterns, words, strict=True)
    )
    return f'<tr><th scope="row">{_escaped(name)}</th>{cells}</tr>'


def _kind(words: bool) -> str:
    return ' class="words"' if words else ""


def _scrolling(content: str, label: str) -> str:
    """Return content in a box of its own, which a keyboard can scroll too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{_escaped(label)}">\n{content}\n</div>'


def _picture(picture: Picture) -> str:
    wide = ' class="wide"' if picture.width > 600 else ""
    # Of pixels, each is to be as large as any other: they are not made smaller.
    size = "max-width" if picture.suffix == "svg" else "width"
    image = (
        f'<img class="{picture.suffix}" src="{_data(TYPES[picture.suffix], picture.content)}" '
        f'alt="{_escaped(picture.description)}" style="{size}: {picture.width}px">'
    )
    caption = f"<figcaption>{_escaped(picture.caption)}</figcaption>" if picture.caption else ""
    return f"<figure{wide}>\n{_scrolling(image, picture.description)}\n{caption}\n</figure>"


def _tile(tile: Tile) -> str:
    lines = "<br>".join(f"<span>{_escaped(fact.label)}</span> {_escaped(fact.shown())}" for fact in tile.facts.values())
    return f'<li><img src="{_data(TYPES["png"], png.encode(tile.pixels))}" alt="" width="32" height="32">{lines}</li>'


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _escaped(text: str) -> str:
    """Return text on one line, in which nothing is HTML; a number and its per cent sign stay together."""
    return escape(one_line(text)).replace(" %", "&nbsp;%")
