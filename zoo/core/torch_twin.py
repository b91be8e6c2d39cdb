"""`TorchTwin`: a network of `zoo.scratch` as layers of PyTorch, for all that needs hooks, autograd or a graph."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.scratch import activations, batch_norm, convolution, dropout, layers, pooling
from zoo.scratch.fast import FAST
from zoo.scratch.layers import Layer
from zoo.scratch.network import Network


class TorchTwin(L.LightningModule):
    """A network of `zoo.scratch` as layers of PyTorch, with a copy of its weights, in evaluation mode.

    Images and maps are in PyTorch's order, (n, channels, rows, columns). The factor `scale` and the summand `shift` of
    each pixel, float32 (pixels,), are given in the network's order: row, column, channel.
    `shape` is that of an image: (channels, height, width).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network, scale: Tensor, shift: Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(1, *shape, dtype=torch.uint8)  # for Lightning's summary
        self.register_buffer("scale", _channels_first(scale, shape).reshape(shape))
        self.register_buffer("shift", _channels_first(shift, shape).reshape(shape))
        self.layers = nn.Sequential(*(MODULES.get(type(layer), NumPyLayer)(layer) for layer in network.layers))
        shape_before: layers.Shape = (shape[1], shape[2], shape[0])
        for (layer, following), module in zip(pairwise(network.layers), pairwise(self.layers), strict=False):
            if isinstance(module[0], Flatten) and isinstance(following, layers.Dense):
                # In PyTorch's order, the weights of the units can be shown as images.
                rows, columns, channels = shape_before
                weight: Any = module[1].weight
                weight.data = _channels_first(weight.data, (channels, rows, columns)).contiguous()
                module[0].in_torchs_order = True
            shape_before = layer.output_shape(shape_before)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (n, K), of pixels from 0 to 255, uint8 or float32 (n, *shape)."""
        return self.layers(images * self.scale + self.shift)


class Flatten(nn.Flatten):
    """Rows of numbers, in the order of row, column and channel as in `zoo.scratch`, or in PyTorch's."""

    in_torchs_order = False

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.ndim == 4 and not self.in_torchs_order:
            inputs = inputs.permute(0, 2, 3, 1)
        return super().forward(inputs)


class NumPyLayer(nn.Module):
    """A layer that `MODULES` does not know, computed and differentiated by NumPy."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)
        self.layer.training = False
        for name, array in self.layer.parameters.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(array)))

    def forward(self, inputs: Tensor) -> Tensor:
        return _ByNumPy.apply(inputs, self.layer)

    def _get_name(self) -> str:
        return type(self.layer).__name__


class _ByNumPy(torch.autograd.Function):
    """`forward` and `backward` of a layer, with maps in the order of PyTorch."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: Layer) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            return _from_numpy(layer.forward(_to_numpy(inputs)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (inputs,) = ctx.saved_tensors
        with np.errstate(over="ignore", invalid="ignore"):
            ctx.layer.forward(_to_numpy(inputs))  # the layer may have computed other inputs since
            return _from_numpy(ctx.layer.backward(_to_numpy(gradient))), None


def _to_numpy(values: Tensor) -> np.ndarray:
    values = values.detach()
    return np.ascontiguousarray((values.permute(0, 2, 3, 1) if values.ndim == 4 else values).numpy())


def _from_numpy(values: np.ndarray) -> Tensor:
    """Return values as a tensor; the layer may use the memory of the array again."""
    tensor = torch.from_numpy(values.copy())
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _dense(layer: layers.Dense) -> nn.Module:
    inputs, outputs = layer.parameters["weight"].shape
    module = nn.Linear(inputs, outputs, device="meta")  # draws no random numbers
    module.weight = nn.Parameter(torch.tensor(layer.parameters["weight"].T))
    module.bias = nn.Parameter(torch.tensor(layer.parameters["bias"]))
    return module


def _conv2d(layer: convolution.Conv2D) -> nn.Module:
    weight = torch.tensor(layer.parameters["weight"]).permute(3, 2, 0, 1).contiguous()
    kernels, channels, size, _ = weight.shape
    module = nn.Conv2d(channels, kernels, size, padding=size // 2, device="meta")
    module.weight, module.bias = nn.Parameter(weight), nn.Parameter(torch.tensor(layer.parameters["bias"]))
    return module


def _batch_norm(layer: batch_norm.BatchNorm) -> nn.Module:
    module = _AnyBatchNorm(layer.parameters["weight"].size, layer.epsilon, layer.momentum)
    for name, array in (layer.parameters | layer.state).items():
        getattr(module, name).data.copy_(torch.from_numpy(array))
    return module


class _AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization of rows and of maps."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def _get_name(self) -> str:
        return "BatchNorm"


# What each layer of `zoo.scratch` is in PyTorch, its fast form included.
_KINDS: dict[type[Layer], Callable[[Any], nn.Module]] = {
    layers.Dense: _dense,
    layers.Flatten: lambda _: Flatten(),
    activations.ReLU: lambda _: nn.ReLU(),
    activations.Sigmoid: lambda _: nn.Sigmoid(),
    activations.Tanh: lambda _: nn.Tanh(),
    convolution.Conv2D: _conv2d,
    pooling.MaxPool2D: lambda layer: nn.MaxPool2d(layer.size),
    batch_norm.BatchNorm: _batch_norm,
    dropout.Dropout: lambda layer: nn.Dropout(layer.rate),
}
MODULES = _KINDS | {FAST[kind]: module for kind, module in _KINDS.items() if kind in FAST}


def _channels_first(values: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return values of pixels (..., pixels), in the order of row, column and channel, by channel, row and column."""
    channels, height, width = shape
    return values.unflatten(-1, (height, width, channels)).movedim(-1, -3).flatten(-3)
