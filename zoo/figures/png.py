"""Pixels as a PNG file."""

import io

import numpy as np
from PIL import Image  # comes with matplotlib


def encode(pixels: np.ndarray) -> bytes:
    """Return pixels, uint8 (height, width, 3), as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return content.getvalue()
