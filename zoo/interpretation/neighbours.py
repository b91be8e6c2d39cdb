"""The training images that are nearest to an image in the feature space of a network.

The measure is the cosine between the features of two images (`zoo.interpretation.layer_outputs.features`), 1 for the
same direction. The search is exact: one matrix product gives the cosines of all training images.
"""

import hashlib
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from zoo.core import files
from zoo.core.classifier import Classifier
from zoo.interpretation import layer_outputs

AT_ONCE = 1000  # images
PROBES = 32  # images whose features show whether the code of the model has changed
LARGEST_KEY = 10_000  # bytes, with the headers of the file
TOLERANCE = 1e-3  # of features up to 1 in half precision


class Neighbours(NamedTuple):
    """The nearest training images of each image, the nearest first."""

    positions: np.ndarray  # in the training images, int64 (n, k)
    similarities: np.ndarray  # cosines, float32 (n, k)


def nearest(model: Classifier, images: Tensor, directions: np.ndarray, k: int) -> Neighbours:
    """Return the k training images that are nearest to each image, uint8 (n, c, h, w).

    `directions` is the result of the function `directions` for the training images.
    """
    queries = _unit(layer_outputs.features(model, images))
    parts = (directions[start : start + AT_ONCE] for start in range(0, len(directions), AT_ONCE))
    cosines = np.concatenate([queries @ part.T.astype(np.float32) for part in parts], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Neighbours(order, np.take_along_axis(cosines, order, axis=1))


def directions(model: Classifier, training: Tensor, cache: Path) -> np.ndarray:
    """Return the features of training images, uint8 (n, c, h, w), scaled to length 1, float16 (n, features).

    The file `cache` is used as long as the weights, the code and the images are the same. Features that are larger than
    the images are not cached. An unreadable file is replaced; a file that cannot be written is left out.
    """
    key, few = _key(model, training), _unit(layer_outputs.features(model, training[:PROBES]))
    try:
        with zipfile.ZipFile(cache) as archive:  # a few packed kilobytes can unpack to gigabytes
            if sum(entry.file_size for entry in archive.infolist()) > training.nbytes + LARGEST_KEY:
                raise ValueError("it is too large")
        with np.load(cache, allow_pickle=False) as content:
            known, is_same = content["directions"], content["key"] == key
            if is_same and len(known) == len(training) and np.allclose(known[:PROBES], few, atol=TOLERANCE):
                return known
    except Exception:  # it is missing or damaged, which can raise almost anything
        pass
    title = f"features of {len(training):,} images"
    progress = tqdm(training.split(AT_ONCE), title, unit=" batches", leave=False, delay=2, disable=None)
    computed = np.concatenate([_unit(layer_outputs.features(model, part)).astype(np.float16) for part in progress])
    if computed.nbytes <= training.nbytes:
        content = io.BytesIO()
        np.savez(content, key=key, directions=computed)
        with suppress(OSError):
            files.write(cache, content.getbuffer())
    return computed


def _unit(features: Tensor) -> np.ndarray:
    """Return features (n, d) as float32 of length 1."""
    return torch.nn.functional.normalize(features.double()).float().numpy()


def _key(model: Classifier, training: Tensor) -> str:
    """Return a hash of a model's weights and of images."""
    digest = hashlib.sha256()
    for array in (*model.state_dict().values(), training):
        digest.update(f"{array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
