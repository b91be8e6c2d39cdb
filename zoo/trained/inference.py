"""Apply a model to images: in batches, in evaluation mode, without gradients, on its device."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from zoo.core.classifier import Classifier
from zoo.core.inputs import black_images
from zoo.core.views import NO_VIEWS, mean_logits

BATCH_SIZE = 100


@contextmanager
def evaluating(model: Classifier) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards each of its modules into its mode before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def lazy_layers(model: Classifier) -> list[str]:
    """Return the names of layers whose weights get their shapes from the first batch; these cannot be trained."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return list(dict.fromkeys(name.rpartition(".")[0] for name, tensor in tensors if is_lazy(tensor)))


def black_image_logits(model: Classifier, n: int = 2) -> Tensor:
    """Return the logits of n black images in evaluation mode, without a change of PyTorch's generator."""
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return model(black_images(model, n))


def logits(model: Classifier, images: Tensor | np.ndarray, tta: str = NO_VIEWS) -> Tensor:
    """Return the logits, float32 (n, `num_outputs`) on the CPU, of uint8 images (n, c, h, w).

    With `tta`, they are the means over the views of an image (see `zoo.core.views`).
    """
    with evaluating(model), torch.inference_mode():
        return torch.cat([mean_logits(model, batch, tta).cpu() for batch in batches(model, images)])


def probabilities(model: Classifier, images: Tensor | np.ndarray, tta: str = NO_VIEWS) -> Tensor:
    """Return class probabilities, float32 (n, `num_classes`) on the CPU; the arguments are those of `logits`."""
    return model.predict_probabilities(logits(model, images, tta))


def batches(model: Classifier, images: Tensor | np.ndarray) -> Iterator[Tensor]:
    """Yield images (n, c, h, w) in batches on the model's device."""
    for batch in torch.as_tensor(images).split(BATCH_SIZE):
        yield batch.to(model.device)
