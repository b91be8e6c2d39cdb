"""`TorchClassifier`: the base class of models that PyTorch differentiates."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.loading import Batch
from zoo.core import regularization
from zoo.core.classifier import Classifier


class TorchClassifier(Classifier):
    """A classifier around an ordinary `nn.Module`, which a subclass builds; `Classifier` has an example.

    Attributes:
        net: maps normalized images, float (n, channels, image_size, image_size), to logits, float (n, `num_outputs`).
        memory_format: of the images and of the weights of convolutions. channels_last makes convolutions faster on CPUs
            and recent GPUs; a network that calls `view` on images or feature maps needs `torch.contiguous_format`.
    """

    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    net: nn.Module
    _penalized: Sequence[nn.Parameter] = ()  # the weights that `l1` and `l2` act on, while it trains

    def forward(self, images: Tensor) -> Tensor:
        return self.logits(self.normalize(images))

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits, float (n, `num_outputs`), of normalized images (n, channels, image_size, image_size)."""
        return self.net(inputs)

    def normalize(self, images: Tensor) -> Tensor:
        normalized = super().normalize(images)
        if self.memory_format is torch.channels_last:
            return normalized
        # A copy: the strides of a single channel tell no memory format, and `contiguous` would leave them.
        return normalized.clone(memory_format=torch.contiguous_format)

    def configure_model(self) -> None:
        """Convert the weights of convolutions to `memory_format`, before the trainer uses them."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.ndim == 4:  # channels_last needs four dimensions
                tensor.data = tensor.data.contiguous(memory_format=self.memory_format)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of the batch; float32 for a model in half precision."""
        logits, labels = self.training_logits(batch), self.training_labels(batch)
        if logits.dtype.itemsize < torch.float32.itemsize:
            logits = logits.float()
        loss = self.loss(logits, labels)
        self.count("train", logits, labels, loss)
        return loss

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Make a step; an optimizer that computes the loss several times, as LBFGS does, counts the batch once."""
        assert optimizer_closure is not None

        def closure() -> Any:
            loss = optimizer_closure()
            self.counts = False
            return loss

        try:
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
        finally:
            self.counts = True

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        self._penalized = regularization.weights(self) if self.l1 or self.l2 else []
        return super().configure_optimizers()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Add the penalties' gradients to those of the loss: accumulated, averaged over processes, not clipped yet."""
        if self._penalized:
            regularization.add_penalties(self._penalized, self.l1, self.l2)

    def training_logits(self, batch: Batch) -> Tensor:
        """Return the logits of a batch's images, which are mixed with their partners if they have any."""
        if batch.partners is None:
            return self(batch.images)
        return self.logits(batch.partners.mix(self.normalize(batch.images), self.normalize(batch.partners.images)))

    def check_data(self, data: ImageDataModule) -> None:
        """Refuse to mix images for a model whose `forward` hides how it computes with normalized images."""
        own = type(self)
        is_hidden = own.forward is not TorchClassifier.forward and own.logits is TorchClassifier.logits
        if data.augmentation.mixes_images and is_hidden:
            problem = f"images are mixed after normalization, and {own.__name__} has a forward of its own"
            fix = "in its place, give it a method logits(self, inputs) for normalized images"
            raise InputError(f"--data.mixup and --data.cutmix: {problem}: {fix}")

    def training_states(self) -> Iterator[None]:
        """Put the network into each state that it trains in: `torch.compile` compiles it once per state."""
        yield
