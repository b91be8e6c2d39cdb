"""MobileNetV2 for 32 x 32 images."""

from typing import ClassVar

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from datamodules.errors import InputError
from zoo.core import networks
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

# Expansion, channels, number of blocks, and stride of the first block: a line of the paper's table 2 each.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280  # channels of the first and of the last convolution


class MobileNetV2(TorchClassifier):
    """Residual blocks of depthwise convolutions between 1 x 1 convolutions: 700,490 parameters at width 0.5.

    Sandler et al. 2018 (https://arxiv.org/abs/1801.04381). Differences from the paper, both usual for 32 x 32 images:

    - The first convolution and the first block with 24 channels have stride 1, not 2. So an image is halved three
      times, not five times, and 4 x 4 places are left.
    - There is no dropout before the linear layer by default; the authors' code has 0.2.

    The default width of 0.5 is for CPUs. With 1000 classes, the parameters are those of the authors' code
    (https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet), which leaves out the two of batch
    norm for each channel:

        width           0.5        0.75       1          1.4
        10 classes      700,490    1,368,234  2,236,682  4,333,706
        1000 classes    1,968,680  2,636,424  3,504,872  6,108,776
        authors' code   1.95 M     2.61 M     3.47 M     6.06 M
        paper                                 3.4 M      6.9 M

    The paper does not say how weights start. Here they start as in He et al. 2015 (https://arxiv.org/abs/1502.01852).

    Args:
        width: multiplier of all channels, above 0; they are rounded to multiples of 8.
        dropout: probability that a feature is dropped before the linear layer in training; 0 <= dropout < 1.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/1801.04381",
        config="mobilenet_v2",
        tags=("torch", "batch_norm", "residual", "depthwise"),
    )

    def __init__(
        self, width: float = 0.5, dropout: float = 0.0, num_classes: int = 10, channels: int = 3, image_size: int = 32
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        if not 0 < width <= 10:
            raise InputError(f"--model.width={width} is out of range: give a number above 0, and at most 10")
        networks.check_probability("dropout", dropout)
        networks.check_image_size(self, halvings=3)
        inputs, last = rounded(width * FIRST), rounded(max(1.0, width) * LAST)
        layers: list[nn.Module] = [Conv2dNormActivation(channels, inputs, activation_layer=nn.ReLU6)]
        # (n, 24, 32, 32), (n, 32, 16, 16), (n, 96, 8, 8), (n, 320, 4, 4) before each halving and at the end, at width 1
        for expansion, outputs, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(inputs, rounded(width * outputs), expansion, 1 if block else stride))
                inputs = rounded(width * outputs)
        self.net = nn.Sequential(
            *layers,
            Conv2dNormActivation(inputs, last, 1, activation_layer=nn.ReLU6),  # (n, 1280, 4, 4)
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(last, self.num_outputs),
        )
        networks.initialize_he(self.net)


class InvertedResidual(nn.Module):
    """A 1 x 1 convolution to more channels, a 3 x 3 one in each channel alone, and a 1 x 1 one to few channels.

    Each is followed by batch norm, and the first two by ReLU6. The input is added to the output if the shapes agree.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * inputs
        layers = [] if expansion == 1 else [Conv2dNormActivation(inputs, hidden, 1, activation_layer=nn.ReLU6)]
        self.layers = nn.Sequential(
            *layers,
            Conv2dNormActivation(hidden, hidden, 3, stride, groups=hidden, activation_layer=nn.ReLU6),
            Conv2dNormActivation(hidden, outputs, 1, activation_layer=None),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, side / stride, side / stride) for x of shape (n, inputs, side, side)."""
        return x + self.layers(x) if self.is_residual else self.layers(x)


def rounded(channels: float) -> int:
    """Return the multiple of 8 nearest to a number of channels, or the next one if that loses more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
