"""Residual networks for 32 x 32 images."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.errors import InputError
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

WIDTHS = (16, 32, 64)  # channels of the three stages
BLOCKS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18}  # depth -> residual blocks of each stage: depth = 6 x blocks + 2


class ResNet(TorchClassifier):
    """A residual network in the form that its paper gives it for CIFAR-10: 269,722 parameters at depth 20.

    He et al. 2015 (https://arxiv.org/abs/1512.03385), section 4.2: a 3 x 3 convolution, three stages of residual
    blocks, global average pooling, and one linear layer. Shortcuts have no parameters ("option A"). A depth counts the
    layers with weights; the parameters are the paper's:

        depth         20       32       44       56       110
        parameters    269,722  464,154  658,586  853,018  1,727,962
        paper         0.27 M   0.46 M   0.66 M   0.85 M   1.7 M

    Weights are initialized as in He et al. 2015 (https://arxiv.org/abs/1502.01852), as in the paper. Pixels are
    standardized per channel; the paper subtracts the mean of each pixel instead.

    Args:
        depth: layers with weights: 20, 32, 44, 56 or 110.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1512.03385",
        config="resnet",
        tags=("torch", "batch_norm", "residual"),
    )

    def __init__(self, depth: int = 20, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        if depth not in BLOCKS:
            raise InputError(f"--model.depth={depth} is unknown: choose one of {', '.join(map(str, BLOCKS))}")
        inputs = WIDTHS[0]
        stages = []
        for width in WIDTHS:
            blocks = [ResidualBlock(inputs, width), *(ResidualBlock(width, width) for _ in range(BLOCKS[depth] - 1))]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.net = nn.Sequential(
            nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False),  # (n, 16, 32, 32)
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(inplace=True),
            *stages,  # (n, 16, 32, 32), (n, 32, 16, 16), (n, 64, 8, 8)
            nn.AdaptiveAvgPool2d(1),  # (n, 64, 1, 1)
            nn.Flatten(),  # (n, 64)
            nn.Linear(inputs, self.num_outputs),
        )
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, whose output is added to the block's input: relu(f(x) + shortcut(x)).

    The first block of a stage halves the image and doubles the channels. Its shortcut takes every other pixel, and
    fills the new channels with zeros.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = outputs // inputs
        self.new_channels = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, side / stride, side / stride) for x of shape (n, inputs, side, side)."""
        shortcut = x
        if self.stride > 1:
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        x = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(x)) + shortcut)
