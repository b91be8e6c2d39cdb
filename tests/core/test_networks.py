"""What families of networks share: the choice of a variant, checks of arguments, initialization."""

import pytest
import torch
from torch import nn

from datamodules.errors import InputError
from tests.helpers import refusal
from tests.models.networks import assert_he
from zoo.core import networks
from zoo.models.resnet import ResNet


def test_an_unknown_variant(capsys):
    line = refusal(capsys, "fit", "--model=ResNet", "--model.depth=50", "--data.source=synthetic")
    assert "--model.depth=50 is unknown: choose one of 18, 20, 32, 34, 44, 56, 110" in line


def test_variant():
    assert networks.variant("depth", 3, {3: "three"}) == "three"


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_probability_out_of_range(value):
    networks.check_probability("dropout", 0.0)
    with pytest.raises(InputError, match=rf"^--model\.dropout={value} is out of range: "):
        networks.check_probability("dropout", value)


def test_a_width_out_of_range():
    networks.check_at_least_1("width", 1)
    with pytest.raises(InputError, match=r"^--model\.width=0 is out of range: give an integer of at least 1$"):
        networks.check_at_least_1("width", 0)


@pytest.mark.parametrize(("depth", "smallest"), [(20, 5), (18, 9)])
def test_an_image_that_is_halved_too_often(depth, smallest):
    """The last convolutions of the smallest image see 2 x 2 places."""
    shapes = []
    model = ResNet(depth, image_size=smallest).eval()
    model.net[-3].register_forward_hook(lambda layer, inputs, output: shapes.append(inputs[0].shape[2:]))
    assert model(model.example_input_array).isfinite().all()
    assert shapes == [(2, 2)]
    with pytest.raises(InputError, match=rf"^ResNet halves an image .* it needs at least {smallest} x {smallest}$"):
        ResNet(depth, image_size=smallest - 1)


def test_initialize_he():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Conv2d(64, 16, 1, bias=False), nn.Linear(100, 50))
    networks.initialize_he(net)
    assert_he(net)
    assert torch.equal(net[0].bias, torch.zeros(64))
