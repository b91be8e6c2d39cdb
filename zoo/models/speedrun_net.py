"""The network of the record recipes: configs/speedrun94.yaml, speedrun95.yaml, speedrun96.yaml."""

import math
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.loading import Batch, ImageDataset
from zoo.core import devices
from zoo.core.about import About
from zoo.core.networks import check_probability
from zoo.core.torch_classifier import TorchClassifier
from zoo.core.torch_optimizers import BIASES, FILTERS, HEAD, WHITENING_BIAS

WHITENED_IMAGES = 5000  # training images from which the whitening is computed
WHITENING_EPS = 5e-4  # for pixels of variance 1


class SpeedrunNet(TorchClassifier):
    """Whitened patches, three blocks of convolutions with batch norm and GELU, and a linear layer.

    The network of airbench (Jordan 2024, https://arxiv.org/abs/2404.00498), in the line of cifar10-fast
    (https://github.com/davidcpage/cifar10-fast) and hlb-CIFAR10 (https://github.com/tysam-code/hlb-CIFAR10): made to
    learn fast. The first layer does not learn: it is computed from training images when a fit starts (see `Whitening`).
    Convolutions start as the identity on their inputs (`torch.nn.init.dirac_`), and batch norm has no scale.

    Args:
        widths: channels of the three blocks, 64, 256 and 256 by default.
        convolutions: in each block, 2 or 3; the third has a residual connection over the last two.
        batch_norm_momentum: share of batch norm's running mean and variance that a step keeps; 0 <= momentum < 1.
        logit_scale: factor of the logits; None divides them by the last width, and starts the linear layer with weights
            of standard deviation 1.
    """

    about: ClassVar[About] = About(
        family="convolutional",
        paper="https://arxiv.org/abs/2404.00498",
        config="speedrun94",
        tags=("torch", "batch_norm", "record"),
    )

    def __init__(
        self,
        widths: list[int] | None = None,
        convolutions: int = 2,
        batch_norm_momentum: float = 0.6,
        logit_scale: float | None = None,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        widths = [64, 256, 256] if widths is None else widths
        if len(widths) != 3 or any(width < 1 for width in widths):
            raise InputError(f"--model.widths={widths}: give the channels of three blocks, each at least 1")
        if convolutions not in (2, 3):
            raise InputError(f"--model.convolutions={convolutions} is out of range: give 2 or 3")
        check_probability("batch_norm_momentum", batch_norm_momentum)
        if logit_scale is not None and not 0 < logit_scale < math.inf:
            raise InputError(f"--model.logit_scale={logit_scale} is out of range: give a number above 0")
        self.whitening_seconds = self.test_seconds = 0.0  # of the last fit; of the last test, without start and report
        self._test_started = 0.0
        side = (image_size - 1) // 8  # after the whitening and three poolings
        if side < 1:
            raise InputError(f"SpeedrunNet halves an image three times: {image_size} x {image_size} pixels are too few")
        whitening = Whitening(channels)
        pairs = pairwise([whitening.out_channels, *widths])
        blocks = [Block(inputs, outputs, convolutions, batch_norm_momentum) for inputs, outputs in pairs]
        self.net = nn.Sequential(
            whitening,  # (n, 24, 31, 31)
            nn.GELU(),
            *blocks,  # (n, w1, 15, 15), (n, w2, 7, 7), (n, w3, 3, 3)
            nn.MaxPool2d(side),
            nn.Flatten(),  # (n, w3)
            ScaledLinear(widths[-1], self.num_outputs, logit_scale),
        )

    @property
    def whitening(self) -> "Whitening":
        return cast(Whitening, cast(nn.Sequential, self.net)[0])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the sum of the losses over all images of an optimizer step, for which the learning rates are made.

        Lightning averages over processes and over accumulated batches, so each batch's sum is multiplied by their
        number. The metrics count the batch's mean. Gradients of the sum do not underflow in half precision.
        """
        shares = self.trainer.world_size * self.trainer.accumulate_grad_batches if self._trainer else 1
        return super().training_step(batch, batch_idx) * (len(batch.labels) * shares)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters in groups by role (see `zoo.core.torch_optimizers`)."""
        bias = self.whitening.bias
        others = [parameter for parameter in self.parameters() if parameter is not bias and parameter.requires_grad]
        groups = [
            {"role": role, "params": [parameter for parameter in others if parameter.ndim == dimensions]}
            for role, dimensions in ((FILTERS, 4), (HEAD, 2), (BIASES, 1))
        ]
        return [*groups, {"role": WHITENING_BIAS, "params": [bias]}]

    def on_fit_start(self) -> None:
        """Compute the whitening from training images, unless a checkpoint or `--init_from` brings it."""
        data = getattr(self.trainer, "datamodule", None)
        is_given = self.trainer.ckpt_path is not None or "net.0.weight" in self.loaded
        if not is_given and isinstance(data, ImageDataModule) and data.train is not None:
            start = time.perf_counter()
            self.whiten(data.train)
            devices.synchronize(self.device)
            self.whitening_seconds = time.perf_counter() - start

    def whiten(self, dataset: ImageDataset) -> None:
        self.whitening.fit(self.normalize(dataset.plain(WHITENED_IMAGES).to(self.device)))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Skip the gradient of the whitening's bias once its learning rate is 0.

        With several processes it is computed to the end: they wait for the gradients of all parameters.
        """
        groups = self.trainer.optimizers[0].param_groups
        rates = [group["lr"] for group in groups if group.get("role") == WHITENING_BIAS]
        self.whitening.bias_learns = not isinstance(self.trainer.strategy, SingleDeviceStrategy) or rates != [0]

    def training_states(self) -> Iterator[None]:
        """Put the network into both of its states: the whitening's bias learns, or does not."""
        for self.whitening.bias_learns in (False, True):
            yield

    def on_test_epoch_start(self) -> None:
        devices.synchronize(self.device)
        self._test_started = time.perf_counter()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()  # waits for a GPU, before the time is read
        self.test_seconds = time.perf_counter() - self._test_started


class Whitening(nn.Conv2d):
    """A convolution with uncorrelated outputs for each 2 x 2 patch, 12 for three channels, and their negatives.

    After `fit`, each output has variance 1, or less where the patches hardly vary. Before, the outputs are the patch's
    values. Only the bias learns, while `bias_learns`. (n, 3, 32, 32) -> (n, 24, 31, 31).
    """

    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 8 * channels, 2)
        self.bias_learns = True
        weight = self.weight.detach()
        del self.weight
        self.register_buffer("weight", weight)
        self._set_filters(torch.eye(4 * channels))

    def _set_filters(self, filters: Tensor) -> None:
        self.weight.copy_(torch.cat([filters, -filters]).view_as(self.weight))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Whiten the patches of normalized images, float (n, c, h, w).

        If E diag(v) E' are the second moments of the patches, the filters are the rows of diag(v + eps)^(-1/2) E'.
        """
        patches = F.unfold(images.float(), self.kernel_size).transpose(1, 2).reshape(-1, 4 * self.in_channels)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        self._set_filters((vectors / (values + WHITENING_EPS).sqrt()).T)

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight, self.bias if self.bias_learns else self.bias.detach())


class Block(nn.Module):
    """Convolution, 2 x 2 max pooling, batch norm and GELU, then one or two times convolution, batch norm and GELU.

    With three convolutions there is a residual connection over the last two.
    """

    def __init__(self, inputs: int, outputs: int, convolutions: int, batch_norm_momentum: float) -> None:
        super().__init__()
        channels = [inputs] + [outputs] * (convolutions - 1)
        self.convolutions = nn.ModuleList(_convolution(channel, outputs) for channel in channels)
        self.norms = nn.ModuleList(_batch_norm(outputs, batch_norm_momentum) for _ in channels)
        self.pool, self.activation = nn.MaxPool2d(2), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, side // 2, side // 2) for x of shape (n, inputs, side, side)."""
        (first, *middle, last), (first_norm, *middle_norms, last_norm) = self.convolutions, self.norms
        pooled = x = self.activation(first_norm(self.pool(first(x))))
        for convolution, norm in zip(middle, middle_norms, strict=True):
            x = self.activation(norm(convolution(x)))
        x = last_norm(last(x))
        return self.activation(x + pooled if middle else x)


class ScaledLinear(nn.Linear):
    """A linear layer without bias whose outputs are multiplied by a factor.

    The factor None stands for 1 / inputs, and for weights that start with standard deviation 1.
    """

    def __init__(self, inputs: int, outputs: int, scale: float | None) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.scale = 1 / inputs if scale is None else scale
        if scale is None and self.weight.numel() > 1:
            with torch.no_grad():
                self.weight.div_(self.weight.std())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution without bias whose first outputs start as copies of its inputs."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:inputs])
    return convolution


def _batch_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """Return batch norm that learns its bias alone, and divides by the standard deviation, however small.

    The weight stays 1, and a parameter: `nn.SyncBatchNorm.convert_sync_batchnorm` copies parameters alone.
    """
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=1 - momentum)
    norm.weight.requires_grad_(False)
    return norm
