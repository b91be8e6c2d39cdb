"""ConvNeXt for small images."""

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.ops import Permute, StochasticDepth

from zoo.core import networks
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

# Channels of the first stage, which double from stage to stage, and the blocks of each stage.
VARIANTS = {
    "atto": (40, (2, 2, 6, 2)),
    "femto": (48, (2, 2, 6, 2)),
    "pico": (64, (2, 2, 6, 2)),
    "nano": (80, (2, 2, 8, 2)),
    "tiny": (96, (3, 3, 9, 3)),
    "small": (96, (3, 3, 27, 3)),
    "base": (128, (3, 3, 27, 3)),
    "large": (192, (3, 3, 27, 3)),
}
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


class ConvNeXt(TorchClassifier):
    """A residual network of 7 x 7 depthwise convolutions and dense layers for each place: 3,376,290 parameters as atto.

    Liu et al. 2022 (https://arxiv.org/abs/2201.03545): patches, then four stages of residual blocks, with a 2 x 2
    convolution in steps of 2 before each stage but the first. Patches have 2 x 2 pixels, not the paper's 4 x 4, so that
    the stages see 16 x 16, 8 x 8, 4 x 4 and 2 x 2 places of a 32 x 32 image.

    The sizes below "tiny" are those of Woo et al. 2023 (https://arxiv.org/abs/2301.00808), whose blocks have a few
    parameters more. With patches of 4 x 4 pixels and 1000 classes, the parameters are the papers':

        variant       atto       femto      pico       nano        tiny        small       base        large
        10 classes    3,376,290  4,834,906  8,535,498  14,956,090  27,824,362  49,458,922  87,572,106  196,238,794
        paper's form  3,695,520  5,217,784  9,045,672  15,593,560  28,589,128  50,223,688  88,591,464  197,767,336
        papers        3.7 M      5.2 M      9.1 M      15.6 M      29 M        50 M        89 M        198 M

    Weights are initialized as in the paper: normal with a standard deviation of 0.02, cut off at 2.

    Args:
        variant: atto, femto, pico, nano, tiny, small, base or large.
        patch_size: side of a patch in pixels, which divides the side of an image; at most an eighth of it. 1 costs four
            times as much as 2.
        stochastic_depth: probability that the last block is left out for an image in training; 0 <= stochastic_depth
            < 1. Earlier blocks are left out less often, in proportion to their place. The paper takes 0.1 for "tiny" up
            to 0.5 for "large".
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/2201.03545",
        config="convnext",
        tags=("torch", "layer_norm", "residual", "depthwise"),
    )

    def __init__(
        self,
        variant: str = "atto",
        patch_size: int = 2,
        stochastic_depth: float = 0.1,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        width, blocks = networks.variant("variant", variant, VARIANTS)
        networks.check_patches(patch_size, image_size, smallest=8)
        networks.check_probability("stochastic_depth", stochastic_depth)
        drops = iter(networks.rising(stochastic_depth, sum(blocks)))
        layers = [nn.Conv2d(channels, width, patch_size, stride=patch_size), *_norm(width)]
        for stage, count in enumerate(blocks):  # (n, 40, 16, 16), (n, 80, 8, 8), (n, 160, 4, 4), (n, 320, 2, 2)
            if stage:
                layers += [*_norm(width), nn.Conv2d(width, 2 * width, 2, stride=2)]
                width *= 2
            layers += [Block(width, next(drops)) for _ in range(count)]
        pooling = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), LayerNorm(width))
        self.net = nn.Sequential(*layers, *pooling, nn.Linear(width, self.num_outputs))
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
        networks.zero_biases(self.net)


class Block(nn.Module):
    """x + scale * f(x): a 7 x 7 convolution in each channel alone, layer norm, and two dense layers for each place.

    The scale of each channel starts at 1e-6, so that a block starts as the identity.
    """

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width, 1, 1), 1e-6))
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            Permute([0, 2, 3, 1]),  # (n, side, side, width)
            LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Permute([0, 3, 1, 2]),
        )
        self.drop = StochasticDepth(drop, "row")

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x, (n, width, side, side)."""
        return x + self.drop(self.scale * self.layers(x))

    def no_weight_decay(self) -> set[str]:
        return {"scale"}


def _norm(width: int) -> list[nn.Module]:
    """Layer norm over the channels of each place."""
    return [Permute([0, 2, 3, 1]), LayerNorm(width), Permute([0, 3, 1, 2])]
