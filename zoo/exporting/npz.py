"""Plain NumPy arrays: a network of the NumPy lesson, for twenty lines of NumPy."""

import io
import json
from typing import Any

import numpy as np

from datamodules.errors import InputError
from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.exporting.program import check_layers
from zoo.scratch.activations import Activation
from zoo.scratch.layers import Dense, Flatten

TITLE = "NumPy arrays"
INSTALL = "numpy"  # what `probabilities` needs


def content(model: Classifier, metadata: dict[str, str]) -> bytes:
    """Return the file: `weights_0` (D, H), `bias_0` (H,), `activation_0` and so on, `scale` and `shift` (pixels,).

    Raises:
        InputError: if the model is not a NumPy network, or has a layer that `probabilities` does not know.
    """
    if not isinstance(model, NumPyClassifier):
        other = f"{type(model).__name__} is none: take onnx, pt2 or safetensors"
        raise InputError(f"--format npz is for NumPy networks, and {other}")
    check_layers(model)
    arrays: dict[str, Any] = {"scale": model.scale.numpy(), "shift": model.shift.numpy()}
    k = -1
    for layer in model.network.layers:
        if isinstance(layer, Dense):
            k += 1
            arrays |= {f"weights_{k}": layer.parameters["weight"], f"bias_{k}": layer.parameters["bias"]}
            arrays[f"activation_{k}"] = "Identity"
        elif isinstance(layer, Activation) and k >= 0 and arrays[f"activation_{k}"] == "Identity":
            arrays[f"activation_{k}"] = type(layer).__name__.removeprefix("Fast")
        elif not isinstance(layer, Flatten):
            name = type(layer).__name__.removeprefix("Fast")
            raise InputError(
                f"--format npz is for dense layers, each with at most one activation, and {type(model).__name__} has "
                f"the layer {name}: take onnx, pt2 or safetensors"
            )
    arrays |= metadata | {"class_names": json.loads(metadata["class_names"])}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def probabilities(path: str, images: np.ndarray) -> np.ndarray:
    """Return the probabilities, float32 (n, K), of uint8 images (n, c, h, w)."""
    activations = {
        "Identity": lambda z: z,
        "ReLU": lambda z: np.maximum(z, 0),
        "Sigmoid": lambda z: np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z))),  # 1 / (1 + exp(-z)) for any z
        "Tanh": lambda z: np.tanh(z),
    }
    with np.load(path) as net:
        a = images.transpose(0, 2, 3, 1).reshape(len(images), -1)  # rows from top to bottom, pixels, red green blue
        a = a * net["scale"] + net["shift"]
        k = 0
        while f"weights_{k}" in net:
            a = activations[str(net[f"activation_{k}"])](a @ net[f"weights_{k}"] + net[f"bias_{k}"])
            k += 1
    if a.shape[1] == 1:  # the logit of class 1 of two
        a = activations["Sigmoid"](a)
        return np.concatenate([1 - a, a], axis=1)
    powers = np.exp(a - a.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
