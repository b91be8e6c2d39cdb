"""Attribution: how much each pixel of an image affects the logit of a class.

Three methods, computed by captum, which the functions import themselves because that takes a moment:

- Saliency (Simonyan et al. 2013, "Deep Inside Convolutional Networks", https://arxiv.org/abs/1312.6034): the absolute
  slope of the logit with respect to the pixel; the largest of its colors.

      map = max over colors c of |d logit / d x_c|

- Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks",
  https://arxiv.org/abs/1703.01365): the gradients along the straight line from a baseline b to the image. They add up
  to the difference of the two logits (completeness):

      map = sum over colors c of (x_c - b_c) * integral from 0 to 1 of d logit / d x_c (b + t (x - b)) dt

- Occlusion (Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks",
  https://arxiv.org/abs/1311.2901): the drop of the logit when a square of the image is covered, averaged over all
  squares that cover the pixel. It needs no gradients.

The baseline, and the color of the squares, is the one that the model's normalization maps (nearly) to 0: the mean color
of the training images.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from zoo.core.classifier import Classifier
from zoo.interpretation import pixels
from zoo.interpretation.class_activation import score
from zoo.trained.inference import evaluating

STEPS = 64  # of the integral, by Gauss-Legendre quadrature
SQUARE = 1 / 4  # side of a covered square, as a share of the image's; half of it is the distance to the next square
COVERED_AT_ONCE = 64  # squares of an image

Explanation = Callable[[Tensor, Tensor], Tensor]  # from float pixels (n, c, h, w) and classes (n,)


def saliency(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return saliency maps, on the CPU, of images, uint8 (n, c, h, w), for a class of each, int64 (n,).

    Returns:
        float32 (n, h, w), at least 0, in units of the logit per step of a pixel's 0 to 255.

    Raises:
        InputError: if the model cannot be differentiated with respect to its pixels.
    """
    from captum.attr import Saliency

    pixels.check(model, images[:1])
    method = Saliency(_class_logit(model))

    def explain(image: Tensor, label: Tensor) -> Tensor:
        return method.attribute(image.requires_grad_(), additional_forward_args=(label,)).amax(1)

    return _each("saliency", explain, model, images, classes)


def integrated_gradients(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps of integrated gradients; arguments and errors as in `saliency`.

    Returns:
        float32 (n, h, w), in units of the logit: positive for the class, negative against it. Up to the error of
        `STEPS` steps, they add up to the logit of the image minus that of the baseline.
    """
    from captum.attr import IntegratedGradients

    pixels.check(model, images[:1])
    method = IntegratedGradients(_class_logit(model))

    def explain(image: Tensor, label: Tensor) -> Tensor:
        options = {"baselines": baseline(model), "additional_forward_args": (label,), "n_steps": STEPS}
        return method.attribute(image, **options).sum(1)

    return _each("integrated gradients", explain, model, images, classes)


def occlusion(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps of occlusion, in the units of `integrated_gradients`; arguments as in `saliency`."""
    from captum.attr import Occlusion

    side = square_side(model)
    stride = max(1, side // 2)

    def class_logit(batch: Tensor, labels: Tensor) -> Tensor:
        return score(model, model(batch.to(torch.uint8)), labels)  # every model takes bytes

    def explain(image: Tensor, label: Tensor) -> Tensor:
        maps = Occlusion(class_logit).attribute(
            image,
            sliding_window_shapes=(model.channels, side, side),
            strides=(model.channels, stride, stride),
            baselines=baseline(model),
            additional_forward_args=(label,),
            perturbations_per_eval=COVERED_AT_ONCE,
        )
        return maps[:, 0]  # a square covers all channels

    with torch.no_grad():
        return _each("occlusion", explain, model, images, classes)


def square_side(model: Classifier) -> int:
    """Return the side of the squares that occlusion covers, in pixels: 8 for images of 32 x 32."""
    return max(1, round(model.image_size * SQUARE))


def baseline(model: Classifier) -> Tensor:
    """Return the image of the mean color in whole bytes, float32 (1, c, h, w), on the model's device."""
    color = (-model.shift / model.scale)[: model.channels].float().round()
    return color.view(1, -1, 1, 1).expand(1, *model.image_shape)


def _class_logit(model: Classifier) -> Explanation:
    """Return the function from pixels and classes to logits (n,) that captum differentiates."""
    module = model.torch_module()
    return lambda batch, classes: score(model, module(batch), classes)


def _each(what: str, explain: Explanation, model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Explain the images one by one: a method classifies dozens of variants of each image."""
    pairs = list(zip(images.split(1), classes.split(1), strict=True))
    with evaluating(model):
        maps = [
            explain(image.to(model.device, torch.float32), label.to(model.device))
            for image, label in tqdm(pairs, what, unit=" images", leave=False, delay=2, disable=None)
        ]
    return torch.cat([image_map.detach().float().cpu() for image_map in maps])
