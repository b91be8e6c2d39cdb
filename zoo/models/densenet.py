"""Densely connected networks, for small images."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.core.about import About
from zoo.core.networks import check_at_least_1, check_image_size, initialize_he, variant
from zoo.core.torch_classifier import TorchClassifier

LAYERS = {depth: (depth - 4) // 6 for depth in (40, 100, 190, 250)}  # depth -> dense layers of each block


class DenseNet(TorchClassifier):
    """A DenseNet-BC, each layer of which sees the outputs of all layers before it: 176,122 parameters at depth 40.

    Huang et al. 2016 (https://arxiv.org/abs/1608.06993), section 3: a 3 x 3 convolution, three dense blocks, and
    transitions between them, which halve the channels and the image. "B" stands for bottlenecks (a 1 x 1 convolution
    before each one of 3 x 3), "C" for the compression by the transitions. A depth counts the layers with weights. By
    depth and growth rate:

        DenseNet-BC    40, 12   40, 36     40, 48     100, 12  250, 24     190, 40
        parameters     176,122  1,542,682  2,733,130  769,162  15,324,406  25,624,430
        authors                 1.5 M      2.7 M      0.8 M    15.3 M      25.6 M

    The authors' numbers are from the paper, and for depth 40 from https://github.com/liuzhuang13/DenseNet; 40, 12 is
    for small computers. The paper's dropout is left out: it is for training without augmentation. Poolings round an odd
    side up, so that no pixel is lost.

    Weights are initialized as in He et al. 2015 (https://arxiv.org/abs/1502.01852), as in the paper.

    Args:
        depth: layers with weights: 40, 100, 190 or 250.
        growth_rate: channels that each layer adds, at least 1.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1608.06993",
        config="densenet",
        tags=("torch", "batch_norm", "dense_connections"),
    )

    def __init__(
        self, depth: int = 40, growth_rate: int = 12, num_classes: int = 10, channels: int = 3, image_size: int = 32
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        count = variant("depth", depth, LAYERS)
        check_at_least_1("growth_rate", growth_rate)
        check_image_size(self, halvings=2)
        width = 2 * growth_rate
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]  # (n, 24, 32, 32)
        for block in range(3):
            if block > 0:
                layers.append(_transition(width))  # (n, 48, 16, 16), (n, 60, 8, 8)
                width //= 2
            layers.append(nn.Sequential(*(DenseLayer(width + n * growth_rate, growth_rate) for n in range(count))))
            width += count * growth_rate  # (n, 96, 32, 32), (n, 120, 16, 16), (n, 132, 8, 8)
        self.net = nn.Sequential(
            *layers,
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),  # (n, 132, 1, 1)
            nn.Flatten(),  # (n, 132)
            nn.Linear(width, self.num_outputs),
        )
        initialize_he(self.net)


class DenseLayer(nn.Module):
    """Adds `growth_rate` channels to those of its input: batch norm, ReLU and convolution, 1 x 1 and then 3 x 3."""

    def __init__(self, inputs: int, growth_rate: int) -> None:
        super().__init__()
        width = 4 * growth_rate
        self.new = nn.Sequential(
            *_activated_convolution(inputs, width, 1),
            *_activated_convolution(width, growth_rate, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, inputs + growth_rate, side, side) for x of shape (n, inputs, side, side)."""
        return torch.cat([x, self.new(x)], dim=1)


def _transition(inputs: int) -> nn.Sequential:
    """Return layers that halve the channels and the image: (n, inputs, s, s) -> (n, inputs // 2, s / 2, s / 2)."""
    return nn.Sequential(*_activated_convolution(inputs, inputs // 2, 1), nn.AvgPool2d(2, ceil_mode=True))


def _activated_convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """Return batch norm, ReLU and a convolution that keeps the size of the image."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution]
