"""`ResNet` against its paper and torchvision, and its residual block against a plain formula."""

import pytest
import torch
import torch.nn.functional as F
import torchvision

from tests.helpers import random_images
from tests.models.networks import assert_he, assert_same_function, flops, on_meta, parameters
from zoo.models.resnet import BLOCKS, ResidualBlock, ResNet

PAPER = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}  # million parameters, table 6 of the paper


@pytest.mark.parametrize("depth", PAPER)
def test_parameters_are_the_papers(depth):
    model, blocks = on_meta(ResNet, depth), (depth - 2) // 6
    assert round(parameters(model) / 1e6, 1 if depth == 110 else 2) == PAPER[depth]
    weights = 27 * 16 + sum((2 * blocks - 1) * 9 * w * w + 9 * w * max(w // 2, 16) for w in (16, 32, 64)) + 64 * 10 + 10
    assert parameters(model) == weights + 2 * 16 + 2 * 2 * blocks * (16 + 32 + 64), "and two of batch norm a channel"
    assert sum(isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) for layer in model.modules()) == depth


@pytest.mark.parametrize("depth", PAPER)
def test_flops(depth):
    """Stages cost alike: half the side goes with twice the channels. The first block of a stage has half the inputs."""
    blocks = (depth - 2) // 6
    full = 9 * 16 * 16 * 32**2  # of a convolution inside any stage
    places = 27 * 16 * 32**2 + (6 * blocks - 2) * full + 2 * full // 2 + 640
    assert flops(on_meta(ResNet, depth).net) == 2 * places


def torchvision_resnet(depth: int) -> torch.nn.Module:
    """Return torchvision's network with a first convolution of 3 x 3, and without its max pooling."""
    other = {18: torchvision.models.resnet18, 34: torchvision.models.resnet34}[depth](num_classes=10)
    other.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    other.maxpool = torch.nn.Identity()
    return other


@pytest.mark.parametrize(("depth", "number"), [(18, 11_173_962), (34, 21_282_122)])
def test_the_wide_depths_are_torchvisions(depth, number):
    model = on_meta(ResNet, depth)
    with torch.device("meta"):
        other = torchvision_resnet(depth)
    assert parameters(model) == parameters(other) == number
    assert flops(model.net) == flops(other)
    assert {18, 34} | set(PAPER) == set(BLOCKS)


def test_depth_18_is_the_function_of_torchvision():
    torch.manual_seed(0)
    assert_same_function(ResNet(18).net, torchvision_resnet(18))


def test_stages():
    model, shapes = ResNet(20), []
    for layer in model.net:
        layer.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape)))
    model(random_images(2))
    stages = [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    assert shapes == [(2, 16, 32, 32)] * 3 + stages + [(2, 64, 1, 1), (2, 64), (2, 10)]


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (4, 8)])
def test_a_block_is_the_papers_formula(inputs, outputs):
    """relu(norm(w2 * relu(norm(w1 * x))) + shortcut): the shortcut is x, or every other pixel and channels of zeros."""
    torch.manual_seed(0)
    block, x = ResidualBlock(inputs, outputs), torch.randn(3, inputs, 6, 6)
    for norm in (block.norm1, block.norm2):
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
    stride = outputs // inputs
    y = F.conv2d(x, block.conv1.weight, stride=stride, padding=1)
    y = F.batch_norm(y, None, None, block.norm1.weight, block.norm1.bias, training=True).relu()
    y = F.conv2d(y, block.conv2.weight, padding=1)
    y = F.batch_norm(y, None, None, block.norm2.weight, block.norm2.bias, training=True)
    shortcut = torch.zeros_like(y)
    shortcut[:, :inputs] = x if stride == 1 else F.max_pool2d(x, 1, 2)
    torch.testing.assert_close(block(x), (y + shortcut).relu())
    block(x).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in block.parameters())


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    assert_he(ResNet(20))
