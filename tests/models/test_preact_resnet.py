"""`PreActResNet` against its paper and timm, and its block against a plain formula."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.networks import assert_he, assert_same_function, flops, in_our_order, on_meta, parameters, timm_preact
from zoo.models.preact_resnet import BOTTLENECK, VARIANTS, PreActBlock, PreActResNet

# Million parameters: tables 3 and 5 of the paper, and those of `ResNet`. The paper's do not count batch norm.
PAPER = {110: 1.7, 164: 1.7, 1001: 10.2, 20: 0.27, 56: 0.85, 18: 11.2, 34: 21.3}


@pytest.mark.parametrize("depth", VARIANTS)
def test_sizes_are_the_papers(depth):
    """The 1 x 1 convolutions of shortcuts are in the parameters, and not in the depth."""
    model = on_meta(PreActResNet, depth)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    shortcuts = sum(
        isinstance(block.shortcut, nn.Conv2d) for block in model.modules() if isinstance(block, PreActBlock)
    )
    assert len(layers) - shortcuts == depth
    assert shortcuts == len(VARIANTS[depth].blocks) - (VARIANTS[depth].kernels != BOTTLENECK)
    assert round(sum(map(parameters, layers)) / 1e6, 2 if depth in (20, 56) else 1) == PAPER[depth]


def timm_net(depth: int) -> nn.Module:
    """Return timm's network, with the paper's first block, and with the strides of the authors' code."""
    stem, widths, blocks, kernels = VARIANTS[depth]
    other = timm_preact(stem, widths, blocks, kernels == BOTTLENECK)
    first = other.stages[0].blocks[0]
    first.downsample = first.downsample or nn.Identity()  # behind the first activation
    if kernels == BOTTLENECK:
        for stage in list(other.stages)[1:]:
            stage.blocks[0].conv1.stride, stage.blocks[0].conv2.stride = (2, 2), (1, 1)
    return other


@pytest.mark.parametrize("depth", [18, 34, 110, 164])
def test_sizes_are_timms(depth):
    with torch.device("meta"):
        other = timm_net(depth)
    model = on_meta(PreActResNet, depth)
    assert parameters(model) == parameters(other)
    assert flops(model.net) == flops(other)


@pytest.mark.parametrize("depth", [20, 164])
def test_the_function_is_timms(depth):
    torch.manual_seed(0)
    other = timm_net(depth)
    assert_same_function(PreActResNet(depth).net, other, in_our_order(other))


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "activates"),
    [(4, 4, 1, False), (4, 4, 1, True), (4, 8, 1, False), (4, 8, 2, False)],
)
def test_a_block_is_the_papers_formula(inputs, outputs, stride, activates):
    """w2 * relu(norm(w1 * a)) + shortcut, a = relu(norm(x)): the shortcut is x or a, or a 1 x 1 convolution of a."""
    torch.manual_seed(0)
    block, x = PreActBlock(inputs, outputs, stride=stride, activates_shortcut=activates), torch.randn(3, inputs, 6, 6)
    (scale1, bias1), (w1, scale2, bias2, w2) = block.activation.parameters(), block.residual.parameters()
    for scale, bias in ((scale1, bias1), (scale2, bias2)):
        nn.init.uniform_(scale, 0.5, 2)
        nn.init.normal_(bias)
    a = F.batch_norm(x, None, None, scale1, bias1, training=True).relu()
    y = F.batch_norm(F.conv2d(a, w1, None, stride, 1), None, None, scale2, bias2, training=True).relu()
    shortcut = a if activates else x
    if inputs != outputs:
        shortcut = F.conv2d(a, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x), F.conv2d(y, w2, padding=1) + shortcut)


def test_shortcuts_behind_an_activation():
    """That of the first block, and those with a convolution."""
    blocks = [block for block in on_meta(PreActResNet, 20).modules() if isinstance(block, PreActBlock)]
    assert [block.activates_shortcut for block in blocks] == [True, False, False] * 3


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    assert_he(PreActResNet(20))
