"""Encode pixels and figures as PNG files."""

import io
import warnings

import numpy as np
from matplotlib.figure import Figure
from PIL import Image  # comes with matplotlib


def encode(pixels: np.ndarray, smallest: bool = True) -> bytes:
    """Return pixels, uint8 (height, width, 3), as a PNG file; the smallest file takes several times as long."""
    content = io.BytesIO()
    options = {"optimize": True} if smallest else {"compress_level": 1}
    Image.fromarray(pixels).save(content, "PNG", **options)
    return content.getvalue()


def render(figure: Figure, dpi: int = 120) -> bytes:
    """Return a figure as a PNG file of 256 colors, which has a third of the bytes."""
    drawn, content = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of letters that the font lacks
        figure.savefig(drawn, format="png", dpi=dpi)
    Image.open(drawn).convert("RGB").quantize(256).save(content, "PNG", optimize=True)
    return content.getvalue()
