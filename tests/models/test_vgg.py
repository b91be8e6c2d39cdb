"""`VGG` against its paper and torchvision."""

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from datamodules.errors import InputError
from tests.models.networks import assert_same_function, flops, on_meta, parameters
from zoo.models.vgg import CONVOLUTIONS, VGG
from zoo.testing import check_model

# Table 1 of the paper, columns A, B, D and E: outputs of each convolution, M for a pooling.
PAPER = {
    11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
    13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
PARAMETERS = {11: 133, 13: 133, 16: 138, 19: 144}  # million, table 2 of the paper


def layers(depth: int) -> list[tuple[int, int, int]]:
    """Inputs, outputs and side of each convolution, by the paper's table."""
    found, inputs, side = [], 3, 32
    for word in PAPER[depth].split():
        if word == "M":
            side //= 2
        else:
            found.append((inputs, int(word), side))
            inputs = int(word)
    return found


@pytest.mark.parametrize("depth", CONVOLUTIONS)
def test_parameters(depth):
    """The paper's convolutions; batch norm's two parameters a channel in place of a bias; one linear layer of three."""
    weights = sum(9 * inputs * outputs for inputs, outputs, _ in layers(depth))
    channels = sum(outputs for _, outputs, _ in layers(depth))
    model = on_meta(VGG, depth)
    assert parameters(model) == weights + 2 * channels + 512 * 10 + 10
    dense = (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert round((weights + channels + dense) / 1e6) == PARAMETERS[depth]
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.net) == depth - 3


@pytest.mark.parametrize("depth", CONVOLUTIONS)
def test_flops(depth):
    places = sum(9 * inputs * outputs * side**2 for inputs, outputs, side in layers(depth)) + 512 * 10
    assert flops(on_meta(VGG, depth).net) == 2 * places


def test_a_quarter_of_the_width_is_a_sixteenth_of_the_convolutions():
    wide, narrow = on_meta(VGG, 11), on_meta(VGG, 11, 16)
    for layer, quarter in zip(wide.net[4:], narrow.net[4:], strict=True):
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.numel() == 16 * quarter.weight.numel()


def test_the_function_is_torchvisions():
    """Of its convolutions without their biases, and of one linear layer."""
    torch.manual_seed(0)
    other = make_layers(cfgs["B"], batch_norm=True)
    for layer in other:
        if isinstance(layer, nn.Conv2d):
            layer.bias = None
    assert_same_function(VGG(13).net, nn.Sequential(other, nn.Flatten(), nn.Linear(512, 10)))


@pytest.mark.parametrize(("size", "sides"), [(32, [16, 8, 4, 2, 1]), (28, [14, 7, 4, 2, 1]), (64, [32, 16, 8, 4, 2])])
def test_stages(size, sides):
    model, shapes = on_meta(VGG, 11, image_size=size), []
    for layer in model.net:
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape)))
    assert model(model.example_input_array).shape == (1, 10)
    assert shapes == [(1, width, side, side) for width, side in zip((64, 128, 256, 512, 512), sides, strict=True)]


def test_weights_start_as_in_the_paper():
    """Glorot and Bengio: variance 2 / (inputs + outputs of a unit)."""
    torch.manual_seed(0)
    convolution = [layer for layer in VGG(11).net if isinstance(layer, nn.Conv2d)][-1]
    assert convolution.weight.std().item() == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.02)


def test_a_narrow_one_keeps_the_contract():
    check_model(VGG, depth=11, width=4)


@pytest.mark.parametrize(("argument", "value"), [("width", 0), ("depth", 12), ("image_size", 16)])
def test_out_of_range(argument, value):
    with pytest.raises(InputError, match=rf"^--model\.{argument}={value} is |16 x 16 pixels are too few"):
        VGG(**{argument: value})
