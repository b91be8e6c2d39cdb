"""A program of `torch.export`: one file with graph and weights, which PyTorch runs without this project."""

import io

import numpy as np
import torch

from zoo.core.classifier import Classifier
from zoo.exporting.program import capture, quiet, refusal

TITLE = "a PyTorch program (`torch.export`)"
INSTALL = "numpy torch"  # what `probabilities` needs


def content(model: Classifier, metadata: dict[str, str]) -> bytes:
    """Return the file: from images to probabilities, a batch of any size, and metadata as extra files.

    Raises:
        InputError: if PyTorch cannot export the model.
    """
    program, file = capture(model), io.BytesIO()
    try:
        with quiet():
            torch.export.save(program, file, extra_files=metadata)
    except Exception as error:  # some operators cannot be written
        raise refusal(model, error) from error
    return file.getvalue()


def probabilities(path: str, images: np.ndarray) -> np.ndarray:
    """Return the probabilities, float32 (n, K), of uint8 images (n, 3, 32, 32)."""
    import torch

    program = torch.export.load(path).module()
    with torch.no_grad():
        return program(torch.from_numpy(images)).numpy()
