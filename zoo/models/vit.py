"""Vision transformers for small images."""

from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.core import networks
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

# Width of a token, number of blocks, heads, and units of a block's hidden layer.
VARIANTS = {
    "micro": (128, 6, 4, 256), "lite": (256, 7, 4, 512), "tiny": (192, 12, 3, 768),
    "small": (384, 12, 6, 1536), "base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096),
}  # fmt: skip
LayerNorm = partial(nn.LayerNorm, eps=1e-6)


class ViT(TorchClassifier):
    """A transformer on the patches of an image: 811,146 parameters as micro.

    Dosovitskiy et al. 2020 (https://arxiv.org/abs/2010.11929). A linear map makes each patch a token, positions are
    learned, and the classes are read from a further token, the class token. The paper found the mean of all tokens as
    good; the class token is its default. "base" and "large" are the paper's, "tiny" and "small" are those of Touvron et
    al. 2020 (https://arxiv.org/abs/2012.12877), "lite" is ViT-Lite-7/4 of Hassani et al. 2021
    (https://arxiv.org/abs/2104.05704), made for CIFAR-10, and "micro" is for CPUs.

    Patches have 4 x 4 pixels, not 16 x 16, so that a 32 x 32 image has 64. With patches of 16 x 16, images of 224 x 224
    and 1000 classes, the parameters are the papers'. ViT-Lite has 10 classes, and 7 x 768 biases less:

        variant       micro    lite       tiny       small       base        large
        10 classes    811,146  3,722,250  5,362,762  21,342,346  85,152,010  302,439,434
        paper's form           3,722,250  5,717,416  22,050,664  86,567,656  304,326,632
        papers                 3.717 M    5 M        22 M        86 M        307 M

    Weights are initialized as in the authors' code: with zeros in the head, a standard deviation of 0.02 for positions,
    a variance of 1 / inputs for the map of the patches, and as in https://proceedings.mlr.press/v9/glorot10a.html.

    Args:
        variant: micro, lite, tiny, small, base or large.
        patch_size: side of a patch in pixels, which divides the side of an image.
        dropout: probability that a unit is dropped in training, after each linear layer but queries, keys and values;
            0 <= dropout < 1. 0.1 is the paper's for ImageNet.
    """

    about: ClassVar[About] = About(
        family="attention",
        paper="https://arxiv.org/abs/2010.11929",
        config="vit",
        tags=("torch", "layer_norm", "residual", "patches", "dropout"),
    )

    def __init__(
        self,
        variant: str = "micro",
        patch_size: int = 4,
        dropout: float = 0.1,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        width, depth, heads, hidden = networks.variant("variant", variant, VARIANTS)
        networks.check_patches(patch_size, image_size)
        networks.check_probability("dropout", dropout)
        self.net = nn.Sequential(
            Tokens(channels, image_size, patch_size, width),  # (n, 65, 128)
            nn.Dropout(dropout),
            *(Block(width, heads, hidden, dropout) for _ in range(depth)),
            ClassToken(),  # (n, 128)
            LayerNorm(width),
            head := nn.Linear(width, self.num_outputs),
        )
        for layer in self.net.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
        networks.zero_biases(self.net)
        nn.init.zeros_(head.weight)


class Tokens(nn.Module):
    """The class token and a linear map of each patch, plus their positions."""

    def __init__(self, channels: int, image_size: int, patch_size: int, width: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (image_size // patch_size) ** 2, width))
        self.patches = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        nn.init.kaiming_normal_(self.patches.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 1 + patches, width) for x of shape (n, channels, image_size, image_size)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1) + self.positions

    def no_weight_decay(self) -> set[str]:
        return {"class_token", "positions"}


class Block(nn.Module):
    """Attention among the tokens, then two dense layers for each; each with layer norm before it, and a shortcut.

    In each head, a token takes the mean of all values, weighted by softmax(query . key / sqrt(width / heads)).
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.norm2 = LayerNorm(width)
        dense = (nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.dense = nn.Sequential(*dense, nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x, (n, tokens, width)."""
        normed = self.norm1(x)
        # Of each head: (n, heads, tokens, width / heads)
        query, key, value = (
            layer(normed).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        x = x + self.output(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return x + self.dense(self.norm2(x))


class ClassToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Return the first token, (n, width), of x, (n, tokens, width)."""
        return x[:, 0]
