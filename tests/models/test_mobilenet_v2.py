"""`MobileNetV2` against its paper, its authors' code and torchvision."""

import pytest
import torch
import torchvision
from torch import nn

from datamodules.errors import InputError
from tests.models.networks import assert_he, assert_same_function, flops, on_meta, parameters
from zoo.models.mobilenet_v2 import MobileNetV2, rounded

# Width -> million parameters without those of batch norm, from the README of the authors' code.
AUTHORS = {0.35: 1.66, 0.5: 1.95, 0.75: 2.61, 1.0: 3.47, 1.4: 6.06}


def torchvision_net(width: float, num_classes: int = 10) -> nn.Module:
    """Return torchvision's network with the strides for small images."""
    net = torchvision.models.mobilenet_v2(num_classes=num_classes, width_mult=width, dropout=0.0)
    for convolution in (net.features[0][0], net.features[2].conv[1][0]):
        assert convolution.stride == (2, 2)
        convolution.stride = (1, 1)
    return net


@pytest.mark.parametrize("width", AUTHORS)
def test_parameters_are_the_authors(width):
    model = on_meta(MobileNetV2, width, num_classes=1000)
    norms = sum(parameters(layer) for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    assert round((parameters(model) - norms) / 1e6, 2) == AUTHORS[width]
    with torch.device("meta"):
        other = torchvision_net(width, 1000)
    assert parameters(model) == parameters(other)
    assert flops(model.net) == flops(other)


def test_parameters_in_the_paper():
    """3.4 million, which leave out batch norm's, and are cut off after a digit."""
    assert parameters(on_meta(MobileNetV2, 1.0, num_classes=1000)) == 3_504_872
    assert parameters(on_meta(MobileNetV2, 1.0)) == 2_236_682
    assert parameters(on_meta(MobileNetV2)) == 700_490


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_the_function_is_torchvisions(width):
    torch.manual_seed(0)
    assert_same_function(MobileNetV2(width).net, torchvision_net(width))


def test_places():
    """A 32 x 32 image is halved three times."""
    model, sides = on_meta(MobileNetV2), []
    for layer in model.net:
        layer.register_forward_hook(lambda layer, inputs, output: sides.append(output.shape[-1]))
    model(model.example_input_array)
    assert sides[:-4] == [32] * 4 + [16] * 3 + [8] * 7 + [4] * 5


@pytest.mark.parametrize(("channels", "expected"), [(16, 16), (11.2, 16), (8.4, 8), (12, 16), (33.6, 32), (2, 8)])
def test_channels_are_rounded(channels, expected):
    """To a multiple of 8 that is no more than a tenth below: 8.4 to 8, but 11.2 to 16."""
    assert rounded(channels) == expected


def test_weights_start_as_in_he_et_al():
    torch.manual_seed(0)
    assert_he(MobileNetV2().net)


def test_dropout_is_before_the_linear_layer():
    model = on_meta(MobileNetV2, dropout=0.2)
    assert [type(layer) for layer in model.net[-2:]] == [nn.Dropout, nn.Linear]
    assert model.net[-2].p == 0.2


def test_refusals():
    with pytest.raises(InputError, match=r"^--model\.width=0 is out of range: give a number above 0"):
        MobileNetV2(0)
    with pytest.raises(InputError, match=r"^--model\.dropout=1 is out of range"):
        MobileNetV2(dropout=1)
    with pytest.raises(InputError, match=r"^MobileNetV2 halves an image 3 times .* needs at least 9 x 9$"):
        MobileNetV2(image_size=8)
