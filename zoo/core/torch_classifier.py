"""`TorchClassifier`: the base of the models that PyTorch differentiates."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from datamodules.loading import Batch
from zoo.core.classifier import Classifier


class TorchClassifier(Classifier):
    """A classifier around an ordinary `nn.Module`; a subclass says which one:

        class TinyNet(TorchClassifier):
            def __init__(self, width: int = 16, num_classes: int = 10) -> None:
                super().__init__(num_classes)
                self.net = nn.Sequential(
                    nn.Conv2d(3, width, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, self.num_outputs)
                )

    Attributes:
        net: maps normalized images, float (n, 3, 32, 32), to logits, float (n, `num_outputs`).
        memory_format: of the images and of the weights of convolutions. channels_last, the default, makes convolutions
            on CPUs and recent GPUs faster; a network that calls `view` on images or feature maps needs
            `torch.contiguous_format`.
    """

    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    net: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float (n, `num_outputs`), of uint8 images (n, 3, 32, 32)."""
        return self.net(self.normalize(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Return what `Classifier.normalize` does, in `memory_format`."""
        normalized = super().normalize(images)
        return normalized if self.memory_format is torch.channels_last else normalized.contiguous()

    def configure_model(self) -> None:
        """Put the weights of convolutions into `memory_format`, once the trainer is about to use them."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.ndim == 4:  # channels_last is a format of four dimensions
                tensor.data = tensor.data.contiguous(memory_format=self.memory_format)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's loss, a scalar, for Lightning to differentiate; float32 for a model in half precision."""
        logits = self(batch.images)
        if logits.dtype.itemsize < torch.float32.itemsize:
            logits = logits.float()
        loss = self.loss(logits, batch.labels)
        self.count("train", logits, batch.labels, loss)
        return loss

    def training_states(self) -> Iterator[None]:
        """Put the network into each of the states that it trains in, one after the other.

        What is compiled for one of them, an attribute that a training step looks at, is compiled anew for another.
        """
        yield
