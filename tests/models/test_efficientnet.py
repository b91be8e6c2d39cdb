"""`EfficientNet` against its paper and torchvision."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from datamodules.errors import InputError
from tests.models.networks import assert_same_function, flops, on_meta, parameters
from zoo.models.efficientnet import VARIANTS, Block, EfficientNet

# Million parameters, table 2 of the paper.
PAPER = {"b0": 5.3, "b1": 7.8, "b2": 9.2, "b3": 12, "b4": 19, "b5": 30, "b6": 43, "b7": 66}


def torchvision_net(variant: str, num_classes: int = 10) -> nn.Module:
    """Return torchvision's network with the first stride for small images."""
    build = getattr(torchvision.models, f"efficientnet_{variant}")
    net = build(num_classes=num_classes, dropout=0.0, stochastic_depth_prob=0.0)
    assert net.features[0][0].stride == (2, 2)
    net.features[0][0].stride = (1, 1)
    return net


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_the_papers(variant):
    model = on_meta(EfficientNet, variant, num_classes=1000)
    assert parameters(model) / 1e6 == pytest.approx(PAPER[variant], rel=0.02)


@pytest.mark.parametrize("variant", ["b0", "b3"])
def test_sizes_are_torchvisions(variant):
    model = on_meta(EfficientNet, variant)
    with torch.device("meta"):
        other = torchvision_net(variant)
    assert parameters(model) == parameters(other)
    assert flops(model.net) == flops(other)


def test_parameters_of_ten_classes():
    assert parameters(on_meta(EfficientNet)) == 4_020_358


def test_the_function_is_torchvisions():
    torch.manual_seed(0)
    assert_same_function(EfficientNet("b0", dropout=0.0, stochastic_depth=0.0).net, torchvision_net("b0"))


def test_places():
    """A 32 x 32 image is halved four times."""
    model, sides = on_meta(EfficientNet), []
    for layer in model.net:
        layer.register_forward_hook(lambda layer, inputs, output: sides.append(output.shape[-1]))
    model(model.example_input_array)
    assert sides[:-4] == [32] * 2 + [16] * 2 + [8] * 2 + [4] * 6 + [2] * 6


def test_later_blocks_are_left_out_more_often():
    probabilities = [layer.p for layer in on_meta(EfficientNet).modules() if isinstance(layer, StochasticDepth)]
    assert probabilities == pytest.approx(torch.linspace(0, 0.2, 16).tolist())


def test_a_block_that_is_left_out_is_the_identity():
    block, x = Block(8, 8, 6, 1, 3, 0.999999).train(), torch.randn(4, 8, 6, 6)
    assert torch.equal(block(x), x)
    assert not torch.equal(block.eval()(x), x)


def test_weights_start_as_in_the_authors_code():
    """Convolutions: normal, with variance 2 / (places of a kernel x outputs in its group)."""
    torch.manual_seed(0)
    for layer in EfficientNet().modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 2000:
            outputs = layer.weight[0, 0].numel() * layer.out_channels / layer.groups
            assert layer.weight.std().item() == pytest.approx((2 / outputs) ** 0.5, rel=0.1)


def test_refusals():
    with pytest.raises(InputError, match=r"^--model\.variant=b8 is unknown: choose one of b0, b1, b2, b3, b4, b5, b6"):
        EfficientNet("b8")
    for argument in ("dropout", "stochastic_depth"):
        with pytest.raises(InputError, match=rf"^--model\.{argument}=1\.5 is out of range"):
            EfficientNet(**{argument: 1.5})
    with pytest.raises(InputError, match=r"^EfficientNet halves an image 4 times .* needs at least 17 x 17$"):
        EfficientNet(image_size=16)
