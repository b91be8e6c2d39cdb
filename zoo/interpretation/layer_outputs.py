"""The layers of a model, and what they put out."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.errors import InputError, did_you_mean
from zoo.core.classifier import Classifier
from zoo.core.inputs import CHANNELS, SIDE, black_images
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.trained.inference import batches, evaluating


def names(model: Classifier) -> list[str]:
    """Return the names of the innermost layers that an image passes through, in the order in which it does.

    Of a NumPy model "layers.0", "layers.1" and so on; of a PyTorch model as its attributes lead to them, without the
    modules of TorchScript, whose outputs Python cannot see.
    """
    return list(_run(model, black_images(model), None, lambda output: None))


def check(model: Classifier, name: str) -> None:
    """Check that a model has a layer of that name.

    Raises:
        InputError: where it has not; lists those that it has.
    """
    known = names(model)
    if name not in known:
        hint = did_you_mean(name, known)
        raise InputError(f"{type(model).__name__} has no layer '{name}'.{hint} It has: {', '.join(known)}")


def outputs(model: Classifier, images: Tensor | np.ndarray, wanted: Sequence[str]) -> dict[str, Tensor]:
    """Return what layers put out, in evaluation mode.

    Args:
        model: any of the zoo.
        images: uint8 (n, 3, 32, 32).
        wanted: names of layers.

    Returns:
        By name, float (n, channels, height, width) of a convolutional layer, (n, units) of a dense one; on the CPU.

    Raises:
        InputError: where the model has no such layer.
    """
    for name in wanted:
        check(model, name)
    # Copies, as an activation may change them in place.
    found = [
        _run(model, batch, wanted, lambda output: output.to("cpu", torch.float32, copy=True))
        for batch in batches(model, images)
    ]
    return {name: torch.cat([of_batch[name] for of_batch in found]) for name in wanted}


def features(model: Classifier, images: Tensor | np.ndarray) -> Tensor:
    """Return what the last layer with weights gets, float32 (n, features) on the CPU, of uint8 images (n, 3, 32, 32).

    That is what a network makes of an image before it decides on a class. Of a network with one layer, it is the
    normalized pixels.

    Raises:
        InputError: where the model has no layer with weights.
    """
    if isinstance(model, NumPyClassifier):
        found = []
        for batch in batches(model, images):
            inputs = model.normalized(batch)
            for layer in model.network.layers[:-1]:
                inputs = layer.forward(inputs)
            found.append(torch.from_numpy(inputs.copy()))
        return torch.cat(found)
    last = model.get_submodule(with_weights(model)[-1])
    kept: list[Tensor] = []
    with evaluating(model), torch.inference_mode():
        for batch in batches(model, images):
            of_batch: list[Tensor] = []
            with last.register_forward_pre_hook(lambda module, inputs, keep=of_batch.append: keep(inputs[0])):
                model(batch)
            kept.append(of_batch[0].flatten(1).float().cpu())  # the first, where an image passes through it twice
    return torch.cat(kept)


def first_weights(model: Classifier) -> Tensor | None:
    """Return the first layer's weights as colour pictures, float32 (units, 3, height, width).

    A convolution's kernels; a dense layer's weights, of which there is one for every pixel and colour: 32 x 32. None
    where the first layer with weights is of another kind.
    """
    if isinstance(model, NumPyClassifier):
        weights = torch.from_numpy(model.network.layers[0].weights.copy())  # (3072, units), each 32 x 32 x 3
        return weights.T.reshape(-1, SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2)
    for name in names(model):
        module = model.get_submodule(name)
        weight = getattr(module, "weight", None)
        if weight is None:
            continue
        weight = weight.detach().float().cpu()
        if isinstance(module, nn.Conv2d) and weight.shape[1] == CHANNELS:
            return weight
        if isinstance(module, nn.Linear) and weight.shape[1] == CHANNELS * SIDE * SIDE:
            return weight.reshape(-1, CHANNELS, SIDE, SIDE)  # in the order of `Flatten`
        return None
    return None


def names_of_first_units(model: Classifier, class_names: Sequence[str]) -> Sequence[str]:
    """Return what the first layer's units are for: classes, where it is the only one with weights, and else nothing."""
    # A single unit is for class 1.
    return class_names[-model.num_outputs :] if len(with_weights(model)) == 1 else ()


def with_weights(model: Classifier) -> list[str]:
    """Return the names of the layers that have weights, in their order.

    Raises:
        InputError: where there is none.
    """
    if isinstance(model, NumPyClassifier):
        return names(model)
    found = [name for name in names(model) if any(True for _ in model.get_submodule(name).parameters())]
    if not found and any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise InputError(
            f"{type(model).__name__} has no layer with weights outside TorchScript, which hides its layers"
        )
    if not found:
        raise InputError(f"{type(model).__name__} has no layer with weights: all that it has are its own")
    return found


def convolutions(model: Classifier) -> list[str]:
    """Return the names of the convolutions that an image passes through, in their order, but for those whose output
    has one place only.
    """
    if isinstance(model, NumPyClassifier):
        return []
    shapes = _run(model, black_images(model), None, lambda output: output.shape)
    return [
        name
        for name, shape in shapes.items()
        if isinstance(model.get_submodule(name), nn.Conv2d) and shape[2:].numel() > 1
    ]


def last_convolution(model: Classifier) -> str | None:
    """Return the name of the last of `convolutions`; None where there is none."""
    return next(reversed(convolutions(model)), None)


def _run(
    model: Classifier, images: Tensor, wanted: Sequence[str] | None, of: Callable[[Tensor], Any]
) -> dict[str, Any]:
    """Classify images, and return of each wanted layer (None: of all) what `of` makes of its output.

    Of a layer that an image passes through several times, the first.
    """
    kept: dict[str, Any] = {}
    with evaluating(model), torch.inference_mode():
        if isinstance(model, NumPyClassifier):
            inputs = model.normalized(images)
            for position, layer in enumerate(model.network.layers):
                inputs = layer.forward(inputs)
                if wanted is None or f"layers.{position}" in wanted:
                    kept[f"layers.{position}"] = of(torch.from_numpy(inputs.copy()))
            return kept

        def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and name not in kept:
                kept[name] = of(output)

        hooks = [
            module.register_forward_hook(partial(keep, name))
            for name, module in _innermost(model)
            if wanted is None or name in wanted
        ]
        try:
            model(images.to(model.device))
        finally:
            for hook in hooks:
                hook.remove()
    return kept


def _innermost(model: Classifier) -> list[tuple[str, nn.Module]]:
    """Return the layers that consist of no others, by name, without those of TorchScript, which take no hooks.

    A layer with a parametrization, such as weight norm, is one of them, and the parametrization is not.
    """
    return [
        (name, module)
        for name, module in model.named_modules()
        if not any(child != "parametrizations" for child, _ in module.named_children())
        and "parametrizations" not in name.split(".")
        and not isinstance(module, torch.jit.ScriptModule)
    ]
