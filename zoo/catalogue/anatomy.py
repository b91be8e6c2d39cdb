"""What a model consists of: its arguments, its layers, its cost, and the place of its code."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import docstring_parser

from datamodules.errors import InputError

if TYPE_CHECKING:
    from zoo.core.classifier import Classifier

REQUIRED = inspect.Parameter.empty  # the default of an argument without one
POINTER = re.compile(r"see `[\w.]+`\.?")  # a description that only points to another one


class Argument(NamedTuple):
    """An argument of a class; `default` is `REQUIRED` without one."""

    name: str
    type: str  # annotation as it is written; "" without one
    default: Any
    text: str  # description in the docstring, on one line
    keyword_only: bool


class Layer(NamedTuple):
    """A layer of a model."""

    name: str  # path of the layer, such as "net.0"
    kind: str  # name of its class
    output: list[Any]  # shape of its output for one image, [1, ...]; of several outputs, the shape of each
    parameters: int  # number of parameters that learn


class Anatomy(NamedTuple):
    """A model with its default arguments."""

    layers: list[Layer]  # those that an image passes through, in the order in which the model holds them
    parameters: int  # number of parameters that learn, including those outside layers
    flops: int  # floating-point operations of the forward pass of an image; a multiply-add counts as two


def description(cls: type) -> str:
    """Return the part of a class's docstring before the arguments; "" without a docstring."""
    parsed = docstring_parser.parse(cls.__doc__ or "")
    return "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)


def arguments(cls: type) -> list[Argument]:
    """Return the arguments of a class, without *args and **kwargs."""
    texts, rows = _texts(cls), []
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            kind, keyword_only = parameter.annotation, parameter.kind is parameter.KEYWORD_ONLY
            if not isinstance(kind, str):
                kind = "" if kind is parameter.empty else inspect.formatannotation(kind)
            rows.append(Argument(name, kind, parameter.default, texts.get(name, ""), keyword_only))
    return rows


def _texts(cls: type) -> dict[str, str]:
    """Return the descriptions of arguments; a base's docstring serves if the class has none, or points there."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for docstring in (base.__doc__, getattr(vars(base).get("__init__"), "__doc__", None)):
            for parameter in docstring_parser.parse(docstring or "").params:
                text = " ".join((parameter.description or "").split())
                if parameter.args[0] == "param" and not (parameter.arg_name in texts and POINTER.fullmatch(text)):
                    texts[parameter.arg_name] = text
    return texts


def source(cls: type) -> tuple[Path, int] | None:
    """Return the file and the line that define a class; None for a class that comes from no file."""
    try:
        return Path(inspect.getsourcefile(cls) or ""), inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return None


def measure(cls: "type[Classifier]", build: "Callable[[], Classifier] | None" = None) -> Anatomy:
    """Build a model, and watch it classify a black image; InputError if it cannot.

    Args:
        cls: class of the model.
        build: makes the model; None makes it with its default arguments.
    """
    # The rest of this module needs no torch.
    from lightning.pytorch.utilities.model_summary import ModelSummary
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from zoo.core.classifier import count_parameters

    try:
        module = (build or cls)().torch_module()
        with sdpa_kernel(SDPBackend.MATH):  # PyTorch does not count the FLOPs of fused attention on the CPU
            summary = ModelSummary(module, max_depth=-1)
        sizes = zip(summary.layer_names, summary.out_sizes, strict=True)
        called = {name: size for name, size in sizes if isinstance(size, list)}  # other layers were not called
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # another package's code can raise anything
        cause = f"{type(error).__name__}: {error}"
        given = "these arguments" if build else "its default arguments"
        raise InputError(f"{cls.__name__}, with {given}, cannot classify an image ({cause})") from error
    layers = []
    for name, size in called.items():
        if not any(other.startswith(f"{name}.") for other in called):
            layer = module.get_submodule(name)
            layers.append(Layer(name, layer._get_name(), size, count_parameters(layer)))
    return Anatomy(layers, summary.trainable_parameters, summary.total_flops)
