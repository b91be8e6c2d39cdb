"""Class-activation maps: which places of an image speak for a class.

Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
https://arxiv.org/abs/1610.02391). Each channel of a convolution is a map of where it found what it looks for. Its
weight is the mean over the places of the gradient of the class's logit; the maps, weighted and added up, are what
speaks for the class, and what is left below zero speaks against it:

    map = relu(sum over channels k of  mean over places (d logit / d A_k) * A_k)
"""

from typing import Any

import torch
from torch import Tensor, nn

from datamodules.errors import InputError
from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.interpretation import layer_outputs
from zoo.trained.inference import evaluating


def maps(model: Classifier, images: Tensor, classes: Tensor, layer: str | None = None) -> Tensor:
    """Return class-activation maps.

    Args:
        model: with a convolution.
        images: uint8 (n, 3, 32, 32).
        classes: of each image the class that is asked about, int64 (n,).
        layer: a convolution or what follows one, by name; None takes the last convolution.

    Returns:
        float32 (n, height, width) of the layer's output, at least 0, on the CPU.

    Raises:
        InputError: where the model has no convolution or no such layer, or its output has no places.
    """
    if layer is not None:
        layer_outputs.check(model, layer)
    layer = layer or layer_outputs.last_convolution(model)
    if layer is None or isinstance(model, NumPyClassifier):
        raise InputError(f"{type(model).__name__} has no convolution, and so no class-activation maps")
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        kept.append(output if output.requires_grad else output.requires_grad_())  # the weights may be frozen
        return output.clone()  # which an activation may change in place

    with model.get_submodule(layer).register_forward_hook(keep), evaluating(model), torch.enable_grad():
        logits = score(model, model(images.to(model.device)), classes.to(model.device))
        activations = kept[0]
        if activations.ndim != 4:
            shape = tuple(activations.shape[1:])
            raise InputError(f"the layer '{layer}' puts out {shape}, no maps: name a convolution or what follows one")
        # 0 where the answer does not depend on the layer.
        (gradients,) = torch.autograd.grad(logits.sum(), activations, materialize_grads=True)
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * activations).sum(1).relu().detach().float().cpu()


def score(model: Classifier, logits: Tensor, classes: Tensor) -> Tensor:
    """Return of each image the logit (n,) of a class; with one logit for two classes, it with the class's sign."""
    if model.num_outputs == 1:
        return logits.squeeze(1) * (2 * classes - 1)
    return logits.gather(1, classes[:, None]).squeeze(1)
