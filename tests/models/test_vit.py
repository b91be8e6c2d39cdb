"""`ViT` against its papers, torchvision and timm."""

from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from datamodules.errors import InputError
from tests.helpers import random_images
from tests.models.networks import flops, on_meta, parameters
from zoo.catalogue import anatomy
from zoo.models.vit import VARIANTS, ViT

# Million parameters: Touvron et al. 2020, table 1; Dosovitskiy et al. 2020, table 1.
PAPERS = {"tiny": 5, "small": 22, "base": 86, "large": 307}


@pytest.mark.parametrize("variant", PAPERS)
def test_parameters_are_the_papers(variant):
    model = on_meta(ViT, variant, patch_size=16, num_classes=1000, image_size=224)
    assert parameters(model) // 1e6 == pytest.approx(PAPERS[variant], rel=0.01)
    with torch.device("meta"):
        if variant in ("base", "large"):
            other = getattr(torchvision.models, f"vit_{variant[0]}_16")()
        else:
            other = pytest.importorskip("timm").create_model(f"vit_{variant}_patch16_224")
    assert parameters(model) == parameters(other)


def test_parameters_of_ten_classes():
    assert parameters(on_meta(ViT)) == 811_146


def test_parameters_of_vit_lite():
    """3.717 million and 0.239 billion multiply-adds, https://github.com/SHI-Labs/Compact-Transformers."""
    width, depth, _, _ = VARIANTS["lite"]
    model = on_meta(ViT, "lite")
    assert round((parameters(model) - depth * 3 * width) / 1e6, 3) == 3.717, "without the biases that it lacks"
    with sdpa_kernel(SDPBackend.MATH):
        assert flops(model.net) / 2e9 == pytest.approx(0.239, rel=0.07)


def test_flops():
    width, depth, _, hidden = VARIANTS["micro"]
    tokens = 65
    dense = 4 * width * width + 2 * width * hidden
    attention = 2 * tokens * width
    places = 64 * 48 * width + depth * tokens * (dense + attention) + 10 * width
    with sdpa_kernel(SDPBackend.MATH):
        assert flops(on_meta(ViT).net) == 2 * places
    assert anatomy.measure(ViT).flops == 2 * places


def in_our_order(net: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters of torchvision's network, which keeps queries, keys and values in one matrix."""
    yield from (net.class_token, net.encoder.pos_embedding, *net.conv_proj.parameters())
    for block in net.encoder.layers:
        yield from block.ln_1.parameters()
        attention = block.self_attention
        for weight, bias in zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True):
            yield from (weight, bias)
        yield from (*attention.out_proj.parameters(), *block.ln_2.parameters(), *block.mlp.parameters())
    yield from (*net.encoder.ln.parameters(), *net.heads.parameters())


def test_the_function_is_torchvisions():
    torch.manual_seed(0)
    width, depth, heads, hidden = VARIANTS["micro"]
    other = torchvision.models.VisionTransformer(32, 4, depth, heads, width, hidden, num_classes=10)
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.1)
    net = ViT(dropout=0.0).net
    with torch.no_grad():
        for mine, theirs in zip(net.parameters(), in_our_order(other), strict=True):
            mine.copy_(theirs)
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(images), other(images), rtol=1e-3, atol=1e-4)
    net(images).square().sum().backward()
    other(images).square().sum().backward()
    torch.testing.assert_close(net[0].positions.grad, other.encoder.pos_embedding.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_the_logits_of_an_image_do_not_depend_on_its_batch(backend):
    torch.manual_seed(0)
    model, images = ViT(variant="tiny").eval(), random_images(7)
    nn.init.normal_(model.net[-1].weight)
    with torch.no_grad(), sdpa_kernel(backend):
        logits = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert logits.std() > 0.1
    torch.testing.assert_close(alone, logits, rtol=1e-4, atol=1e-4)


def test_a_token_for_each_patch_and_one_for_the_class():
    model = on_meta(ViT, channels=1, image_size=28)
    assert model.net[0].patches.weight.shape == (128, 1, 4, 4)
    assert model.net[:-3](torch.zeros(2, 1, 28, 28, device="meta")).shape == (2, 1 + 7 * 7, 128)


def test_dropout_follows_each_linear_layer_but_those_of_attention():
    rates = [layer.p for layer in on_meta(ViT, dropout=0.3).modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.3] * (1 + 6 * 3)


def test_weights_start_as_in_the_authors_code():
    torch.manual_seed(0)
    net = ViT("tiny").net
    assert net[0].positions.std().item() == pytest.approx(0.02, rel=0.05)
    assert net[0].patches.weight.std().item() == pytest.approx((1 / 48) ** 0.5, rel=0.05)
    assert not net[0].class_token.any()
    assert not net[-1].weight.any()
    for layer in (*net[2].dense, net[2].query, net[2].value, net[2].output[0]):
        if isinstance(layer, nn.Linear):
            bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
            assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"variant": "giant"},
            "--model.variant=giant is unknown: choose one of micro, lite, tiny, small, base, large$",
        ),
        ({"dropout": 1}, "--model.dropout=1 is out of range"),
        (
            {"patch_size": 5},
            "--model.patch_size=5 does not divide 32 x 32 pixels into patches: choose 1, 2, 4, 8, 16, 32$",
        ),
        ({"patch_size": 0}, "--model.patch_size=0 does not divide 32 x 32 pixels into patches"),
        (
            {"image_size": 30},
            "--model.patch_size=4 does not divide 30 x 30 pixels into patches: choose 1, 2, 3, 5, 6, ",
        ),
    ],
)
def test_refusals(options, line):
    with pytest.raises(InputError, match=f"^{line}"):
        ViT(**options)
