"""Penalties on weights, and weight decay that spares biases and normalization: against torch's own optimizers."""

import copy
from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from tests.callbacks import Batches
from tests.helpers import quiet_trainer, refusal, run_of, tiny_data, weights
from zoo.core import regularization
from zoo.core.numpy_optimizers import NumPyAdam, NumPyMomentum, NumPySGD
from zoo.core.torch_classifier import TorchClassifier
from zoo.core.torch_optimizers import DecoupledSGD, MuonSGD
from zoo.models.convnext import ConvNeXt
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.speedrun_net import SpeedrunNet
from zoo.models.timm_model import TimmModel
from zoo.models.vit import ViT


class Net(TorchClassifier):
    """A small network with batch norm, and layer norm over two dimensions."""

    memory_format = torch.contiguous_format  # for LBFGS

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        below = [nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.LayerNorm((8, 8)), nn.ReLU(), nn.Flatten()]
        self.net = nn.Sequential(*below, nn.Linear(256, self.num_outputs))


OF_NET = ["net.0.weight", "net.5.weight"]


def trained(model, optimizer, attributes: dict, **options) -> tuple[L.Trainer, list]:
    """Train a model for an epoch; return the trainer and the batches."""
    model.make_optimizer, record = optimizer, Batches()
    for name, value in attributes.items():
        setattr(model, name, value)
    trainer = quiet_trainer(callbacks=[record], **options)
    model.check_trainer(trainer)
    trainer.fit(model, tiny_data())
    return trainer, record.batches


def assert_close(found: nn.Module, expected: nn.Module) -> None:
    for (name, value), other in zip(found.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, other, msg=name, rtol=1e-4, atol=1e-6)


def test_weights_are_neither_biases_nor_of_norms():
    model = Net()
    named = {parameter: name for name, parameter in model.named_parameters()}
    assert [named[weight] for weight in regularization.weights(model)] == OF_NET


@pytest.mark.parametrize(
    ("model", "left_out"),
    [
        (ViT, {"net.0.class_token", "net.0.positions"}),
        (ConvNeXt, {f"net.{place}.scale" for place in (4, 5)}),
        (partial(TimmModel, "vit_tiny_patch16_224"), {"net.cls_token", "net.pos_embed"}),
    ],
)
def test_a_module_can_name_others_that_are_left_out(model, left_out):
    model = model()
    weights = set(regularization.weights(model))
    found = {name for name, parameter in model.named_parameters() if parameter.ndim >= 2 and parameter not in weights}
    assert found >= left_out
    assert all("norm" in name or name.endswith(("scale", "token", "positions", "embed")) for name in found)


# Penalties.


@pytest.mark.parametrize(("l1", "l2"), [(0.02, 0.0), (0.0, 0.3), (0.02, 0.3)])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_penalties_are_part_of_the_loss_that_training_lowers(l1, l2, clip, accumulated):
    """Autograd differentiates the loss and the penalties; then the gradient is clipped. The logged loss has none."""
    torch.manual_seed(0)
    model = Net()
    net, sgd = copy.deepcopy(model.net), partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    options = {"accumulate_grad_batches": accumulated, "gradient_clip_val": clip}
    trainer, batches = trained(model, sgd, {"l1": l1, "l2": l2}, **options)
    reference, losses = sgd(net.parameters()), []
    for number, (images, labels) in enumerate(batches, start=1):
        losses.append(nn.functional.cross_entropy(net(model.normalize(images)), labels))
        (losses[-1] / accumulated).backward()
        if number % accumulated == 0:
            decayed = (net[0].weight, net[5].weight)
            sum(l1 * weight.abs().sum() + l2 / 2 * weight.square().sum() for weight in decayed).backward()
            if clip is not None:
                assert nn.utils.clip_grad_norm_(net.parameters(), clip) > clip
            reference.step()
            reference.zero_grad()
    assert_close(model.net, net)
    loss = torch.stack(losses).mean().item()
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss, rel=1e-4)


def test_penalties_of_scaled_gradients():
    """A scaler multiplies the gradients of float16; the penalties are added once they are divided again."""
    models = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        models.append(MLP([8]))
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        sgd = partial(torch.optim.SGD, lr=0.01)
        trained(models[-1], sgd, {"l1": 0.02, "l2": 0.3}, plugins=[plugin])
    for found, expected in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)
    assert not torch.equal(models[0].net[1].weight, MLP([8]).net[1].weight)


def test_an_optimizer_that_unscales_itself_is_refused(capsys, monkeypatch):
    """Lightning takes bfloat16 for float16 on a CPU, so that no scaler is at work here."""
    monkeypatch.setattr(L.Trainer, "precision", "16-mixed")
    command = ["fit", "--model=MLP", "--data.source=synthetic", "--optimizer=AdamW", "--optimizer.fused=true"]
    assert "leave out --optimizer.fused" in refusal(capsys, *command, "--l2=0.1")


@pytest.mark.parametrize("option", ["--l1=-0.1", "--l2=-0.1"])
@pytest.mark.parametrize("model", ["MLP", "NumPyMLP"])
def test_penalties_out_of_range(option, model, capsys):
    error = refusal(capsys, "fit", f"--model={model}", "--data.source=synthetic", option)
    assert f"{option} is out of range: give a finite number of at least 0" in error


# Weight decay.


def by_name(model, optimizer) -> dict[str, dict]:
    """Return the options of each parameter's group."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group for group in optimizer.param_groups for parameter in group["params"]}


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
        partial(torch.optim.AdamW, lr=0.01, weight_decay=1.0),
        partial(torch.optim.Adam, lr=0.01, weight_decay=1.0, eps=1e-3),
    ],
)
@pytest.mark.parametrize("decay_norms", [False, True])
def test_decay_against_groups_by_hand(optimizer, decay_norms):
    torch.manual_seed(0)
    model = Net()
    net = copy.deepcopy(model.net)
    _, batches = trained(model, optimizer, {"decay_norms": decay_norms})
    decayed = [net[0].weight, net[5].weight]
    others = [net[0].bias, *net[1].parameters(), *net[2].parameters(), net[5].bias]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    reference = optimizer([*decayed, *others] if decay_norms else groups)
    for images, labels in batches:
        reference.zero_grad()
        nn.functional.cross_entropy(net(model.normalize(images)), labels).backward()
        reference.step()
    assert_close(model.net, net)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (partial(NumPySGD, lr=0.01), partial(torch.optim.SGD, lr=0.01)),
        (partial(NumPyMomentum, lr=0.01, beta=0.9), partial(torch.optim.SGD, lr=0.01, momentum=0.9)),
        (partial(NumPyAdam, lr=0.001, epsilon=1e-3), partial(torch.optim.Adam, lr=0.001, eps=1e-3)),
    ],
)
def test_decay_of_numpy_networks(ours, theirs):
    """PyTorch's optimizers drive a copy, by groups of weights and biases."""
    torch.manual_seed(0)
    model = NumPyMLP([8, 6])
    other = copy.deepcopy(model)

    def by_hand(parameters):
        kinds = [
            [getattr(layer, kind) for layer in other.layers if hasattr(layer, kind)] for kind in ("weight", "bias")
        ]
        return theirs([{"params": kinds[0], "weight_decay": 0.5}, {"params": kinds[1]}])

    trained(model, partial(ours, weight_decay=0.5), {})
    trained(other, by_hand, {"decay_norms": True})
    assert_close(model, other)


def test_groups_for_rates_and_decay_at_once():
    model = MLP([4])
    model.layer_decay, model.make_optimizer = 0.5, partial(torch.optim.AdamW, weight_decay=0.1)
    found = {name: (g["lr_scale"], g["weight_decay"]) for name, g in by_name(model, model.build_optimizer()).items()}
    assert found == {
        "net.1.weight": (0.5, 0.1), "net.1.bias": (0.5, 0.0), "net.3.weight": (1.0, 0.1), "net.3.bias": (1.0, 0.0),
    }  # fmt: skip


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.LBFGS, torch.optim.Rprop])
def test_optimizers_without_decay_have_one_group(optimizer):
    model = Net()
    model.make_optimizer = partial(optimizer, lr=0.1)
    assert len(model.build_optimizer().param_groups) == 1


@pytest.mark.parametrize("optimizer", [MuonSGD, DecoupledSGD])
def test_optimizers_of_the_records(optimizer):
    """They decay the head of any network, and all but the filters of their own, as in the recipes."""
    plain, record = Net(), SpeedrunNet(widths=[8, 8, 8])
    plain.make_optimizer = record.make_optimizer = optimizer
    spared = {name for name, group in by_name(plain, plain.build_optimizer()).items() if not group["weight_decay"]}
    assert spared == {name for name, p in plain.named_parameters() if p.ndim == 1} | {
        *(["net.0.weight"] if optimizer is MuonSGD else []), "net.2.weight", "net.2.bias"
    }  # fmt: skip
    groups = [[group[key] for key in ("role", "lr", "weight_decay")] for group in record.build_optimizer().param_groups]
    expected = optimizer(record.parameter_groups()).param_groups
    assert groups == [[group[key] for key in ("role", "lr", "weight_decay")] for group in expected]


def test_a_group_that_says_its_decay_keeps_it():
    model = MLP([4])
    first, *others = model.parameters()
    model.parameter_groups = lambda: [{"params": [first], "weight_decay": 0.7}, {"params": others}]
    model.make_optimizer = partial(torch.optim.SGD, lr=0.1, weight_decay=0.1)
    found = {name: group["weight_decay"] for name, group in by_name(model, model.build_optimizer()).items()}
    assert found == {"net.1.weight": 0.7, "net.1.bias": 0.0, "net.3.weight": 0.1, "net.3.bias": 0.0}


def test_a_resumed_run_may_let_norms_decay():
    """The optimizer, which has other groups then, starts anew."""
    data = ["--data.source=synthetic", "--data.train_size=32", "--data.val_size=8", "--data.test_size=8"]
    run = run_of("fit", "--model=MLP", *data, "--trainer.max_epochs=1", "--trainer.enable_model_summary=false")
    longer = run_of("fit", f"--ckpt={run}", "--trainer.max_epochs=2", "--decay_norms=true")
    assert "decay_norms: true\n" in (longer / "config.yaml").read_text()
    assert not torch.equal(weights(run)["net.1.bias"], weights(longer)["net.1.bias"])
