"""Fully connected networks, from a linear classifier on: the PyTorch twins of the NumPy lesson."""

from typing import ClassVar

from torch import nn

from datamodules.errors import InputError
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier


class MLP(TorchClassifier):
    """A multilayer perceptron on the pixels of an image, 3072 values for CIFAR-10.

    Weights are initialized as in He et al. 2015 (https://arxiv.org/abs/1502.01852), biases with 0.

    Args:
        hidden_sizes: units of each hidden layer, 64 in one layer by default; an empty list is a linear classifier
            (softmax regression).
    """

    about: ClassVar[About] = About(
        family="dense",
        paper="https://doi.org/10.1038/323533a0",
        config="mlp",
        tags=("torch",),
    )

    def __init__(
        self, hidden_sizes: list[int] | None = None, num_classes: int = 10, channels: int = 3, image_size: int = 32
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        hidden_sizes = [64] if hidden_sizes is None else hidden_sizes
        if any(size < 1 for size in hidden_sizes):
            raise InputError(f"--model.hidden_sizes={hidden_sizes}: a layer needs at least 1 unit")
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = channels * image_size**2
        for size in hidden_sizes:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        layers.append(nn.Linear(inputs, self.num_outputs))
        self.net = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
