"""Residual networks for small images."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.core.about import About
from zoo.core.networks import check_image_size, initialize_he, variant
from zoo.core.torch_classifier import TorchClassifier

# Depth -> residual blocks of each stage: depth = 2 x blocks + 2.
BLOCKS = {
    18: (2, 2, 2, 2),
    20: (3, 3, 3),
    32: (5, 5, 5),
    34: (3, 4, 6, 3),
    44: (7, 7, 7),
    56: (9, 9, 9),
    110: (18, 18, 18),
}
WIDTHS = {3: (16, 32, 64), 4: (64, 128, 256, 512)}  # number of stages -> channels of each


class ResNet(TorchClassifier):
    """A residual network: 269,722 parameters at depth 20, 11,173,962 at depth 18.

    He et al. 2015 (https://arxiv.org/abs/1512.03385): a 3 x 3 convolution, stages of residual blocks with two 3 x 3
    convolutions each, global average pooling, and one linear layer. A depth counts the layers with weights, except
    those of shortcuts.

    Depths 20, 32, 44, 56 and 110 are the paper's for CIFAR-10 (section 4.2): three narrow stages, and shortcuts without
    parameters ("option A").

        depth         20       32       44       56       110
        parameters    269,722  464,154  658,586  853,018  1,727,962
        paper         0.27 M   0.46 M   0.66 M   0.85 M   1.7 M

    Depths 18 and 34 are the paper's for ImageNet (section 4.1): four wide stages, with 1 x 1 convolutions as shortcuts
    where the number of channels changes ("option B"). The paper starts with a 7 x 7 convolution of stride 2 and a max
    pooling, which leave 8 x 8 places of a 32 x 32 image. Here a 3 x 3 convolution keeps all of them, as in
    https://github.com/kuangliu/pytorch-cifar. The paper does not count parameters; torchvision has its networks.

        depth                            18          34
        parameters                       11,173,962  21,282,122
        torchvision, for 1000 classes    11,689,512  21,797,672

    Weights are initialized as in He et al. 2015 (https://arxiv.org/abs/1502.01852), as in the paper. Pixels are
    standardized per channel; the paper subtracts the mean of each pixel instead.

    Args:
        depth: layers with weights: 18, 20, 32, 34, 44, 56 or 110.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1512.03385",
        config="resnet",
        tags=("torch", "batch_norm", "residual"),
    )

    def __init__(self, depth: int = 20, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        counts = variant("depth", depth, BLOCKS)
        widths = WIDTHS[len(counts)]
        check_image_size(self, halvings=len(counts) - 1)
        inputs = widths[0]
        stages = []
        for width, count in zip(widths, counts, strict=True):
            blocks = [ResidualBlock(inputs, width, projects=len(counts) == 4)]
            blocks += [ResidualBlock(width, width) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = width
        self.net = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),  # (n, 16, 32, 32)
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
            *stages,  # (n, 16, 32, 32), (n, 32, 16, 16), (n, 64, 8, 8)
            nn.AdaptiveAvgPool2d(1),  # (n, 64, 1, 1)
            nn.Flatten(),  # (n, 64)
            nn.Linear(inputs, self.num_outputs),
        )
        initialize_he(self.net)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, whose output is added to the block's input: relu(f(x) + shortcut(x)).

    The first block of a stage halves the image and doubles the channels. Its shortcut is a 1 x 1 convolution with batch
    norm if it `projects`; else it takes every other pixel, and fills the new channels with zeros.
    """

    def __init__(self, inputs: int, outputs: int, projects: bool = False) -> None:
        super().__init__()
        stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 and projects:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        elif stride > 1:
            self.shortcut = PaddedShortcut(stride, outputs - inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, side / stride, side / stride) for x of shape (n, inputs, side, side)."""
        residual = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(residual)) + self.shortcut(x))


class PaddedShortcut(nn.Module):
    """Takes every `stride`-th pixel, and adds channels of zeros: "option A" of the paper."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
