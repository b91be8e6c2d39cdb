"""Write a report as one HTML file with its style and its plots in it: the page loads nothing from elsewhere."""

import base64

import jinja2
from markupsafe import Markup

from datamodules.errors import one_line
from zoo.evaluation.document import Report, Table, shown
from zoo.plots import png

MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png"}


def write(report: Report) -> str:
    loader = jinja2.PackageLoader("zoo.evaluation", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "line": _line,
        "column_classes": _column_classes,
        "data_url": lambda content, suffix: f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode()}",
        "png": png.encode,
        "kind": lambda block: type(block).__name__,
    }
    return environment.get_template("report.html.jinja").render(report=report, shown=shown).lstrip()


def _line(text: str) -> str:
    """Return text on one line, with each number and its per cent sign kept together."""
    return one_line(text).replace(" %", "\N{NO-BREAK SPACE}%")


def _column_classes(table: Table) -> list[str]:
    """Return the attribute that aligns each column: words are aligned left, numbers right."""
    rows = table.rows.values()
    has_words = [any(isinstance(row[column], str) for row in rows) for column in range(len(table.columns))]
    return [Markup(' class="words"') if words else "" for words in has_words]
