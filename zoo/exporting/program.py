"""What is exported: a model as one function from pixels to probabilities, and that function as a graph of PyTorch."""

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
from zoo.core.classifier import Classifier
from zoo.core.inputs import black_images
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.scratch.activations import Activation, Identity, ReLU, Sigmoid, Tanh

INPUT, OUTPUT = "images", "probabilities"
ACTIVATIONS: dict[type[Activation], type[nn.Module]] = {
    Identity: nn.Identity,
    ReLU: nn.ReLU,
    Sigmoid: nn.Sigmoid,
    Tanh: nn.Tanh,
}
LONGEST_CAUSE = 300  # characters of an error of PyTorch, which can be pages


class Program(nn.Module):
    """A model from plain pixels to probabilities, in evaluation mode.

    Args:
        model: of any kind; it is not copied.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.network = TorchTwin(model) if isinstance(model, NumPyClassifier) else model
        self._to_probabilities = model.predict_probabilities
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities of the classes, float32 (n, K), of uint8 images (n, 3, 32, 32)."""
        return self._to_probabilities(self.network(images)).float()


class TorchTwin(nn.Module):
    """The network of a NumPy model as layers of PyTorch, with a copy of its weights.

    Args:
        model: whose network has no other activations than `ACTIVATIONS`.

    Raises:
        InputError: for another activation.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: NumPyClassifier) -> None:
        super().__init__()
        self.register_buffer("scale", model.pixel_scale.clone())
        self.register_buffer("shift", model.pixel_shift.clone())
        self.layers = nn.Sequential()
        for layer, activation in zip(model.network.layers, activations(model), strict=True):
            linear = nn.Linear(*layer.weights.shape)
            linear.weight.data = torch.tensor(layer.weights.T)
            linear.bias.data = torch.tensor(layer.bias)
            self.layers.extend([linear, ACTIVATIONS[activation]()])

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (n, `num_outputs`), of uint8 images (n, 3, 32, 32)."""
        rows = images.permute(0, 2, 3, 1).flatten(1)  # (n, 3072), see `NumPyClassifier.network`
        return self.layers(rows * self.scale + self.shift)


def activations(model: NumPyClassifier) -> list[type[Activation]]:
    """Return the activation of each layer of a NumPy model.

    Raises:
        InputError: for one that is not in `ACTIVATIONS`.
    """
    found = [type(layer.activation) for layer in model.network.layers]
    for activation in found:
        if activation not in ACTIVATIONS:
            known = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            raise InputError(
                f"{type(model).__name__} has the activation {activation.__name__}, and only {known} can be exported: "
                "take --format safetensors, which leaves the computation to the model's own class"
            )
    return found


def capture(model: Classifier) -> ExportedProgram:
    """Return the graph of `Program(model)`, for batches of any size.

    Raises:
        InputError: for a model whose Python depends on the values of the pixels, or on how many images there are; and
            see `TorchTwin`.
    """
    program = Program(model)
    images = black_images(model, 2)  # PyTorch takes a batch of 1 for one that is always 1
    try:
        with quiet():
            graph = torch.export.export(program, (images,), dynamic_shapes={INPUT: {0: Dim("n")}}, strict=False)
    except Exception as error:  # the code of another package can raise anything
        raise cannot(model, error) from error
    for node in graph.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return graph


def cannot(model: Classifier, error: Exception) -> InputError:
    """Return the error for a model that PyTorch's exporters refuse, in one line: the cause, and where it is."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    text = textwrap.shorten(str(error).strip().partition("\n\n")[0], LONGEST_CAUSE, placeholder=" ...")
    name = type(model).__name__
    return InputError(
        f"{name} cannot be made a program of its own: {text or type(error).__name__}{_place(error)}; "
        "--format safetensors leaves the computation to the model's own class"
    )


def _place(error: Exception) -> str:
    """Return `" (FILE, line N: CODE)"` of the innermost line that is neither of the exporters nor of this package."""
    ours = str(Path(__file__).parent)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    frames = [f for f in frames if not {"torch", "onnxscript", "onnx_ir"} & set(Path(f.filename).parts)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line})" if frames else ""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep from the screen what PyTorch's exporters print, log and warn of; errors pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
