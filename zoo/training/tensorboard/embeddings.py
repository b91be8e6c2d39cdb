"""A network's features of images, for TensorBoard's projector."""

import io
import math
from pathlib import Path

import lightning as L
import numpy as np
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME
from torch import Tensor

from datamodules.errors import one_line
from zoo.core import files
from zoo.core.classifier import Classifier
from zoo.interpretation import layer_outputs
from zoo.plots.mosaic import colors, fitted
from zoo.trained import inference
from zoo.training.tensorboard import observing

IMAGES = 500
DIMENSIONS = 200  # the most that the projector uses: of more it samples some at random
LARGEST = 64  # pixels a side of an image: the projector takes one picture of up to 8192 pixels a side
FOLDER = "projector"  # in the logger's folder


class Embeddings(L.Callback):
    """Writes the features of up to 500 validation images for TensorBoard's projector, after the test of a run.

    The features are the inputs of the last layer, with the weights that were tested. Each has the class, the
    prediction, whether it is right, and the image. The test set serves the final metrics alone.
    """

    def on_test_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        logger = observing.logger(trainer)
        if logger is None:
            return
        data = observing.data(trainer)
        kind, images, labels = observing.held_out(data, IMAGES)
        with observing.optional("projector"):
            predicted = inference.probabilities(pl_module, images).argmax(1)
            features = principal_components(layer_outputs.features(pl_module, images), DIMENSIONS)
            names = [[data.class_names[c] for c in classes] for classes in (labels, predicted)]
            write(Path(logger.log_dir), f"{len(images):,} {kind} images", features, names[0], names[1], images.numpy())


def principal_components(features: Tensor, n: int) -> Tensor:
    """Return features (images, dimensions), projected to their n directions of largest variance if they have more."""
    if features.shape[1] <= n:
        return features
    centered = (features - features.mean(0)).double()
    # Singular values by the eigenvalues (in ascending order) of the images' products with each other: with fewer images
    # than dimensions, this takes a tenth of the time.
    squares, directions = torch.linalg.eigh(centered @ centered.T)
    return (directions * squares.clamp(min=0).sqrt()).flip(1)[:, :n].float()


def write(
    log_dir: Path, title: str, features: Tensor, labels: list[str], predicted: list[str], images: np.ndarray
) -> None:
    """Write the projector's files of n features (n, dimensions), names of classes, and images, uint8 (n, c, h, w)."""
    points = io.StringIO()
    np.savetxt(points, features.numpy(), fmt="%.4g", delimiter="\t")
    rows = ["class\tanswer\tverdict"]
    verdicts = ("right" if label == name else "wrong" for label, name in zip(labels, predicted, strict=True))
    rows += ["\t".join(map(one_line, row)) for row in zip(labels, predicted, verdicts, strict=True)]
    if images.shape[2] > LARGEST:
        images = np.stack([fitted(colors(image), LARGEST) for image in images]).transpose(0, 3, 1, 2)
    picture = io.BytesIO()
    Image.fromarray(sprite(images)).save(picture, "PNG", compress_level=1)

    config = ProjectorConfig()
    places = {"tensor_path": f"{FOLDER}/points.tsv", "metadata_path": f"{FOLDER}/classes.tsv"}
    info = config.embeddings.add(tensor_name=title, **places)
    info.sprite.image_path = f"{FOLDER}/images.png"
    info.sprite.single_image_dim.extend(images.shape[2:])
    files.write(log_dir / info.tensor_path, points.getvalue().encode())
    files.write(log_dir / info.metadata_path, "\n".join([*rows, ""]).encode())
    files.write(log_dir / info.sprite.image_path, picture.getvalue())
    files.write(log_dir / PROJECTOR_FILENAME, text_format.MessageToString(config).encode())


def sprite(images: np.ndarray) -> np.ndarray:
    """Return images (n, c, height, width) as one picture (side * height, side * width, 3), row by row."""
    n, _, height, width = images.shape
    side = math.ceil(math.sqrt(n))
    cells = np.zeros((side * side, height, width, 3), np.uint8)
    cells[:n] = images.transpose(0, 2, 3, 1)
    return cells.reshape(side, side, height, width, 3).swapaxes(1, 2).reshape(side * height, side * width, 3)
