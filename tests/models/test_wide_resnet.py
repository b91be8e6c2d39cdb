"""`WideResNet` against its paper and timm."""

import pytest
import torch
from torch import nn

from datamodules.errors import InputError
from tests.models.networks import assert_he, assert_same_function, flops, in_our_order, on_meta, parameters, timm_preact
from zoo.models.wide_resnet import BLOCKS, WideResNet
from zoo.testing import check_model

# Depth and width -> million parameters, table 4 of the paper.
PAPER = {
    (40, 1): 0.6,
    (40, 2): 2.2,
    (40, 4): 8.9,
    (40, 8): 35.7,
    (28, 10): 36.5,
    (28, 12): 52.5,
    (22, 8): 17.2,
    (22, 10): 26.8,
    (16, 8): 11.0,
    (16, 10): 17.1,
}


@pytest.mark.parametrize(("depth", "width"), PAPER)
def test_parameters_are_the_papers(depth, width):
    model = on_meta(WideResNet, depth, width)
    assert round(parameters(model) / 1e6, 1) == PAPER[depth, width]
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == depth - (width == 1), "whose first stage has no convolution as shortcut"


def timm_net(depth: int, width: int) -> nn.Module:
    return timm_preact(16, (16 * width, 32 * width, 64 * width), [BLOCKS[depth]] * 3)


@pytest.mark.parametrize(("depth", "width"), [(10, 2), (16, 4), (28, 10), (40, 1)])
def test_sizes_are_timms(depth, width):
    with torch.device("meta"):
        other = timm_net(depth, width)
    model = on_meta(WideResNet, depth, width)
    assert parameters(model) == parameters(other)
    assert flops(model.net) == flops(other)


@pytest.mark.parametrize(("depth", "width"), [(10, 2), (16, 1)])
def test_the_function_is_timms(depth, width):
    torch.manual_seed(0)
    other = timm_net(depth, width)
    assert_same_function(WideResNet(depth, width).net, other, in_our_order(other))


def test_dropout_is_between_the_convolutions_of_a_block():
    torch.manual_seed(0)
    model = WideResNet(dropout=0.5).train()
    residual = model.net[1][0].residual
    assert [type(layer) for layer in residual] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Conv2d]
    kept = (residual[:3](torch.randn(8, 16, 32, 32)) > 0).float().mean()
    dropped = (residual[:4](torch.randn(8, 16, 32, 32)) > 0).float().mean()
    assert dropped / kept == pytest.approx(0.5, abs=0.02)
    deeper = on_meta(WideResNet, 16, 1, 0.3)
    assert sum(isinstance(layer, nn.Dropout) for layer in deeper.modules()) == 6, "one in each block"
    check_model(WideResNet, width=1, dropout=0.3)


def test_weights_start_as_in_the_authors_code():
    torch.manual_seed(0)
    assert_he(WideResNet())


@pytest.mark.parametrize(("argument", "value"), [("width", 0), ("dropout", 1.0), ("dropout", -0.1), ("depth", 12)])
def test_out_of_range(argument, value):
    with pytest.raises(InputError, match=rf"^--model\.{argument}={value} is "):
        WideResNet(**{argument: value})
