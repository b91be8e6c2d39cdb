"""What a model is made of: its arguments, its layers, what it costs, and where its code is."""

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import docstring_parser

from datamodules.errors import InputError

if TYPE_CHECKING:
    from lightning.pytorch.utilities.model_summary import ModelSummary

    from zoo.core.classifier import Classifier
    from zoo.core.numpy_classifier import NumPyClassifier

REQUIRED = inspect.Parameter.empty  # the default of an argument that has none
POINTER = re.compile(r"see `[\w.]+`\.?")  # a text that says no more than where to read on


class Argument(NamedTuple):
    """An argument of a class.

    Attributes:
        name: of the argument.
        type: as it is written; "" where nothing is.
        default: its value where none is given; `REQUIRED` where one has to be.
        text: what the docstring says about it, on one line.
        keyword_only: whether it can be given by its name alone.
    """

    name: str
    type: str
    default: Any
    text: str
    keyword_only: bool


class Layer(NamedTuple):
    """A layer of a model.

    Attributes:
        name: as the model's attributes lead to it, such as "net.0".
        kind: the name of its class.
        output: the shape of what it puts out for one image, [1, ...]; of several things, the shape of each.
        parameters: how many it learns.
    """

    name: str
    kind: str
    output: list[Any]
    parameters: int


class Anatomy(NamedTuple):
    """A model with its default arguments.

    Attributes:
        layers: those that an image passes through, in the order in which the model holds them.
        parameters: how many it learns, those of no layer too.
        flops: floating-point operations of an image's forward pass, where a multiply-add counts as two.
    """

    layers: list[Layer]
    parameters: int
    flops: int


def description(cls: type) -> str:
    """Return what a class's docstring says before it comes to the arguments; "" where it says nothing."""
    parsed = docstring_parser.parse(cls.__doc__ or "")
    return "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)


def arguments(cls: type) -> list[Argument]:
    """Return the arguments of a class, but for those that have no name of their own (*args, **kwargs)."""
    texts = _texts(cls)
    return [
        Argument(
            name,
            _type(parameter.annotation),
            parameter.default,
            texts.get(name, ""),
            parameter.kind is parameter.KEYWORD_ONLY,
        )
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _texts(cls: type) -> dict[str, str]:
    """Return what docstrings say about arguments: the class's own, or a base's where it points there or is silent."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for docstring in (base.__doc__, getattr(vars(base).get("__init__"), "__doc__", None)):
            for parameter in docstring_parser.parse(docstring or "").params:
                text = " ".join((parameter.description or "").split())
                if parameter.args[0] == "param" and not (parameter.arg_name in texts and POINTER.fullmatch(text)):
                    texts[parameter.arg_name] = text
    return texts


def _type(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def source(cls: type) -> tuple[Path, int] | None:
    """Return the file that defines a class, and the line; None where there is no such file."""
    try:
        return Path(inspect.getsourcefile(cls) or ""), inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):  # it was made by a program, say
        return None


def measure(cls: "type[Classifier]") -> Anatomy:
    """Build a model with its default arguments, classify a black image with it, and look on.

    Raises:
        InputError: where it cannot be built, or cannot classify an image.
    """
    # Here, because all the rest of this module needs no torch.
    from lightning.pytorch.utilities.model_summary import ModelSummary

    from zoo.core.numpy_classifier import NumPyClassifier

    try:
        model = cls()
        summary = ModelSummary(model, max_depth=-1)
    except (Exception, SystemExit) as error:  # another package's code can raise anything
        cause = f"{type(error).__name__}: {error}"
        raise InputError(f"{cls.__name__}, with its default arguments, cannot classify an image ({cause})") from error
    if isinstance(model, NumPyClassifier):
        flops = sum(2 * layer.weights.size for layer in model.network.layers)
        return Anatomy(_numpy_layers(model), summary.trainable_parameters, flops)
    return Anatomy(_torch_layers(model, summary), summary.trainable_parameters, summary.total_flops)


def _numpy_layers(model: "NumPyClassifier") -> list[Layer]:
    return [
        Layer(
            f"layers.{position}",
            f"{type(layer).__name__}, {type(layer.activation).__name__}",
            [1, layer.bias.size],
            layer.weights.size + layer.bias.size,
        )
        for position, layer in enumerate(model.network.layers)
    ]


def _torch_layers(model: "Classifier", summary: "ModelSummary") -> list[Layer]:
    """Return the innermost modules that the image passed through: what was not called has no size."""
    called = []
    for name, kind, size in zip(summary.layer_names, summary.layer_types, summary.out_sizes, strict=True):
        if isinstance(size, list):  # the summary's own numbers count frozen parameters, too
            learning = (p.numel() for p in model.get_submodule(name).parameters() if p.requires_grad)
            called.append(Layer(name, kind, size, sum(learning)))
    return [layer for layer in called if not any(other.name.startswith(f"{layer.name}.") for other in called)]
