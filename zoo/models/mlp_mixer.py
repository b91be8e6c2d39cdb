"""MLP-Mixer for small images."""

from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torchvision.ops import Permute, StochasticDepth

from zoo.core import networks
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

# Channels of a patch, number of blocks, and hidden units of the layers across patches and across channels.
VARIANTS = {
    "micro": (128, 8, 64, 256),
    "small": (512, 8, 256, 2048),
    "base": (768, 12, 384, 3072),
    "large": (1024, 24, 512, 4096),
}
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


class MLPMixer(TorchClassifier):
    """Dense layers across the patches of an image and across their channels, in turn: 605,834 parameters as micro.

    Tolstikhin et al. 2021 (https://arxiv.org/abs/2105.01601). "small", "base" and "large" are the paper's, "micro" is
    for a CPU. Patches have 4 x 4 pixels, not 16 x 16, so that a 32 x 32 image has 64. With patches of 16 x 16 pixels,
    images of 224 x 224 and 1000 classes, the parameters are the paper's:

        variant       micro    small       base        large
        10 classes    605,834  17,110,026  57,348,106  203,196,938
        paper's form           18,528,264  59,880,472  208,196,168
        paper                  18 M        59 M        207 M

    Weights are initialized as in the authors' code: normally with a variance of 1 / inputs (LeCun et al. 1998,
    http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf), and the head with zeros.

    Args:
        variant: micro, small, base or large.
        patch_size: side of a patch in pixels, which divides the side of an image.
        stochastic_depth: probability that the last block is left out for an image in training; 0 <= stochastic_depth
            < 1. Earlier blocks are left out less often, in proportion to their place. 0.1 is the paper's for ImageNet.
    """

    about: ClassVar[About] = About(
        family="dense",
        paper="https://arxiv.org/abs/2105.01601",
        config="mlp_mixer",
        tags=("torch", "layer_norm", "residual", "patches"),
    )

    def __init__(
        self,
        variant: str = "micro",
        patch_size: int = 4,
        stochastic_depth: float = 0.1,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        width, depth, hidden_patches, hidden_channels = networks.variant("variant", variant, VARIANTS)
        networks.check_patches(patch_size, image_size)
        networks.check_probability("stochastic_depth", stochastic_depth)
        patches, drops = (image_size // patch_size) ** 2, networks.rising(stochastic_depth, depth)
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, patch_size, stride=patch_size),  # (n, 128, 8, 8)
            nn.Flatten(2),  # (n, 128, 64)
            Permute([0, 2, 1]),  # (n, 64, 128)
            *(Block(patches, width, hidden_patches, hidden_channels, drop) for drop in drops),
            LayerNorm(width),
            Permute([0, 2, 1]),
            nn.AdaptiveAvgPool1d(1),  # (n, 128, 1)
            nn.Flatten(),
            head := nn.Linear(width, self.num_outputs),
        )
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        networks.zero_biases(self.net)
        nn.init.zeros_(head.weight)


class Block(nn.Module):
    """Two dense layers across patches, the same for each channel, then two across channels, the same for each patch."""

    def __init__(self, patches: int, width: int, hidden_patches: int, hidden_channels: int, drop: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width)
        # A convolution with a kernel of 1 is a dense layer across the patches, with nothing to transpose.
        self.across_patches = nn.Sequential(
            nn.Conv1d(patches, hidden_patches, 1), nn.GELU(), nn.Conv1d(hidden_patches, patches, 1)
        )
        self.norm2 = LayerNorm(width)
        self.across_channels = nn.Sequential(
            nn.Linear(width, hidden_channels), nn.GELU(), nn.Linear(hidden_channels, width)
        )
        self.drop = StochasticDepth(drop, "row")

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x, (n, patches, width)."""
        x = x + self.drop(self.across_patches(self.norm1(x)))
        return x + self.drop(self.across_channels(self.norm2(x)))
