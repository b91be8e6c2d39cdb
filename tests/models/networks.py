"""What the tests of several families share: sizes of networks, and comparisons with those of other libraries."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.core.classifier import Classifier


def on_meta(build: Callable[..., Classifier], *arguments, **options) -> Classifier:
    """Build a model whose tensors have shapes and no values, in no time."""
    with torch.device("meta"):
        return build(*arguments, **options)


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def flops(net: nn.Module, shape: tuple[int, ...] = (3, 32, 32)) -> int:
    """Return the operations for an image, as PyTorch counts them: two for a multiply-add."""
    device = next(net.parameters()).device
    with FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, *shape, device=device))
    return counter.get_total_flops()


def assert_same_function(
    net: nn.Module, other: nn.Module, order: Iterable[Tensor] | None = None, rounding: float = 1e-6
) -> None:
    """Give `net` the weights of `other`, and compare logits, gradients and batch norm's statistics.

    Args:
        net: of a model of ours.
        other: the network of another library. Convolutions with a kernel of 1 may be its linear layers.
        order: the parameters of `other` in the order in which `net` has its own, if that is another.
        rounding: the largest norm of an error of a gradient that is 0, but for the rounding of large sums.
    """
    theirs = list(other.parameters() if order is None else order)
    assert len(theirs) == len(list(other.parameters()))
    for parameter in theirs:
        if parameter.ndim == 1:  # batch norm starts with weights 1 and biases 0
            nn.init.uniform_(parameter, 0.5, 1.5)
    with torch.no_grad():
        for mine, parameter in zip(net.parameters(), theirs, strict=True):
            mine.copy_(parameter.view_as(mine))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits, expected = net.train()(images), other.train()(images)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(net.eval()(images), other.eval()(images), rtol=1e-3, atol=1e-4)
    for output in (logits, expected):
        output.square().sum().backward()
    for mine, parameter in zip(net.parameters(), theirs, strict=True):
        assert (mine.grad - parameter.grad.view_as(mine)).norm() <= 0.01 * parameter.grad.norm() + rounding


def assert_he(net: nn.Module) -> None:
    """He et al. 2015: weights are normal, with variance 2 / inputs of a unit, and biases are 0."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        if layer.weight.numel() > 2000:
            weights = layer.weight.detach()
            assert weights.std().item() == pytest.approx((2 / weights[0].numel()) ** 0.5, rel=0.1)
            assert 0.6 < (weights.abs() < weights.std()).float().mean() < 0.77, "68 % of a normal variable"
    assert torch.equal(layers[-1].bias, torch.zeros_like(layers[-1].bias))


def timm_preact(stem: int, widths: Sequence[int], blocks: Sequence[int], bottleneck: bool = False) -> nn.Module:
    """Return timm's residual network with pre-activation, with first and last layers for ten classes of small images.

    Args:
        stem: outputs of the first convolution.
        widths: outputs of each stage.
        blocks: of each stage.
        bottleneck: whether blocks have three convolutions.
    """
    resnetv2 = pytest.importorskip("timm.models.resnetv2")
    layers = pytest.importorskip("timm.layers")
    kinds = {"norm_layer": layers.BatchNormAct2d, "conv_layer": layers.create_conv2d}
    sizes = {"stem_chs": stem, "basic": not bottleneck, "bottle_ratio": 0.25 if bottleneck else 1.0}
    net = resnetv2.ResNetV2(blocks, widths, **sizes, **kinds)
    net.stem = nn.Conv2d(3, stem, 3, padding=1, bias=False)
    net.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))
    return net


def in_our_order(net: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of a `timm_preact`, which has the shortcut of a block in front of the rest."""
    yield net.stem.weight
    for stage in net.stages:
        for block in stage.blocks:
            yield from (p for name, p in block.named_parameters() if not name.startswith("downsample"))
            yield from () if block.downsample is None else block.downsample.parameters()
    yield from (*net.norm.parameters(), *net.head.parameters())
