"""A convolutional network in NumPy: the notebooks' first CNN, without PyTorch."""

from typing import ClassVar

from datamodules.errors import InputError
from zoo.core.about import About
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.scratch.activations import ReLU
from zoo.scratch.batch_norm import BatchNorm
from zoo.scratch.convolution import Conv2D
from zoo.scratch.dropout import Dropout
from zoo.scratch.initializers import he
from zoo.scratch.layers import Dense, Flatten, Layer
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from zoo.scratch.network import Network
from zoo.scratch.pooling import MaxPool2D


class NumPyCNN(NumPyClassifier):
    """Convolutions of 3 x 3 and max pooling, then a dense layer, computed by `zoo.scratch`.

    The function is that of `CNN`, whose layers PyTorch computes. ReLU comes after the pooling instead of before it,
    which gives the same results with a quarter of the work: the larger of max(a, b) and 0 is the largest of a, b and 0.

    Args:
        kernels: number of kernels of each convolution, each followed by pooling; [32, 64] by default.
        hidden_size: units of the dense layer between the convolutions and the logits.
        batch_norm: whether to normalize the outputs of the convolutions and of the dense layer.
        dropout: share of the dense layer's outputs that are set to 0 in training.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        milestones=(5,),
        paper="http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf",
        config="scratch_cnn",
        tags=("numpy", "notebooks"),
    )

    def __init__(
        self,
        kernels: list[int] | None = None,
        hidden_size: int = 128,
        batch_norm: bool = False,
        dropout: float = 0.0,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        kernels = [32, 64] if kernels is None else kernels
        if any(count < 1 for count in kernels) or hidden_size < 1:
            raise InputError(f"--model.kernels={kernels} --model.hidden_size={hidden_size}: give at least 1")
        if not 0 <= dropout < 1:
            raise InputError(f"--model.dropout={dropout} is out of range: give a number of at least 0 and less than 1")
        if image_size < 2 ** len(kernels):
            raise InputError(f"--model.kernels={kernels}: images of {image_size} pixels cannot be halved so often")
        rng, layers, shape = self.rng(), list[Layer](), (image_size, image_size, channels)
        for count in kernels:
            layers += [Conv2D(shape[-1], count, he, rng), *([BatchNorm(count)] if batch_norm else [])]
            layers += [MaxPool2D(), ReLU()]
            shape = (shape[0] // 2, shape[1] // 2, count)
        layers += [Flatten(), Dense(shape[0] * shape[1] * shape[2], hidden_size, he, rng)]
        layers += [*([BatchNorm(hidden_size)] if batch_norm else []), ReLU()]
        layers += [Dropout(dropout, rng)] if dropout else []
        layers.append(Dense(hidden_size, self.num_outputs, he, rng))
        self.set_network(Network(layers), BinaryCrossEntropy() if self.num_outputs == 1 else CategoricalCrossEntropy())
