"""safetensors (https://github.com/huggingface/safetensors): the weights alone, in a file that can hold no code."""

import numpy as np

from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier

TITLE = "weights in safetensors"
INSTALL = "'cifar10-zoo[export]'"  # what `probabilities` needs


def content(model: Classifier, metadata: dict[str, str]) -> bytes:
    """Return the file: the `state_dict`, the normalization by the names of its attributes, and metadata."""
    from safetensors.torch import save

    normalization = ("pixel_scale", "pixel_shift") if isinstance(model, NumPyClassifier) else ("scale", "shift")
    tensors = model.state_dict() | {name: getattr(model, name) for name in normalization}
    # Copies: the format has no tensors that share memory, as those of NumPy models do, and no channels_last.
    return save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, metadata)


def probabilities(path: str, images: np.ndarray) -> np.ndarray:
    """Return the probabilities, float32 (n, K), of uint8 images (n, 3, 32, 32)."""
    import json
    import sys

    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from zoo.catalogue import registry

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    module = metadata["model"].rpartition(".")[0]
    if metadata["model"] not in registry.entries() and module not in sys.modules:  # the file is not to choose code
        raise ImportError(f"its class is in {module}: where you trust that, import it first")
    tensors = load_file(path)
    model = registry.load(metadata["model"])(**json.loads(metadata["arguments"]))
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})
    for name in tensors.keys() - model.state_dict().keys():  # the normalization
        setattr(model, name, tensors[name])
    model.eval()
    with torch.no_grad():
        return model.predict_probabilities(model(torch.from_numpy(images))).float().numpy()
