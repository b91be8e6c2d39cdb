"""`DenseNet` against its paper and torchvision."""

import pytest
import torch
from torch import nn
from torchvision.models.densenet import DenseNet as TorchvisionDenseNet

from datamodules.errors import InputError
from tests.helpers import random_images
from tests.models.networks import assert_he, assert_same_function, flops, on_meta, parameters
from zoo.models.densenet import DenseLayer, DenseNet
from zoo.testing import check_model

# Depth and growth rate -> million parameters: table 2 of the paper; for depth 40, the authors' README
# (https://github.com/liuzhuang13/DenseNet).
AUTHORS = {(100, 12): 0.8, (250, 24): 15.3, (190, 40): 25.6, (40, 36): 1.5, (40, 48): 2.7, (40, 60): 4.3}


@pytest.mark.parametrize(("depth", "growth_rate"), AUTHORS)
def test_parameters_are_the_authors(depth, growth_rate):
    model = on_meta(DenseNet, depth, growth_rate)
    assert round(parameters(model) / 1e6, 1) == AUTHORS[depth, growth_rate]
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in model.modules()) == depth


def torchvision_net(depth: int, growth_rate: int) -> nn.Module:
    """Return torchvision's network, with the first convolution of small images."""
    layers = ((depth - 4) // 6,) * 3
    other = TorchvisionDenseNet(growth_rate, layers, num_init_features=2 * growth_rate, num_classes=10)
    other.features.conv0 = nn.Conv2d(3, 2 * growth_rate, 3, padding=1, bias=False)
    for name in ("norm0", "relu0", "pool0"):
        setattr(other.features, name, nn.Identity())
    return other


@pytest.mark.parametrize(("depth", "growth_rate"), [(40, 12), (100, 12)])
def test_sizes_are_torchvisions(depth, growth_rate):
    with torch.device("meta"):
        other = torchvision_net(depth, growth_rate)
    model = on_meta(DenseNet, depth, growth_rate)
    assert parameters(model) == parameters(other)
    assert flops(model.net) == flops(other)


def test_the_function_is_torchvisions():
    torch.manual_seed(0)
    assert_same_function(DenseNet(40, 4).net, torchvision_net(40, 4))


def test_stages():
    model, shapes = DenseNet(), []
    for layer in model.net:
        layer.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape)))
    model(random_images(2))
    assert shapes[:3] == [(2, 24, 32, 32), (2, 96, 32, 32), (2, 48, 16, 16)]
    assert shapes[3:6] == [(2, 120, 16, 16), (2, 60, 8, 8), (2, 132, 8, 8)]


def test_a_layer_keeps_its_input():
    x = torch.randn(2, 8, 4, 4)
    y = DenseLayer(8, 3)(x)
    assert y.shape == (2, 11, 4, 4)
    assert torch.equal(y[:, :8], x)


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    assert_he(DenseNet())


def test_a_narrow_one_keeps_the_contract():
    check_model(DenseNet, growth_rate=3)


@pytest.mark.parametrize(("argument", "value"), [("growth_rate", 0), ("depth", 121)])
def test_out_of_range(argument, value):
    with pytest.raises(InputError, match=rf"^--model\.{argument}={value} is "):
        DenseNet(**{argument: value})
