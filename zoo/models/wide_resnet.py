"""Wide residual networks."""

from typing import ClassVar

from torch import nn

from zoo.core.about import About
from zoo.core.networks import check_at_least_1, check_image_size, check_probability, initialize_he, variant
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.preact_resnet import PreActBlock

STEM = 16  # outputs of the first convolution
BLOCKS = {depth: (depth - 4) // 6 for depth in (10, 16, 22, 28, 40)}  # depth -> residual blocks of each stage


class WideResNet(TorchClassifier):
    """A residual network with few blocks and many channels: 303,706 parameters at depth 10 and width 2 (WRN-10-2).

    Zagoruyko and Komodakis 2016 (https://arxiv.org/abs/1605.07146): three stages of blocks with pre-activation, of 16,
    32 and 64 channels times the width. The first convolution has 16 outputs. A depth counts the 3 x 3 convolutions
    and the three 1 x 1 convolutions of shortcuts. Some of the paper's networks, and 10-2 for small computers:

        WRN           10-2     16-4       40-4       16-8        28-10
        parameters    303,706  2,748,890  8,949,210  10,961,370  36,479,194
        paper                             8.9 M      11.0 M      36.5 M

    Weights are initialized as in He et al. 2015 (https://arxiv.org/abs/1502.01852), as in the authors' code
    (https://github.com/szagoruyko/wide-residual-networks).

    Args:
        depth: 10, 16, 22, 28 or 40: six layers for each block of a stage, and four.
        width: factor of the channels, at least 1.
        dropout: probability that a value between the two convolutions of a block is dropped in training; 0 <= dropout
            < 1. The paper drops nothing, or 0.3.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1605.07146",
        config="wide_resnet",
        tags=("torch", "batch_norm", "residual", "dropout"),
    )

    def __init__(
        self,
        depth: int = 10,
        width: int = 2,
        dropout: float = 0.0,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        count = variant("depth", depth, BLOCKS)
        check_at_least_1("width", width)
        check_probability("dropout", dropout)
        check_image_size(self, halvings=2)
        inputs, stages = STEM, []
        for outputs, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            first = PreActBlock(inputs, outputs, stride=stride, dropout=dropout)
            others = (PreActBlock(outputs, outputs, dropout=dropout) for _ in range(count - 1))
            stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.net = nn.Sequential(
            nn.Conv2d(channels, STEM, 3, padding=1, bias=False),  # (n, 16, 32, 32)
            *stages,  # (n, 16 width, 32, 32), (n, 32 width, 16, 16), (n, 64 width, 8, 8)
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),  # (n, 64 width, 1, 1)
            nn.Flatten(),  # (n, 64 width)
            nn.Linear(inputs, self.num_outputs),
        )
        initialize_he(self.net)
