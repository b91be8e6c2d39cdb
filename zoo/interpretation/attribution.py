"""Attribution: how much each pixel of an image has to do with the logit of a class.

Three ways to ask, each computed by captum, whose import takes a moment and is left to those who call it:

- Saliency (Simonyan et al. 2013, "Deep Inside Convolutional Networks", https://arxiv.org/abs/1312.6034): how fast the
  logit changes with the pixel, whichever way; the largest of its three colours.

      map = max over colours c of |d logit / d x_c|

- Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks",
  https://arxiv.org/abs/1703.01365): the gradients on the straight way from a baseline b to the image, which add up to
  what the logit gains on it (completeness):

      map = sum over colours c of (x_c - b_c) * integral from 0 to 1 of d logit / d x_c (b + t (x - b)) dt

- Occlusion (Zeiler and Fergus 2013, "Visualizing and Understanding Convolutional Networks",
  https://arxiv.org/abs/1311.2901): what the logit loses when a square of the image is covered; of the squares that
  cover a pixel, the mean. It asks for answers alone, no gradients.

The baseline, and what covers a square, is the mean colour of CIFAR-10's training images: normalization makes it 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from datamodules.data_sets import CIFAR10
from zoo.core.classifier import Classifier
from zoo.interpretation import pixels
from zoo.interpretation.class_activation import score
from zoo.trained.inference import evaluating

STEPS = 64  # of the integral, by the rule of Gauss and Legendre
SIDE, STRIDE = 8, 4  # pixels: of a square that is covered, and from one to the next
COVERED_AT_ONCE = 64  # of the squares of an image

Answer = Callable[[Tensor, Tensor], Tensor]  # of float pixels (n, 3, 32, 32) and classes (n,)


def saliency(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return saliency maps.

    Args:
        model: any of the zoo.
        images: uint8 (n, 3, 32, 32).
        classes: of each image the class that is asked about, int64 (n,).

    Returns:
        float32 (n, 32, 32), at least 0, in units of the logit per step of a pixel's 0 to 255; on the CPU.

    Raises:
        InputError: where the model cannot be differentiated with respect to its pixels.
    """
    from captum.attr import Saliency

    pixels.check(model, images[:1])

    def explain(batch: Tensor, of_batch: Tensor) -> Tensor:
        found = Saliency(_differentiable(model)).attribute(batch.requires_grad_(), additional_forward_args=(of_batch,))
        return found.amax(1)

    return _each("saliency", explain, model, images, classes)


def integrated_gradients(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps of integrated gradients; arguments and errors as of `saliency`.

    Returns:
        float32 (n, 32, 32), in units of the logit: above 0 speaks for the class, below 0 against it; on the CPU. They
        add up to the logit of the image less that of the baseline, as exactly as `STEPS` steps tell.
    """
    from captum.attr import IntegratedGradients

    pixels.check(model, images[:1])

    def explain(batch: Tensor, of_batch: Tensor) -> Tensor:
        found = IntegratedGradients(_differentiable(model)).attribute(
            batch, baselines=baseline(model), additional_forward_args=(of_batch,), n_steps=STEPS
        )
        return found.sum(1)

    return _each("integrated gradients", explain, model, images, classes)


def occlusion(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return maps of occlusion; arguments as of `saliency`.

    Returns:
        float32 (n, 32, 32), in units of the logit: above 0 speaks for the class, below 0 against it; on the CPU.
    """
    from captum.attr import Occlusion

    def answer(batch: Tensor, of_batch: Tensor) -> Tensor:
        return score(model, model(batch.to(torch.uint8)), of_batch)  # bytes, which every model takes

    def explain(batch: Tensor, of_batch: Tensor) -> Tensor:
        found = Occlusion(answer).attribute(
            batch,
            sliding_window_shapes=(3, SIDE, SIDE),
            strides=(3, STRIDE, STRIDE),
            baselines=baseline(model),
            additional_forward_args=(of_batch,),
            perturbations_per_eval=COVERED_AT_ONCE,
        )
        return found[:, 0]  # a square covers all three colours

    with torch.no_grad():
        return _each("occlusion", explain, model, images, classes)


def baseline(model: Classifier) -> Tensor:
    """Return the image of the mean colour, float32 (1, 3, 32, 32), on the model's device."""
    colour = torch.tensor(CIFAR10.mean_color, dtype=torch.float32, device=model.device)
    return colour.view(1, -1, 1, 1).expand(1, *CIFAR10.shape)


def _differentiable(model: Classifier) -> Answer:
    def answer(batch: Tensor, of_batch: Tensor) -> Tensor:
        return score(model, pixels.logits(model, batch), of_batch)

    return answer


def _each(what: str, explain: Answer, model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """Return what `explain` makes of each image and its class; a terminal shows how far it is.

    One at a time: each of them is answered to some dozens of times, which makes a batch.
    """
    pairs = list(zip(images.split(1), classes.split(1), strict=True))
    with evaluating(model):
        found = [
            explain(image.to(model.device, torch.float32), of_image.to(model.device))
            for image, of_image in tqdm(pairs, what, unit=" images", leave=False, delay=2, disable=None)
        ]
    return torch.cat([of_image.detach().float().cpu() for of_image in found])
