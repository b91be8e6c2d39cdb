"""VGG networks with batch norm, for 32 x 32 images."""

from typing import ClassVar

from torch import nn

from datamodules.errors import InputError
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

WIDTHS = (64, 128, 256, 512, 512)  # channels of the five stages
# Depth -> 3 x 3 convolutions of each stage: the paper's configurations A, B, D and E.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(TorchClassifier):
    """VGG's convolutions with batch norm, and one linear layer: 14,724,042 parameters at depth 16.

    Simonyan and Zisserman 2014 (https://arxiv.org/abs/1409.1556): five stages of 3 x 3 convolutions, each of which ends
    in 2 x 2 max pooling. Differences from the paper, all of them usual for 32 x 32 images:

    - Five poolings leave a single place of 512 channels, which one linear layer takes to the classes. The paper, with
      7 x 7 places and 1000 classes, has three linear layers with dropout there, which hold 124 M parameters.
    - Batch norm (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167) replaces the biases of the convolutions.

    The convolutions have the paper's weights, and the depth keeps the paper's name:

        depth         11         13         16          19
        parameters    9,228,362  9,413,066  14,724,042  20,035,018
        paper         133 M      133 M      138 M       144 M

    Weights are initialized as in Glorot and Bengio 2010 (https://proceedings.mlr.press/v9/glorot10a.html), which the
    paper found to make its training in steps unnecessary.

    Args:
        depth: layers with weights in the paper: 11, 13, 16 or 19.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1409.1556",
        config="vgg",
        tags=("torch", "batch_norm"),
    )

    def __init__(self, depth: int = 16, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        if depth not in CONVOLUTIONS:
            raise InputError(f"--model.depth={depth} is unknown: choose one of {', '.join(map(str, CONVOLUTIONS))}")
        layers: list[nn.Module] = []
        inputs = channels
        # (n, 64, 16, 16), (n, 128, 8, 8), (n, 256, 4, 4), (n, 512, 2, 2), (n, 512, 1, 1) after each pooling
        for width, count in zip(WIDTHS, CONVOLUTIONS[depth], strict=True):
            for _ in range(count):
                convolution = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                inputs = width
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # 28 x 28 pixels end in one place, too
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, self.num_outputs))
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
