"""The exported function, from pixels to probabilities, and its graph by `torch.export`."""

import io
import logging
import textwrap
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from datamodules.errors import InputError
from zoo.core import torch_twin
from zoo.core.classifier import Classifier
from zoo.core.inputs import black_images
from zoo.core.views import mean_logits

INPUT, OUTPUT = "images", "probabilities"
LONGEST_CAUSE = 300  # characters; an error of PyTorch can fill pages


class Program(nn.Module):
    """A model in evaluation mode, from pixels to probabilities, views included; the PyTorch model is not copied."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.network = model.torch_module()
        self._to_probabilities, self._tta = model.predict_probabilities, model.tta
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities of the classes, float32 (n, K), of uint8 images (n, c, h, w)."""
        return self._to_probabilities(mean_logits(self.network, images, self._tta)).float()


def check_layers(model: Classifier) -> None:
    """Raise InputError if a NumPy network has a layer that PyTorch does not have."""
    for module in model.torch_module().modules():
        if isinstance(module, torch_twin.NumPyLayer):
            name = module._get_name()
            raise InputError(
                f"{type(model).__name__} has the layer {name}, which has no counterpart in zoo/core/torch_twin.py: add "
                "it there, or take --format safetensors, which leaves the computation to the model's own class"
            )


def capture(model: Classifier) -> ExportedProgram:
    """Return the graph of `Program(model)`, for batches of any size.

    Raises:
        InputError: if the model's Python code depends on pixel values or the batch size, or PyTorch lacks a layer.
    """
    check_layers(model)
    program = Program(model)
    images = black_images(model, 2)  # PyTorch would take a size of 1 for a constant
    with exporting(model):
        graph = torch.export.export(program, (images,), dynamic_shapes={INPUT: {0: Dim("n")}}, strict=False)
    for node in graph.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return graph


@contextmanager
def exporting(model: Classifier) -> Iterator[None]:
    """Run one of PyTorch's exporters quietly; raise InputError, with the cause and its place, if it refuses a model."""
    try:
        with quiet():
            yield
    except Exception as error:  # code of another package can raise anything
        cause = error
        while isinstance(cause.__cause__, Exception):
            cause = cause.__cause__
        text = textwrap.shorten(str(cause).strip().partition("\n\n")[0], LONGEST_CAUSE, placeholder=" ...")
        raise InputError(
            f"{type(model).__name__} cannot be made a program of its own: {text or type(cause).__name__}"
            f"{_place(cause)}; --format safetensors leaves the computation to the model's own class"
        ) from error


def _place(error: Exception) -> str:
    """Return `" (FILE, line N: CODE)"` of the innermost line outside the exporters and this package; "" without one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.parent != Path(__file__).parent and not {"torch", "onnxscript", "onnx_ir"} & set(path.parts):
            return f" ({path.name}, line {frame.lineno}: {frame.line})"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what PyTorch's exporters print, log and warn of; errors pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
