"""Mixup and CutMix: every training image is mixed with another one, its partner.

The partner, the weight and the box of a sample are functions of (seed, epoch, sample index) alone, see
`datamodules.random_numbers`. A partner is any training image, augmented as the epoch augments it.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.random_numbers import BOXES, MIXING, integers, random_bits

QUANTILES = 2**16  # of a Beta distribution, in a table that 16 random bits index
POINTS = 2**17  # of a numerical integral


class Partners(NamedTuple):
    """The partners of a batch's samples.

    Of mixup, a box is empty, (0, 0, 0, 0), and `weights` mix all pixels. Of CutMix, the partner's pixels fill the box.
    """

    images: Tensor  # uint8 pixels (n, channels, side, side), in channels_last memory
    labels: Tensor  # int64 (n,)
    weights: Tensor  # float32 (n,), 0 to 1: the share of the sample itself in the mixed label
    boxes: Tensor  # int64 (n, 4): top, left, bottom, right

    def shares(self) -> Tensor:
        """Return the share of the sample itself in each pixel, float32 (n, side, side)."""
        side = self.images.shape[-1]
        places = torch.arange(side, device=self.boxes.device)
        top, left, bottom, right = self.boxes[:, :, None].unbind(1)  # (n, 1) each
        rows, columns = (places >= top) & (places < bottom), (places >= left) & (places < right)
        outside = self.weights[:, None].masked_fill(top < bottom, 1.0)
        inside = rows[:, :, None] & columns[:, None, :]
        return outside[:, :, None].expand(-1, side, side).masked_fill(inside, 0.0)

    def mix(self, own: Tensor, others: Tensor) -> Tensor:
        """Mix images with those of their partners, float (n, channels, side, side), in the memory of the first ones."""
        return own.lerp_(others, 1 - self.shares()[:, None].to(own.dtype))

    def soft_labels(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return the mixed labels of samples with these labels, float32 (n, num_classes)."""
        classes, weights = torch.arange(num_classes, device=labels.device), self.weights[:, None]
        return weights * (labels[:, None] == classes) + (1 - weights) * (self.labels[:, None] == classes)


class Mixing:
    """Draws partners, weights and boxes.

    Args:
        mixup: the alpha of mixup, or 0 (Zhang et al. 2017, https://arxiv.org/abs/1710.09412): lambda ~ Beta(alpha,
            alpha) is the share of the sample in all pixels and in the label.
        cutmix: the alpha of CutMix, or 0 (Yun et al. 2019, https://arxiv.org/abs/1905.04899): the partner fills a box
            of sqrt(1 - lambda) times the image's side, rounded down to an even number, around a uniform pixel. Clipped
            at the edge, the box decides the share of the sample in the label. If both are on, each sample takes one of
            them, with equal probability.
        side: of an image in pixels.
    """

    def __init__(self, mixup: float, cutmix: float, side: int) -> None:
        self.side = side
        self._weights = torch.tensor(beta_quantiles(mixup), dtype=torch.float32) if mixup else None
        self._halves: Tensor | None = None  # of a box's side
        if cutmix:
            halves = np.floor(side * np.sqrt(1 - beta_quantiles(cutmix)) / 2)
            self._halves = torch.tensor(halves, dtype=torch.int64)

    def to(self, device: torch.device) -> None:
        self._weights, self._halves = (
            None if table is None else table.to(device) for table in (self._weights, self._halves)
        )

    def draw(self, seed: int, epoch: int, indices: Tensor, images: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the positions of the partners among all images, int64 (n,), and `weights` and `boxes` of `Partners`.

        Args:
            seed: of the run.
            epoch: from 0.
            indices: the samples' indices, int64 (n,).
            images: the number of all training images.
        """
        bits = random_bits(seed, epoch, indices, MIXING)
        positions, place = integers(bits, 1, images, width=32), integers(bits, 0, QUANTILES, width=16)
        no_boxes = indices.new_zeros(len(indices), 4)
        if self._halves is None:
            assert self._weights is not None
            return positions, self._weights.index_select(0, place), no_boxes
        boxes = self._boxes(random_bits(seed, epoch, indices, BOXES), self._halves.index_select(0, place))
        top, left, bottom, right = boxes.unbind(1)
        pixels = self.side * self.side
        weights = (pixels - (bottom - top) * (right - left)).float() * (1 / pixels)
        if self._weights is None:
            return positions, weights, boxes
        takes_mixup = integers(bits, 1, 2, width=16).bool()
        weights = torch.where(takes_mixup, self._weights.index_select(0, place), weights)
        return positions, weights, torch.where(takes_mixup[:, None], no_boxes, boxes)

    def _boxes(self, bits: Tensor, halves: Tensor) -> Tensor:
        row, column = (integers(bits, field, self.side, width=32) for field in (0, 1))
        return torch.stack([row - halves, column - halves, row + halves, column + halves], 1).clamp(0, self.side)


def beta_quantiles(alpha: float) -> np.ndarray:
    """Return the quantiles of Beta(alpha, alpha) at (k + 1/2) / `QUANTILES`, ascending, float64 (`QUANTILES`,).

    A table makes the same numbers of the same bits on every device. It is computed by a numerical integral, because
    neither NumPy nor PyTorch has the inverse of the distribution function.
    """
    # The density of u = log(x / (1 - x)) is proportional to (x (1 - x))^alpha: without poles, and symmetric.
    farthest = 40 / max(alpha, 1e-6) + 14 / np.sqrt(alpha)  # beyond it is less than e^-40 of the distribution
    u = np.linspace(-farthest, 0, POINTS)
    density = np.exp(-alpha * (2 * np.log1p(np.exp(u)) - u - 2 * np.log(2)))
    integral = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    probabilities = (np.arange(QUANTILES // 2) + 0.5) / QUANTILES
    quantiles = np.exp(np.interp(probabilities, integral / (2 * integral[-1]), u))
    lower = quantiles / (1 + quantiles)
    return np.concatenate([lower, 1 - lower[::-1]])
