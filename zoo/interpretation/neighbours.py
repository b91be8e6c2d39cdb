"""The training images that are nearest to an image, in the space in which a network tells classes apart.

Near is what points the same way: the cosine of the angle between the features of two images
(`zoo.interpretation.layer_outputs.features`), 1 for the same direction. Every training image is looked at: all cosines
are one matrix product.
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
PROBES = 32  # images whose features tell whether the model's code is still the same
LARGEST_KEY = 10_000  # bytes, with the headers of the file
TOLERANCE = 1e-3  # of numbers up to 1 that are kept in half precision


class Neighbours(NamedTuple):
    """Of each image, the nearest training images, the nearest first.

    Attributes:
        positions: among the training images, int64 (n, k).
        similarities: cosines, float32 (n, k).
    """

    positions: np.ndarray
    similarities: np.ndarray


def nearest(model: Classifier, images: Tensor, directions: np.ndarray, k: int) -> Neighbours:
    """Return the k training images that are nearest to each image.

    Args:
        model: any of the zoo.
        images: uint8 (n, 3, 32, 32).
        directions: of the training images, as `directions` returns them; at least k.
        k: how many.
    """
    wanted = _unit(layer_outputs.features(model, images))
    parts = (directions[start : start + AT_ONCE] for start in range(0, len(directions), AT_ONCE))
    cosines = np.concatenate([wanted @ part.T.astype(np.float32) for part in parts], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Neighbours(order, np.take_along_axis(cosines, order, axis=1))


def directions(model: Classifier, training: Tensor, cache: Path) -> np.ndarray:
    """Return the features of training images, each of length 1 (0 where all of them are 0), float16 (n, features).

    They are kept in a file, and read from there as long as the weights, the code and the images are the same. What
    would take more memory than the images, as the normalized pixels that a single layer gets, is not kept, nor what
    cannot be written.

    Args:
        model: any of the zoo.
        training: uint8 (n, 3, 32, 32).
        cache: a file; one that cannot be read is written anew.
    """
    key, few = _key(model, training), _unit(layer_outputs.features(model, training[:PROBES]))
    try:
        with zipfile.ZipFile(cache) as archive:  # a few packed kilobytes of a stranger's run can stand for gigabytes
            if sum(entry.file_size for entry in archive.infolist()) > training.nbytes + LARGEST_KEY:
                raise ValueError("it is larger than what is kept")
        with np.load(cache, allow_pickle=False) as content:
            known, is_same = content["directions"], content["key"] == key
            if is_same and len(known) == len(training) and np.allclose(known[:PROBES], few, atol=TOLERANCE):
                return known
    except Exception:  # there is none; or it is damaged, which can raise almost anything
        pass
    what = f"features of {len(training):,} images"
    progress = tqdm(training.split(AT_ONCE), what, unit=" batches", leave=False, delay=2, disable=None)
    found = np.concatenate([_unit(layer_outputs.features(model, part)).astype(np.float16) for part in progress])
    if found.nbytes <= training.nbytes:
        content = io.BytesIO()
        np.savez(content, key=key, directions=found)
        with suppress(OSError):
            files.write(cache, content.getbuffer())
    return found


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
