"""ONNX (https://onnx.ai): one file with graph and weights, which runs in many languages and on many devices."""

import numpy as np
import torch

from zoo.core.classifier import Classifier
from zoo.exporting.program import INPUT, OUTPUT, capture, exporting

TITLE = "an ONNX model"
INSTALL = "numpy onnxruntime"  # what `probabilities` needs


def content(model: Classifier, metadata: dict[str, str]) -> bytes:
    """Return the file: input "images", output "probabilities", a batch of any size, and metadata."""
    program = capture(model)
    with exporting(model):  # ONNX lacks some of PyTorch's operators
        exported = torch.onnx.export(
            program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes={INPUT: {0: "n"}}
        )
        assert exported is not None
        proto = exported.model_proto
    for name, value in metadata.items():
        proto.metadata_props.add(key=name, value=value)
    return proto.SerializeToString()


def probabilities(path: str, images: np.ndarray) -> np.ndarray:
    """Return the probabilities, float32 (n, K), of uint8 images (n, c, h, w)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]
