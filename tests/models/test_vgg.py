"""`VGG` against its paper."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from datamodules.errors import InputError
from tests.helpers import random_images
from zoo.models.vgg import CONVOLUTIONS, VGG

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
    model = VGG(depth)
    assert sum(p.numel() for p in model.parameters()) == weights + 2 * channels + 512 * 10 + 10
    dense = (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert round((weights + channels + dense) / 1e6) == PARAMETERS[depth]
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in model.net) == depth - 3


@pytest.mark.parametrize("depth", CONVOLUTIONS)
def test_flops(depth):
    with FlopCounterMode(display=False) as counter:
        VGG(depth).eval()(random_images(1))
    places = sum(9 * inputs * outputs * side**2 for inputs, outputs, side in layers(depth)) + 512 * 10
    assert counter.get_total_flops() == 2 * places


def test_stages():
    model, shapes = VGG(11), []
    for layer in model.net:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape)))
    assert model(random_images(2)).shape == (2, 10)
    assert shapes == [(2, 64, 16, 16), (2, 128, 8, 8), (2, 256, 4, 4), (2, 512, 2, 2), (2, 512, 1, 1)]


def test_weights_start_as_in_the_paper():
    """Glorot and Bengio: variance 2 / (inputs + outputs of a unit)."""
    torch.manual_seed(0)
    weight = VGG(11).net[-6].weight
    assert weight.std().item() == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.02)


def test_an_unknown_depth():
    with pytest.raises(InputError, match=r"--model.depth=12 is unknown: choose one of 11, 13, 16, 19"):
        VGG(12)
