"""Class-activation maps: which places of an image raise the logit of a class.

Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
https://arxiv.org/abs/1610.02391). Each channel A_k of a convolution is a map of where its feature occurs. The weight of
a channel is the mean over all places of the gradient of the class's logit. The weighted sum of the channels is positive
where the image speaks for the class; negative values, which speak against it, become 0:

    map = relu(sum over channels k of  mean over places (d logit / d A_k) * A_k)
"""

from typing import Any

import torch
from torch import Tensor, nn

from datamodules.errors import InputError
from zoo.core.classifier import Classifier
from zoo.interpretation import layer_outputs
from zoo.trained.inference import evaluating


def maps(model: Classifier, images: Tensor, classes: Tensor, layer: str | None = None) -> Tensor:
    """Return class-activation maps, on the CPU, of images, uint8 (n, c, h, w), for a class of each, int64 (n,).

    `layer` is a convolution or a layer that follows one; None takes the last convolution.

    Returns:
        float32 (n, height, width), at least 0, with the height and width of the layer's output.

    Raises:
        InputError: if the model has no convolution, mixes its places later, or has no such layer, or if the output of
            the layer has no two axes.
    """
    if layer is not None:
        layer_outputs.check(model, layer)
    layer = layer or layer_outputs.last_convolution(model)
    if layer is None:
        problem = "mixes the patches of its convolution" if layer_outputs.convolutions(model) else "has no convolution"
        raise InputError(f"{type(model).__name__} {problem}, and so has no class-activation maps")
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        kept.append(output if output.requires_grad else output.requires_grad_())  # the weights may be frozen
        return output.clone()  # an activation may change it in place

    module = model.torch_module()
    with module.get_submodule(layer).register_forward_hook(keep), evaluating(model), torch.enable_grad():
        logits = score(model, module(images.to(model.device)), classes.to(model.device))
        activations = kept[0]
        if activations.ndim != 4:
            shape = tuple(activations.shape[1:])
            raise InputError(f"the layer '{layer}' puts out {shape}, no maps: name a convolution or what follows one")
        # 0 if the logit does not depend on the layer.
        (gradients,) = torch.autograd.grad(logits.sum(), activations, materialize_grads=True)
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * activations).sum(1).relu().detach().float().cpu()


def score(model: Classifier, logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit (n,) of a class for each image; class 0 of two has the opposite of the only logit."""
    if model.num_outputs == 1:
        return logits.squeeze(1) * (2 * classes - 1)
    return logits.gather(1, classes[:, None]).squeeze(1)
