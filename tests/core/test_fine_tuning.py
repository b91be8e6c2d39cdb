"""Layers of networks and rates that fall by layer, against timm, PyTorch's own groups, and NumPy against torch."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from datamodules.errors import InputError
from tests.callbacks import Batches
from tests.helpers import quiet_trainer, tiny_data
from zoo.core import fine_tuning
from zoo.core.numpy_optimizers import NumPyAdam, NumPyMomentum
from zoo.core.schedules import Cosine
from zoo.core.torch_classifier import TorchClassifier
from zoo.core.torch_optimizers import DecoupledSGD, MuonSGD
from zoo.models.cnn import CNN
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.resnet import ResNet
from zoo.models.speedrun_net import SpeedrunNet
from zoo.models.vgg import VGG


class Pair(TorchClassifier):
    """A network whose head is named: by its path, or as a module `head`."""

    def __init__(self, head: str = "net.0", num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
        if head == "module":
            self.head = nn.Linear(4, 4)
        elif head:
            self.head = head


# The head.


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (CNN(), "net.9"),
        (ResNet(), "net.8"),
        (SpeedrunNet(widths=[8, 8, 8]), "net.7"),
        (MLP([]), "net.1"),
        (NumPyMLP([8, 4]), "layers.5"),
        (NumPyMLP([]), "layers.1"),
        (Pair("net.1"), "net.1"),
        (Pair("net"), "net"),
        (Pair("module"), "head"),
    ],
)
def test_head(model, path):
    assert model.head_path() == path


def test_a_head_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"^Pair\.head is 'net\.2', no module with parameters\. Did you mean 'net\.1'"):
        Pair("net.2").head_path()
    with pytest.raises(InputError, match=r"Pair\.head is 'net\.0', no module with parameters"):
        Pair("net.0").head_path()
    with pytest.raises(InputError, match=r"Pair has no nn\.Linear of 7 outputs"):
        Pair("", num_classes=7).head_path()


# Layers.


def sizes(network: nn.Module, head: str) -> list[int]:
    return [sum(p.numel() for p in layer) for layer in fine_tuning.layers(network, network.get_submodule(head))]


def numbers(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_layers_of_a_chain():
    """Batch norm belongs to the convolution before it."""
    net = VGG(11).net
    convolutions = [i for i, module in enumerate(net) if isinstance(module, nn.Conv2d)]
    expected = [numbers(net[i], net[i + 1]) for i in convolutions] + [numbers(net[-1])]
    assert sizes(net, str(len(net) - 1)) == expected


def test_blocks_are_layers():
    """A residual block is one; stages, which are Sequentials in a Sequential, are opened."""
    net = ResNet(20).net
    expected = [numbers(net[0], net[1]), *(numbers(block) for stage in net[3:6] for block in stage), numbers(net[8])]
    assert sizes(net, "8") == expected
    assert len(expected) == 11


def test_layers_of_numpy_networks():
    assert sizes(NumPyMLP([8, 4]), "layers.5") == [3072 * 8 + 8, 8 * 4 + 4, 4 * 10 + 10]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "deit_tiny_patch16_224", "mixer_s32_224"])
def test_rates_of_networks_of_timm(name):
    """timm has the layers of each of its networks as patterns of names."""
    timm = pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

    network = timm.create_model(name)
    expected = {
        parameter: group["lr_scale"]
        for group in param_groups_layer_decay(network, layer_decay=0.8)
        for parameter in group["params"]
    }
    head = network.get_classifier()
    groups = fine_tuning.falling_rates(network.parameters(), fine_tuning.layers(network, head), 0.8)
    found = {parameter: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert found.keys() == expected.keys()
    for parameter_name, parameter in network.named_parameters():
        assert found[parameter] == pytest.approx(expected[parameter]), parameter_name


# Rates that fall by layer.


def trained(model, optimizer, epochs: int = 2, **attributes) -> list[tuple[Tensor, Tensor]]:
    """Train a model, and return the batches."""
    model.make_optimizer = optimizer
    for name, value in attributes.items():
        setattr(model, name, value)
    record = Batches()
    quiet_trainer(max_epochs=epochs, callbacks=[record]).fit(model, tiny_data())
    return record.batches


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01),
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    ],
)
def test_against_groups_by_hand(optimizer):
    """PyTorch's own groups and schedule: the rates are 0.5, 0.25 and 0.125 below the head's."""
    torch.manual_seed(0)
    model = CNN()
    net = copy.deepcopy(model.net)
    batches = trained(model, optimizer, layer_decay=0.5, lr_schedule=Cosine(warmup=0), decay_norms=True)

    lr = optimizer.keywords["lr"]
    layers = [net[i] for i in (9, 7, 3, 0)]
    groups = [{"params": list(layer.parameters()), "lr": lr * 0.5**i} for i, layer in enumerate(layers)]
    reference = optimizer(groups)
    cosine = torch.optim.lr_scheduler.LambdaLR(reference, lambda step: Cosine(warmup=0)((step + 0.5) / len(batches)))
    assert len(batches) == 8
    for images, labels in batches:
        reference.zero_grad()
        nn.functional.cross_entropy(net(model.normalize(images)), labels).backward()
        reference.step()
        cosine.step()
    for (name, found), expected in zip(model.net.named_parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(found, expected, msg=name, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            partial(NumPyMomentum, lr=0.01, beta=0.9, weight_decay=0.01),
            partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=0.01),
        ),
        (partial(NumPyAdam, lr=0.001), partial(torch.optim.Adam, lr=0.001)),
    ],
)
def test_numpy_networks_against_groups_by_hand(ours, theirs):
    torch.manual_seed(0)
    model = NumPyMLP([8, 6])
    other = copy.deepcopy(model)
    trained(model, ours, layer_decay=0.5, decay_norms=True)

    def by_hand(parameters):
        lr = theirs.keywords["lr"]
        scales = zip(other.layers[1::2], (0.25, 0.5, 1.0), strict=True)
        return theirs([{"params": list(layer.parameters()), "lr": lr * scale} for layer, scale in scales])

    trained(other, by_hand)
    for found, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", [MuonSGD, DecoupledSGD])
def test_roles_keep_their_rates(optimizer):
    """The rate of a role is multiplied by that of the layer: 0.5 per layer, of whitening, three blocks and head."""
    model = SpeedrunNet(widths=[8, 8, 8])
    rates = {id(p): group["lr"] for group in optimizer(model.parameter_groups()).param_groups for p in group["params"]}
    model.make_optimizer, model.layer_decay = optimizer, 0.5
    found = {
        name: group["lr"] * group["lr_scale"] / rates[id(p)]
        for group in model.build_optimizer().param_groups
        for p in group["params"]
        for name, own in model.named_parameters()
        if own is p
    }
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    depths = {"net.7": 0, "net.4": 1, "net.3": 2, "net.2": 3, "net.0": 4}
    for name, scale in found.items():
        assert scale == 0.5 ** depths[name[:5]], name


def test_the_logged_rate_is_that_of_the_head():
    model = CNN()
    trained(model, partial(torch.optim.SGD, lr=0.1), epochs=1, layer_decay=0.5)
    assert model.last_lr() == 0.1
