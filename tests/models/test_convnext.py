"""`ConvNeXt` against its papers, torchvision and timm."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.ops import StochasticDepth

from datamodules.errors import InputError
from tests.models.networks import assert_same_function, flops, on_meta, parameters
from zoo.models.convnext import VARIANTS, Block, ConvNeXt

# Million parameters: table 1 of Woo et al. 2023, whose blocks have 8 x width parameters more, and of Liu et al. 2022.
PAPERS = {"atto": 3.7, "femto": 5.2, "pico": 9.1, "nano": 15.6, "tiny": 29, "small": 50, "base": 89, "large": 198}


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_the_papers(variant):
    model = on_meta(ConvNeXt, variant, patch_size=4, num_classes=1000, image_size=224)
    assert parameters(model) / 1e6 == pytest.approx(PAPERS[variant], rel=0.015)
    with torch.device("meta"):
        if variant in ("tiny", "small", "base", "large"):
            other = getattr(torchvision.models, f"convnext_{variant}")()
        else:
            other = pytest.importorskip("timm").create_model(f"convnext_{variant}")
    assert parameters(model) == parameters(other)
    assert flops(model.net, (3, 224, 224)) == flops(other, (3, 224, 224))


def test_parameters_of_ten_classes():
    assert parameters(on_meta(ConvNeXt)) == 3_376_290


@pytest.mark.parametrize("patch_size", [1, 2, 4])
def test_the_function_is_torchvisions(patch_size):
    torch.manual_seed(0)
    width, blocks = VARIANTS["atto"]
    widths = [width, 2 * width, 4 * width, 8 * width, None]
    stages = [CNBlockConfig(widths[i], widths[i + 1], count) for i, count in enumerate(blocks)]
    other = torchvision.models.ConvNeXt(stages, num_classes=10)
    other.features[0][0] = nn.Conv2d(3, width, patch_size, stride=patch_size)
    for name, parameter in other.named_parameters():
        if name.endswith("layer_scale"):  # which starts so near 0 that blocks would not count
            nn.init.uniform_(parameter, 0.5, 1.5)
    assert_same_function(ConvNeXt(patch_size=patch_size, stochastic_depth=0.0).net, other)


def test_later_blocks_are_left_out_more_often():
    model = on_meta(ConvNeXt, "tiny", stochastic_depth=0.4)
    probabilities = [layer.p for layer in model.modules() if isinstance(layer, StochasticDepth)]
    assert probabilities == pytest.approx(torch.linspace(0, 0.4, 18).tolist())


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    model = ConvNeXt()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not layer.bias.any()
            if layer.weight.numel() > 2000:
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        if isinstance(layer, Block):
            torch.testing.assert_close(layer.scale, torch.full((layer.scale.numel(), 1, 1), 1e-6))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"variant": "xl"}, "--model.variant=xl is unknown: choose one of atto, femto, pico, nano, tiny, small, base"),
        ({"stochastic_depth": -1}, "--model.stochastic_depth=-1 is out of range"),
        (
            {"patch_size": 8},
            "--model.patch_size=8 does not divide 32 x 32 pixels into at least 8 x 8 patches: choose 1, 2, 4",
        ),
        (
            {"image_size": 31},
            "--model.patch_size=2 does not divide 31 x 31 pixels into at least 8 x 8 patches: choose 1",
        ),
        ({"image_size": 7}, "--model.patch_size=2 does not divide .* patches: images need at least 8 pixels a side"),
    ],
)
def test_refusals(options, line):
    with pytest.raises(InputError, match=f"^{line}"):
        ConvNeXt(**options)
