"""`TorchClassifier`: the base class of models that PyTorch differentiates."""

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
        memory_format: of the images and of the weights of convolutions. channels_last makes convolutions faster on CPUs
            and recent GPUs; a network that calls `view` on images or feature maps needs `torch.contiguous_format`.
    """

    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    net: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float (n, `num_outputs`), of uint8 images (n, 3, 32, 32)."""
        return self.net(self.normalize(images))

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize as `Classifier.normalize` does, in `memory_format`."""
        normalized = super().normalize(images)
        return normalized if self.memory_format is torch.channels_last else normalized.contiguous()

    def configure_model(self) -> None:
        """Convert the weights of convolutions to `memory_format`, before the trainer uses them."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.ndim == 4:  # channels_last needs four dimensions
                tensor.data = tensor.data.contiguous(memory_format=self.memory_format)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of the batch, a scalar; float32 for a model in half precision."""
        logits = self(batch.images)
        if logits.dtype.itemsize < torch.float32.itemsize:
            logits = logits.float()
        loss = self.loss(logits, batch.labels)
        self.count("train", logits, batch.labels, loss)
        return loss

    def training_states(self) -> Iterator[None]:
        """Put the network into each state that it trains in, one after the other.

        `torch.compile` compiles the network once per state, if its code depends on an attribute.
        """
        yield
