"""A figure as an SVG file."""

import io

import matplotlib
from matplotlib.figure import Figure


def encode(figure: Figure) -> bytes:
    """Return a figure as an SVG file, the same bytes for the same figure, whose letters are outlines."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "zoo", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
