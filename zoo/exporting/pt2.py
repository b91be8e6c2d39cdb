"""A program of `torch.export`: one file with graph and weights, which PyTorch runs without this project."""

import io

import numpy as np
import torch

from zoo.core.classifier import Classifier
from zoo.exporting.program import capture, exporting

TITLE = "a PyTorch program (`torch.export`)"
INSTALL = "numpy torch"  # what `probabilities` needs


def content(model: Classifier, metadata: dict[str, str]) -> bytes:
    """Return the file: from images to probabilities, a batch of any size, and metadata as extra files."""
    program, file = capture(model), io.BytesIO()
    with exporting(model):  # some operators cannot be written
        torch.export.save(program, file, extra_files=metadata)
    return file.getvalue()


def probabilities(path: str, images: np.ndarray) -> np.ndarray:
    """Return the probabilities, float32 (n, K), of uint8 images (n, c, h, w)."""
    import torch

    program = torch.export.load(path).module()
    with torch.no_grad():
        return program(torch.from_numpy(images)).numpy()
