"""`TorchTwin`: a network of `zoo.scratch` as layers of PyTorch, for all that needs hooks, autograd or a graph."""

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.scratch import activations, layers
from zoo.scratch.activations import Activation
from zoo.scratch.network import Network


class TorchTwin(L.LightningModule):
    """A network of `zoo.scratch` as layers of PyTorch, with a copy of its weights.

    The inputs of the first layer are in PyTorch's order: channel, row, column. The factor `scale` and the summand
    `shift` of each pixel, float32 (pixels,), are given in the network's order: row, column, channel.
    `shape` is that of an image: (channels, height, width).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network, scale: Tensor, shift: Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(1, *shape, dtype=torch.uint8)  # for Lightning's summary
        self.register_buffer("scale", _channels_first(scale, shape))
        self.register_buffer("shift", _channels_first(shift, shape))
        self.layers = nn.Sequential(*(MODULES[type(layer)](layer) for layer in network.layers))
        first: Any = self.layers[0]
        first.weight.data = _channels_first(first.weight.data, shape).contiguous()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (n, K), of pixels from 0 to 255, uint8 or float32 (n, *shape)."""
        return self.layers(images.flatten(1) * self.scale + self.shift)


class Dense(nn.Linear):
    """A dense layer and its activation, as one module: its output is that of the activation."""

    activation: nn.Module

    def __init__(self, layer: layers.Dense) -> None:
        inputs, outputs = layer.weights.shape
        super().__init__(inputs, outputs, device="meta")  # draws no random numbers
        self.weight, self.bias = nn.Parameter(torch.tensor(layer.weights.T)), nn.Parameter(torch.tensor(layer.bias))
        # Not registered as a child, so that hooks on the innermost modules see one layer.
        self.__dict__["activation"] = MODULES.get(type(layer.activation), NumPyActivation)(layer.activation)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.activation(super().forward(inputs))

    def _get_name(self) -> str:
        return f"Dense, {self.activation._get_name()}"


class NumPyActivation(nn.Module):
    """An activation that `MODULES` does not know, computed and differentiated by NumPy."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, z: Tensor) -> Tensor:
        return _ByNumPy.apply(z, self.activation)

    def _get_name(self) -> str:
        return type(self.activation).__name__


class _ByNumPy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, activation: Activation) -> Tensor:
        ctx.activation = activation
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = torch.from_numpy(activation.forward(z.detach().numpy()))
        ctx.save_for_backward(outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (outputs,) = ctx.saved_tensors
        return gradient * torch.from_numpy(ctx.activation.derivative(outputs.numpy())), None


# What each layer and each activation of `zoo.scratch` is in PyTorch.
MODULES: dict[type, Callable[[Any], nn.Module]] = {
    layers.Dense: Dense,
    activations.Identity: lambda _: nn.Identity(),
    activations.ReLU: lambda _: nn.ReLU(),
    activations.Sigmoid: lambda _: nn.Sigmoid(),
    activations.Tanh: lambda _: nn.Tanh(),
}


def _channels_first(values: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return values of pixels (..., pixels), in the order of row, column and channel, by channel, row and column."""
    channels, height, width = shape
    return values.unflatten(-1, (height, width, channels)).movedim(-1, -3).flatten(-3)
