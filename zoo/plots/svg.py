"""Encode figures as SVG files."""

import io
import warnings

import matplotlib
from matplotlib.figure import Figure


def encode(figure: Figure) -> bytes:
    """Return a figure as an SVG file with letters as outlines; equal figures have equal bytes."""
    content = io.BytesIO()
    settings = matplotlib.rc_context({"svg.hashsalt": "zoo", "svg.fonttype": "path"})
    with settings, warnings.catch_warnings(action="ignore", category=UserWarning):  # of letters that the font lacks
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
