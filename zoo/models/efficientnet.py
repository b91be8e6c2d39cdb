"""EfficientNets for small images."""

from functools import partial
from math import ceil
from typing import ClassVar

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation, StochasticDepth

from zoo.core import networks
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.mobilenet_v2 import rounded

# Expansion, channels, number of blocks, stride of the first block, and side of the kernels: b0, table 1 of the paper.
STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
FIRST, LAST = 32, 1280  # channels of the first and of the last convolution
# Multipliers of the channels and of the blocks of a stage.
VARIANTS = {
    "b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4),
    "b4": (1.4, 1.8), "b5": (1.6, 2.2), "b6": (1.8, 2.6), "b7": (2.0, 3.1),
}  # fmt: skip
convolution = partial(Conv2dNormActivation, activation_layer=nn.SiLU)


class EfficientNet(TorchClassifier):
    """MobileNetV2's blocks with squeeze-and-excitation, scaled in width and depth: 4,020,358 parameters as b0.

    Tan and Le 2019 (https://arxiv.org/abs/1905.11946). Differences from the paper:

    - The first convolution has stride 1, not 2, so that an image of 32 x 32 pixels leaves 2 x 2 places, not one.
    - All variants take images of the data's size; the paper also scales the image, from 224 to 600 pixels.
    - Batch norm has PyTorch's momentum of 0.1, not 0.01, whose averages lag behind in a short training.

    With 1000 classes, the parameters are the paper's:

        variant       b0         b1         b2         b3          b4          b5          b6          b7
        10 classes    4,020,358  6,525,994  7,715,084  10,711,602  17,566,546  28,361,274  40,758,754  63,812,570
        1000 classes  5,288,548  7,794,184  9,109,994  12,233,232  19,341,616  30,389,784  43,040,704  66,347,960
        paper         5.3 M      7.8 M      9.2 M      12 M        19 M        30 M        43 M        66 M

    Convolutions are initialized as in the authors' code, as in He et al. 2015 (https://arxiv.org/abs/1502.01852) with
    the variance 2 / outputs.

    Args:
        variant: b0 to b7.
        dropout: probability that a feature is dropped before the linear layer in training; 0 <= dropout < 1. The paper
            raises it from 0.2 for b0 to 0.5 for b7.
        stochastic_depth: probability that the last block is left out for an image in training; 0 <= stochastic_depth
            < 1. Earlier blocks are left out less often, in proportion to their place (Huang et al. 2016,
            https://arxiv.org/abs/1603.09382).
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1905.11946",
        config="efficientnet",
        tags=("torch", "batch_norm", "residual", "depthwise", "dropout"),
    )

    def __init__(
        self,
        variant: str = "b0",
        dropout: float = 0.2,
        stochastic_depth: float = 0.2,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        width, depth = networks.variant("variant", variant, VARIANTS)
        networks.check_probability("dropout", dropout)
        networks.check_probability("stochastic_depth", stochastic_depth)
        networks.check_image_size(self, halvings=4)
        drops = iter(networks.rising(stochastic_depth, sum(ceil(depth * stage[2]) for stage in STAGES)))
        inputs, last = rounded(width * FIRST), rounded(width * LAST)
        layers: list[nn.Module] = [convolution(channels, inputs)]
        # (n, 16, 32, 32), (n, 24, 16, 16), (n, 40, 8, 8), (n, 80, 4, 4), (n, 192, 2, 2) after stages of b0
        for expansion, outputs, blocks, stride, side in STAGES:
            for block in range(ceil(depth * blocks)):
                step = 1 if block else stride
                layers.append(Block(inputs, rounded(width * outputs), expansion, step, side, next(drops)))
                inputs = rounded(width * outputs)
        self.net = nn.Sequential(
            *layers,
            convolution(inputs, last, 1),  # (n, 1280, 2, 2)
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(last, self.num_outputs),
        )
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv2d):
                outputs = layer.weight[0, 0].numel() * layer.out_channels // layer.groups  # of an input
                nn.init.normal_(layer.weight, std=(2 / outputs) ** 0.5)


class Block(nn.Module):
    """MobileNetV2's inverted residual block with SiLU, whose channels are weighted by squeeze-and-excitation.

    Squeeze-and-excitation (Hu et al. 2017, https://arxiv.org/abs/1709.01507) multiplies each channel by a factor of 0
    to 1, which a small network computes from the means of all channels.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, side: int, drop: float) -> None:
        super().__init__()
        hidden = expansion * inputs
        self.layers = nn.Sequential(
            *([] if expansion == 1 else [convolution(inputs, hidden, 1)]),
            convolution(hidden, hidden, side, stride, groups=hidden),
            SqueezeExcitation(hidden, max(1, inputs // 4), activation=nn.SiLU),
            Conv2dNormActivation(hidden, outputs, 1, activation_layer=None),
        )
        self.is_residual = stride == 1 and inputs == outputs
        self.drop = StochasticDepth(drop, "row")

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, side / stride, side / stride) for x of shape (n, inputs, side, side)."""
        return x + self.drop(self.layers(x)) if self.is_residual else self.layers(x)
