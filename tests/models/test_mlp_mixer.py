"""`MLPMixer` against its paper and timm."""

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from datamodules.errors import InputError
from tests.helpers import random_images
from tests.models.networks import assert_same_function, flops, on_meta, parameters
from zoo.models.mlp_mixer import VARIANTS, Block, MLPMixer

PAPER = {"small": 18, "base": 59, "large": 207}  # million parameters with patches of 16 x 16, table 1 of the paper


@pytest.mark.parametrize("variant", PAPER)
def test_parameters_are_the_papers(variant):
    """The large one has 208 million."""
    model = on_meta(MLPMixer, variant, patch_size=16, num_classes=1000, image_size=224)
    assert parameters(model) // 1e6 == pytest.approx(PAPER[variant], rel=0.01)
    with torch.device("meta"):
        other = pytest.importorskip("timm").create_model(f"mixer_{variant[0]}16_224")
    assert parameters(model) == parameters(other)
    assert flops(model.net, (3, 224, 224)) == flops(other, (3, 224, 224))


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_by_hand(variant):
    width, depth, patch_units, channel_units = VARIANTS[variant]
    model, patches = on_meta(MLPMixer, variant), 64
    weights = depth * (2 * patches * patch_units + 2 * width * channel_units) + 48 * width + 10 * width
    biases = depth * (patches + patch_units + width + channel_units) + width + 10
    assert parameters(model) == weights + biases + (2 * depth + 1) * 2 * width
    places = depth * 2 * patches * width * (patch_units + channel_units) + patches * 48 * width + 10 * width
    assert flops(model.net) == 2 * places


def test_the_function_is_timms():
    mlp_mixer = pytest.importorskip("timm.models.mlp_mixer")
    torch.manual_seed(0)
    width, depth, *hidden = VARIANTS["micro"]
    ratios = (hidden[0] / width, hidden[1] / width)
    other = mlp_mixer.MlpMixer(10, 32, patch_size=4, num_blocks=depth, embed_dim=width, mlp_ratio=ratios)
    nn.init.normal_(other.head.weight)
    # A norm takes out what the last bias across the patches adds, so that its gradient is 0.
    assert_same_function(MLPMixer(stochastic_depth=0.0).net, other, rounding=1e-4)


def test_the_logits_of_an_image_do_not_depend_on_its_batch():
    torch.manual_seed(0)
    model, images = MLPMixer().eval(), random_images(7)
    nn.init.normal_(model.net[-1].weight)
    with torch.no_grad():
        logits = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert logits.std() > 0.1
    torch.testing.assert_close(alone, logits, rtol=1e-4, atol=1e-4)


def test_later_blocks_are_left_out_more_often():
    probabilities = [layer.p for layer in on_meta(MLPMixer).modules() if isinstance(layer, StochasticDepth)]
    assert probabilities == pytest.approx(torch.linspace(0, 0.1, 8).tolist())
    block, x = Block(9, 8, 4, 4, 0.999999).train(), torch.randn(4, 9, 8)
    assert torch.equal(block(x), x)


def test_weights_start_as_in_the_authors_code():
    torch.manual_seed(0)
    net = MLPMixer().net
    assert not net[-1].weight.any()
    for layer in net[:-1].modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            assert not layer.bias.any()
            assert layer.weight.std().item() == pytest.approx(layer.weight[0].numel() ** -0.5, rel=0.05)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"variant": "tiny"}, "--model.variant=tiny is unknown: choose one of micro, small, base, large$"),
        ({"stochastic_depth": 1}, "--model.stochastic_depth=1 is out of range"),
        (
            {"patch_size": 3},
            "--model.patch_size=3 does not divide 32 x 32 pixels into patches: choose 1, 2, 4, 8, 16, 32$",
        ),
    ],
)
def test_refusals(options, line):
    with pytest.raises(InputError, match=f"^{line}"):
        MLPMixer(**options)
