"""The check of an exported file: it has to agree with its model when it runs as a reader would run it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError, RunError, one_line
from datamodules.image_data_module import ImageDataModule
from datamodules.synthetic import DrawnDataSet
from zoo.core.classifier import Classifier
from zoo.core.views import mean_logits
from zoo.exporting.program import quiet
from zoo.trained.trained_model import Trained

# A single image often fails in graphs made for many; none of these is the size of the example that makes the graph.
BATCH_SIZES = (1, 7, 100)
# Of a probability. Two programs of one network add the same float32 products in different orders, which changes the
# zoo's probabilities by up to 2e-6. A missing or doubled normalization or softmax changes them by 0.01 to 1.
TOLERANCE = 1e-4


class Checked(NamedTuple):
    difference: float  # largest difference of a probability
    images: str  # description of the images


class Images(NamedTuple):
    pixels: np.ndarray  # uint8 (n, c, h, w), n the sum of `BATCH_SIZES`
    description: str  # for the model card


def images_for(trained: Trained) -> Images:
    """Return images of a model's test set, or others if this machine does not have it.

    The others are synthetic ones, or noise for a model of other images.
    """
    n, shape, why = sum(BATCH_SIZES), trained.model.image_shape, ""
    data: ImageDataModule
    try:
        data = trained.data()
        data.test_size = n
        data.setup("test")
    except InputError:
        data = CIFAR10DataModule(source="synthetic", test_size=n)
        why = f", because this machine has no {trained.data_title}"
        if shape != data.data_set.shape:
            pixels = np.random.default_rng(0).integers(256, size=(n, *shape), dtype=np.uint8)
            return Images(pixels, f"{n} images of noise{why}")
        data.setup("test")
    assert data.test is not None
    pixels = np.ascontiguousarray(data.test.images.permute(0, 3, 1, 2).numpy())
    drawn = isinstance(data.data_set, DrawnDataSet)
    what = "synthetic images" if drawn else f"test images of {data.source_name}"
    return Images(pixels, f"{len(pixels)} {what}{why}")


def compare(
    path: Path, probabilities: Callable[[str, np.ndarray], np.ndarray], model: Classifier, images: Images
) -> Checked:
    """Run a file, by `probabilities`, and its model, in evaluation mode on any device, on batches of several sizes.

    Raises:
        InputError: if the model's own probabilities are not finite.
        RunError: if the file cannot be run, or differs from the model by more than `TOLERANCE`.
    """
    name, largest = type(model).__name__, 0.0
    for pixels in np.split(images.pixels, np.cumsum(BATCH_SIZES)[:-1]):
        # Without this, CUDA would round the inputs of convolutions to 10 bits (TF32).
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            logits = mean_logits(model, torch.from_numpy(pixels).to(model.device), model.tta)
            expected = model.predict_probabilities(logits).float().cpu().numpy()
        if not np.isfinite(expected).all():
            raise InputError(f"{name} gives no finite probabilities, as its training diverged: nothing to export")
        try:
            with quiet():
                exported = probabilities(str(path), pixels)
        except Exception as error:  # of any runtime
            problem = f"cannot be run on {len(pixels)} images, so nothing was written: {one_line(error)}"
            raise RunError(f"{path.name} {problem}") from error
        if (exported.shape, exported.dtype) != (expected.shape, expected.dtype):
            raise RunError(
                f"{path.name} gives {exported.dtype} {exported.shape}, and {name} {expected.dtype} {expected.shape}: "
                "nothing was written"
            )
        difference = float(np.abs(exported - expected).max())
        if not difference <= TOLERANCE:  # true for NaN, too
            raise RunError(
                f"{path.name} gives other probabilities than {name}, by up to {difference:.2g} on {len(pixels)} "
                f"images (allowed: {TOLERANCE:g}): nothing was written"
            )
        largest = max(largest, difference)
    return Checked(largest, images.description)
