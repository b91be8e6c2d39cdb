"""Residual networks with pre-activation, for small images."""

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from zoo.core.about import About
from zoo.core.networks import check_image_size, initialize_he, variant
from zoo.core.torch_classifier import TorchClassifier

BASIC, BOTTLENECK = (3, 3), (1, 3, 1)  # kernel sizes of the convolutions of a block


class Variant(NamedTuple):
    """Sizes of a network."""

    stem: int  # outputs of the first convolution
    widths: tuple[int, ...]  # outputs of each stage
    blocks: tuple[int, ...]  # number of blocks of each stage
    kernels: tuple[int, ...] = BASIC


VARIANTS = {
    18: Variant(64, (64, 128, 256, 512), (2, 2, 2, 2)),
    20: Variant(16, (16, 32, 64), (3, 3, 3)),
    34: Variant(64, (64, 128, 256, 512), (3, 4, 6, 3)),
    56: Variant(16, (16, 32, 64), (9, 9, 9)),
    110: Variant(16, (16, 32, 64), (18, 18, 18)),
    164: Variant(16, (64, 128, 256), (18, 18, 18), BOTTLENECK),
    1001: Variant(16, (64, 128, 256), (111, 111, 111), BOTTLENECK),
}


class PreActResNet(TorchClassifier):
    """A residual network with batch norm and ReLU before each convolution: 272,282 parameters at depth 20.

    He et al. 2016 (https://arxiv.org/abs/1603.05027): no ReLU follows the sum of a block, so that images and gradients
    pass from any block to any other unchanged. Batch norm and ReLU follow the last block, and the first block's
    shortcut starts behind its first ReLU. A depth counts the layers with weights, except those of shortcuts. A block
    has two 3 x 3 convolutions, or at depths 164 and 1001 a 3 x 3 convolution between two of 1 x 1 (a bottleneck).

        depth                   110        164        1001
        parameters              1,730,522  1,703,258  10,327,706
        without batch norm      1,722,426  1,679,034  10,178,490
        paper                   1.7 M      1.7 M      10.2 M

    The paper has no other depths for small images. 20 and 56 are depth 110 with fewer blocks; 18 and 34 are the sizes
    of `zoo.models.resnet.ResNet`:

        depth                   20         56         18          34
        parameters              272,282    855,578    11,172,170  21,280,330

    Where the number of channels changes, the shortcut is a 1 x 1 convolution, as in the authors' code for depths 164
    and 1001 (https://github.com/KaimingHe/resnet-1k-layers).

    Weights are initialized as in He et al. 2015 (https://arxiv.org/abs/1502.01852), as in the paper.

    Args:
        depth: layers with weights: 18, 20, 34, 56, 110, 164 or 1001.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1603.05027",
        config="preact_resnet",
        tags=("torch", "batch_norm", "residual"),
    )

    def __init__(self, depth: int = 20, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        stem, widths, counts, kernels = variant("depth", depth, VARIANTS)
        check_image_size(self, halvings=len(counts) - 1)
        inputs, stages = stem, []
        for index, (width, count) in enumerate(zip(widths, counts, strict=True)):
            first = PreActBlock(inputs, width, kernels, 1 if index == 0 else 2, activates_shortcut=index == 0)
            stages.append(nn.Sequential(first, *(PreActBlock(width, width, kernels) for _ in range(count - 1))))
            inputs = width
        self.net = nn.Sequential(
            nn.Conv2d(channels, stem, 3, padding=1, bias=False),  # (n, 16, 32, 32)
            *stages,  # (n, 16, 32, 32), (n, 32, 16, 16), (n, 64, 8, 8)
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),  # (n, 64, 1, 1)
            nn.Flatten(),  # (n, 64)
            nn.Linear(inputs, self.num_outputs),
        )
        initialize_he(self.net)


class PreActBlock(nn.Module):
    """Batch norm, ReLU and a convolution, two or three times, whose output is added to the block's input.

    If the number of channels changes, the shortcut is a 1 x 1 convolution behind the first ReLU. The shortcut without a
    convolution starts there, too, if `activates_shortcut`. The stride is that of the first convolution; dropout follows
    each further ReLU.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernels: tuple[int, ...] = BASIC,
        stride: int = 1,
        dropout: float = 0.0,
        activates_shortcut: bool = False,
    ) -> None:
        super().__init__()
        width = outputs if kernels == BASIC else outputs // 4
        self.activation = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        layers: list[nn.Module] = [_convolution(inputs, width, kernels[0], stride)]
        for number, kernel in enumerate(kernels[1:], start=2):
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers += [nn.Dropout(dropout)] if dropout else []
            layers += [_convolution(width, outputs if number == len(kernels) else width, kernel)]
        self.residual = nn.Sequential(*layers)
        projects = inputs != outputs
        self.shortcut = _convolution(inputs, outputs, 1, stride) if projects else nn.Identity()
        self.activates_shortcut = activates_shortcut or projects

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, side / stride, side / stride) for x of shape (n, inputs, side, side)."""
        activated = self.activation(x)
        return self.residual(activated) + self.shortcut(activated if self.activates_shortcut else x)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
