"""`--sam`: against the steps of the paper in a plain loop."""

import copy
import json
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from tests.callbacks import Batches
from tests.helpers import quiet_trainer, refusal, tiny_data
from zoo.core.numpy_optimizers import NumPyMomentum
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.training.callbacks import sharpness_aware
from zoo.training.callbacks.freezing import Freezing
from zoo.training.callbacks.sharpness_aware import SharpnessAware

RHO = 0.5
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


class Net(TorchClassifier):
    """A small network with batch norm."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 10))


def trained(model, optimizer, *callbacks, **options) -> tuple[L.Trainer, list]:
    model.make_optimizer, model.sam, record = optimizer, RHO, Batches()
    trainer = quiet_trainer(callbacks=[record, *callbacks], **options)
    model.check_trainer(trainer)
    trainer.fit(model, tiny_data())
    return trainer, record.batches


def gradients_there(net, loss_of, learning) -> torch.Tensor:
    """Leave the gradients at the paper's neighbor of the weights, and return the loss at the weights."""
    loss = loss_of(net)
    gradients = torch.autograd.grad(loss, learning)
    norm = sum(gradient.square().sum() for gradient in gradients).sqrt()
    there = copy.deepcopy(net)  # whose batch norm may do what it likes
    names = [name for name, p in net.named_parameters() if any(p is parameter for parameter in learning)]
    parameters = [there.get_parameter(name) for name in names]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter += RHO * gradient / norm
    found = torch.autograd.grad(loss_of(there), parameters)
    for parameter, gradient in zip(learning, found, strict=True):
        parameter.grad = gradient
    return loss


@pytest.mark.parametrize("clip", [None, 0.5])
def test_against_the_papers_steps(clip):
    """Batch norm's statistics and the logged loss are of the first pass; the gradient of the second one is clipped."""
    torch.manual_seed(0)
    model = Net()
    net = copy.deepcopy(model.net)
    trainer, batches = trained(model, SGD, SharpnessAware(), gradient_clip_val=clip)
    reference, losses = SGD(net.parameters()), []
    for images, labels in batches:
        loss_of = partial(_loss, inputs=model.normalize(images), labels=labels)
        losses.append(gradients_there(net, loss_of, list(net.parameters())))
        if clip is not None:
            assert nn.utils.clip_grad_norm_(net.parameters(), clip) > clip
        reference.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(model.net.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert model.counts, "the next batches"


def _loss(net, inputs, labels) -> torch.Tensor:
    return nn.functional.cross_entropy(net(inputs), labels)


def test_frozen_weights_stay_where_they_are():
    """The head alone climbs, by the gradient of its own."""
    torch.manual_seed(0)
    model = MLP([8])
    model.frozen_epochs = 1
    net = copy.deepcopy(model.net)
    _, batches = trained(model, SGD, Freezing(stops_backward=False), SharpnessAware())
    head = [*net[3].parameters()]
    reference = SGD(head)
    for images, labels in batches:
        gradients_there(net, partial(_loss, inputs=model.normalize(images), labels=labels), head)
        reference.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(model.net.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_scaled_gradients():
    """The scale of float16's gradients changes nothing."""
    models = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        models.append(MLP([8]))
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
        trained(models[-1], partial(torch.optim.SGD, lr=0.01), SharpnessAware(), plugins=[plugin])
    for found, expected in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("frozen", [0, 1])
def test_numpy_networks(frozen):
    torch.manual_seed(0)
    model = NumPyMLP([8])
    model.frozen_epochs = frozen
    net = nn.Sequential(nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, 10))
    layers = [net[0], net[2]]
    with torch.no_grad():
        for layer, ours in zip(layers, model.layers[1::2], strict=True):
            layer.weight.copy_(ours.weight.T)
            layer.bias.copy_(ours.bias)
    trainer, batches = trained(model, partial(NumPyMomentum, lr=0.01), Freezing())
    learning = [*net[2].parameters()] if frozen else [*net.parameters()]
    reference, losses = torch.optim.SGD(learning, lr=0.01, momentum=0.9), []
    for images, labels in batches:
        inputs = torch.from_numpy(np.array(model.normalized(images))).flatten(1)
        losses.append(gradients_there(net, partial(_loss, inputs=inputs, labels=labels), learning))
        reference.step()
    for layer, ours in zip(layers, model.layers[1::2], strict=True):
        torch.testing.assert_close(ours.weight.detach().T, layer.weight.detach(), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(ours.bias.detach(), layer.bias.detach(), rtol=1e-3, atol=1e-5)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-4)


def test_an_optimizer_that_computes_the_loss_several_times(monkeypatch):
    """Every gradient is a sharpness-aware one, and each batch counts once."""
    climbs, counted, climb = [], [], sharpness_aware._climb
    monkeypatch.setattr(sharpness_aware, "_climb", lambda *arguments: climbs.append(1) or climb(*arguments))
    torch.manual_seed(0)
    model = MLP([4])
    count = model.count
    model.count = lambda *arguments: counted.append(model.counts) or count(*arguments)
    trained(model, partial(torch.optim.LBFGS, max_iter=3), SharpnessAware(), limit_val_batches=0)
    assert 2 * len(climbs) == len(counted) > 8
    assert sum(counted) == 4


def test_an_error_in_the_second_pass_leaves_the_weights():
    class Breaks(MLP):
        def training_step(self, batch, batch_idx):
            if not self.counts:
                raise RuntimeError("out of memory")
            return super().training_step(batch, batch_idx)

    model = Breaks([4])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(RuntimeError, match="out of memory"):
        trained(model, SGD, SharpnessAware())
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert model.counts


class Manual(MLP):
    """A network that makes its steps itself."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes=num_classes)
        self.automatic_optimization = False


SCHEDULER = "lightning.pytorch.callbacks.GradientAccumulationScheduler"
ACCUMULATES = json.dumps([{"class_path": SCHEDULER, "init_args": {"scheduling": {"0": 1, "1": 2}}}])
TWICE = "leave out one of --sam and --trainer.accumulate_grad_batches"
REFUSED = {
    "--model=MLP --sam=-0.1": "--sam=-0.1 is out of range: give a finite number of at least 0",
    "--model=MLP --sam=0.05 --trainer.accumulate_grad_batches=2": TWICE,
    "--sam=0.05 --model=tests.training.test_sharpness_aware.Manual": "Manual makes its optimizer steps itself",
}


@pytest.mark.parametrize("options", REFUSED)
def test_refusals(options, capsys):
    assert REFUSED[options] in refusal(capsys, "fit", "--data.source=synthetic", *options.split())


def test_a_schedule_of_accumulation_is_refused(capsys):
    command = ["fit", "--model=MLP", "--data.source=synthetic", "--sam=0.05", f"--trainer.callbacks={ACCUMULATES}"]
    assert TWICE in refusal(capsys, *command)
