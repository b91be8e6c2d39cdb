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

    The inputs of the first layer are in PyTorch's order: colour, row, column. The factor `scale` and the summand
    `shift` of each pixel, float32 (3072,), are given in the network's order: row, column, colour.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)  # for Lightning's summary
        self.register_buffer("scale", _colours_first(scale))
        self.register_buffer("shift", _colours_first(shift))
        self.layers = nn.Sequential(*(MODULES[type(layer)](layer) for layer in network.layers))
        first: Any = self.layers[0]
        first.weight.data = _colours_first(first.weight.data).contiguous()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (n, K), of pixels from 0 to 255, uint8 or float32 (n, 3, 32, 32)."""
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


def _colours_first(values: Tensor) -> Tensor:
    """Return values of pixels (..., 3072), in the order of row, column and colour, by colour, row and column."""
    return values.unflatten(-1, (32, 32, 3)).movedim(-1, -3).flatten(-3)
