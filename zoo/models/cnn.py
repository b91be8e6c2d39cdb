"""The two convolutional networks of the notebooks' fifth milestone."""

from typing import ClassVar

from torch import nn

from zoo.core.about import About
from zoo.core.networks import check_probability
from zoo.core.torch_classifier import TorchClassifier


class CNN(TorchClassifier):
    """Two convolutions, each with ReLU and max pooling, and two dense layers: 545,098 parameters for ten classes.

    The notebooks' first CNN: LeNet-5 (LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf) with ReLU,
    3 x 3 kernels and more channels.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        milestones=(5,),
        paper="http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf",
        config="cnn",
        tags=("torch", "notebooks"),
    )

    def __init__(self, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        self.net = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),  # (n, 32, 32, 32)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # (n, 32, 16, 16)
            nn.Conv2d(32, 64, 3, padding=1),  # (n, 64, 16, 16)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),  # (n, 64, 8, 8)
            nn.Flatten(),  # (n, 4096)
            nn.Linear(64 * (image_size // 4) ** 2, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, self.num_outputs),
        )


class ImprovedCNN(TorchClassifier):
    """Three blocks of two convolutions with batch norm, and a dense head with dropout: 3,249,610 parameters.

    The notebooks' ImprovedCNN: three stages of VGG (Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556) with
    batch norm (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167), which replaces the biases, and dropout
    (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html).

    Args:
        dropout: probability that a unit of the dense layer is dropped in training; 0 <= dropout < 1.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        milestones=(5,),
        paper="https://arxiv.org/abs/1409.1556",
        config="improved_cnn",
        tags=("torch", "notebooks", "batch_norm", "dropout"),
    )

    def __init__(self, dropout: float = 0.5, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        check_probability("dropout", dropout)
        self.net = nn.Sequential(
            *_block(channels, 64),  # (n, 64, 16, 16)
            *_block(64, 128),  # (n, 128, 8, 8)
            *_block(128, 256),  # (n, 256, 4, 4)
            nn.Flatten(),  # (n, 4096)
            nn.Linear(256 * (image_size // 8) ** 2, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, self.num_outputs),
        )


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3 x 3 convolutions with batch norm and ReLU, then 2 x 2 max pooling."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return [*layers, nn.MaxPool2d(2)]
