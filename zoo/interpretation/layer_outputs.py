"""The layers of a model and their outputs."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.errors import InputError, did_you_mean
from zoo.core.classifier import Classifier
from zoo.core.inputs import black_images
from zoo.trained.inference import batches, evaluating


def names(model: Classifier) -> list[str]:
    """Return the names of the innermost layers that an image passes through, in that order.

    A name is the path of attributes to the layer; in a NumPy model "layers.0", "layers.1" and so on. Layers of
    TorchScript are left out, because they take no hooks.
    """
    return list(_run(model, black_images(model), None, lambda inputs, output: None))


def check(model: Classifier, name: str) -> None:
    """Raise InputError unless a model has a layer of that name; list the layers that it has."""
    known = names(model)
    if name not in known:
        hint = did_you_mean(name, known)
        raise InputError(f"{type(model).__name__} has no layer '{name}'.{hint} It has: {', '.join(known)}")


def outputs(model: Classifier, images: Tensor | np.ndarray, wanted: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of the layers `wanted` in evaluation mode, by name, of images, uint8 (n, c, h, w).

    A convolution's output is float32 (n, channels, height, width), a dense layer's (n, units), on the CPU.
    """
    for name in wanted:
        check(model, name)
    # Copies: an activation may change them in place.
    parts = [
        _run(model, batch, wanted, lambda inputs, output: output.to("cpu", torch.float32, copy=True))
        for batch in batches(model, images)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in wanted}


def features(model: Classifier, images: Tensor | np.ndarray) -> Tensor:
    """Return the inputs of the last layer with weights, float32 (n, features) on the CPU, of uint8 (n, c, h, w).

    They are the network's representation of an image before it decides on a class. The features of a network with a
    single layer are the normalized pixels.
    """
    last = with_weights(model)[-1]
    parts = [
        _run(model, batch, [last], lambda inputs, output: inputs[0].flatten(1).float().cpu())[last]
        for batch in batches(model, images)
    ]
    return torch.cat(parts)


def first_weights(model: Classifier) -> Tensor | None:
    """Return the first layer's weights as images with the channels of the data, float32 (units, c, height, width).

    They are the kernels of a convolution, or the weights of a dense layer for each pixel and channel. None if the first
    layer with weights is of another kind.
    """
    module = model.torch_module()
    for name in names(model):
        layer = module.get_submodule(name)
        weight = getattr(layer, "weight", None)
        if weight is None:
            continue
        weight = weight.detach().float().cpu()
        if isinstance(layer, nn.Conv2d) and weight.shape[1] == model.channels:
            return weight
        if isinstance(layer, nn.Linear) and weight.shape[1] == math.prod(model.image_shape):
            return weight.reshape(-1, *model.image_shape)  # in the order of `Flatten`
        return None
    return None


def names_of_first_units(model: Classifier, class_names: Sequence[str]) -> Sequence[str]:
    """Return the classes that the first layer's units stand for, if no other layer has weights; else nothing."""
    # A single unit stands for class 1.
    return class_names[-model.num_outputs :] if len(with_weights(model)) == 1 else ()


def with_weights(model: Classifier) -> list[str]:
    """Return the names of the layers with weights, in order; raise InputError if there are none."""
    module = model.torch_module()
    layers = [name for name in names(model) if any(True for _ in module.get_submodule(name).parameters())]
    if not layers and any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise InputError(
            f"{type(model).__name__} has no layer with weights outside TorchScript, which hides its layers"
        )
    if not layers:
        raise InputError(f"{type(model).__name__} has no layer with weights: all that it has are its own")
    return layers


def convolutions(model: Classifier) -> list[str]:
    """Return the names of the convolutions that an image passes through, in order, except those with 1 x 1 outputs."""
    module, shapes = model.torch_module(), _shapes(model)
    return [name for name, shape in shapes.items() if _is_map(module.get_submodule(name), shape)]


def last_convolution(model: Classifier) -> str | None:
    """Return the name of the last of `convolutions`; None if there are none, or if later layers mix their places.

    Those are layers with weights whose output is a sequence of patches, (n, patches, width), as in a transformer.
    """
    module, last = model.torch_module(), None
    for name, shape in _shapes(model).items():
        layer = module.get_submodule(name)
        if _is_map(layer, shape):
            last = name
        elif len(shape) == 3 and any(True for _ in layer.parameters()):
            last = None
    return last


def _is_map(layer: nn.Module, shape: torch.Size) -> bool:
    return isinstance(layer, nn.Conv2d) and shape[2:].numel() > 1


def _shapes(model: Classifier) -> dict[str, torch.Size]:
    """Return the shapes of the outputs of the innermost layers for one image, by name."""
    return _run(model, black_images(model), None, lambda inputs, output: output.shape)


def _run(
    model: Classifier, images: Tensor, wanted: Sequence[str] | None, convert: Callable[[Any, Tensor], Any]
) -> dict[str, Any]:
    """Classify images, and convert inputs and output of each wanted layer (None: of all), in the order of calls.

    If an image passes through a layer several times, the first pass counts.
    """
    kept: dict[str, Any] = {}

    def keep(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and name not in kept:
            kept[name] = convert(inputs, output)

    module = model.torch_module()
    layers = [(name, layer) for name, layer in _innermost(module) if wanted is None or name in wanted]
    hooks = [layer.register_forward_hook(partial(keep, name)) for name, layer in layers]
    try:
        with evaluating(model), torch.inference_mode():
            module(images.to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def _innermost(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that consist of no others, by name, without those of TorchScript, which take no hooks.

    A layer with a parametrization, such as weight norm, is one of them; the parametrization is not.
    """
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if not any(child != "parametrizations" for child, _ in layer.named_children())
        and "parametrizations" not in name.split(".")
        and not isinstance(layer, torch.jit.ScriptModule)
    ]
