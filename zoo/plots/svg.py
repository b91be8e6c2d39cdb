"""Encode figures as SVG files."""

import io

import matplotlib
from matplotlib.figure import Figure


def encode(figure: Figure) -> bytes:
    """Return a figure as an SVG file with letters as outlines; equal figures have equal bytes."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "zoo", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
