"""safetensors (https://github.com/huggingface/safetensors): the weights, in a file that cannot hold code."""

import numpy as np

from zoo.core.classifier import Classifier

TITLE = "weights in safetensors"
INSTALL = "'cifar10-zoo[export]'"  # what `probabilities` needs


def content(model: Classifier, metadata: dict[str, str]) -> bytes:
    """Return the file: the `state_dict`, which includes the normalization, and metadata."""
    from safetensors.torch import save

    # Copies: the format knows neither tensors that share memory, as in NumPy models, nor channels_last.
    return save({name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}, metadata)


def probabilities(path: str, images: np.ndarray, net: str | None = None) -> np.ndarray:
    """Return the probabilities, float32 (n, K), of uint8 images (n, c, h, w).

    `net` is the network of a model `Wrapped`, such as "my_module.MyNet": a file must not choose code.
    """
    import json
    import sys

    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from zoo.catalogue import registry
    from zoo.core.about import AT_START
    from zoo.runs import trust

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    module = metadata["model"].rpartition(".")[0]
    if metadata["model"] not in registry.entries() and module not in sys.modules:  # a file must not choose code
        raise ImportError(f"its class is in {module}: where you trust that, import it first")
    model_class, arguments = registry.load(metadata["model"]), json.loads(metadata["arguments"])
    arguments |= dict.fromkeys(arguments.keys() & AT_START, False)  # a file must not start a download
    for name in trust.import_paths(model_class):
        if net is None:
            raise ImportError(f"its network is {arguments.get(name)}: where you trust that, name it as `net`")
        arguments[name] = net
    model = model_class(**arguments)
    model.load_state_dict(load_file(path))
    model.eval()
    with torch.no_grad():
        return model.predict_probabilities(model(torch.from_numpy(images))).float().numpy()
