"""`--freeze`: frozen weights stay bit by bit, and the head learns as a linear layer on fixed features does."""

import copy
import json
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

import cli
from tests.helpers import quiet_trainer, run_of, tiny_data, weights
from zoo.core import numpy_optimizers, torch_optimizers
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.numpy_mlp import NumPyMLP
from zoo.models.speedrun_net import SpeedrunNet
from zoo.scratch.network import Network
from zoo.training.callbacks.freezing import Freezing


class Net(TorchClassifier):
    """A small network with batch norm and dropout below its head."""

    memory_format = torch.contiguous_format  # for LBFGS

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        below = [nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout()]
        self.net = nn.Sequential(*below, nn.Linear(256, self.num_outputs))


class Epochs(L.Callback):
    """Records the state at the start of training and after each epoch, and the batches of the first epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []
        self.batches: list = []

    def on_train_start(self, trainer, pl_module):
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 0:
            self.batches.append((batch.images.clone(), batch.labels.clone()))

    def on_train_epoch_end(self, trainer, pl_module):
        self.on_train_start(trainer, pl_module)


def fit(model, optimizer, frozen: int = 1, epochs: int = 2, record: Epochs | None = None, **options) -> Epochs:
    record, model.frozen_epochs, model.make_optimizer = record or Epochs(), frozen, optimizer
    trainer = quiet_trainer(max_epochs=epochs, callbacks=[Freezing(), record], **options)
    model.check_trainer(trainer)
    trainer.fit(model, tiny_data())
    return record


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


DECAY = {"weight_decay": 0.1}
OPTIMIZERS = {
    **{name: {"lr": 0.01} | DECAY for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax")},
    **{name: {"lr": 0.01} | DECAY for name in ("NAdam", "RAdam", "RMSprop")},
    "Rprop": {"lr": 0.01},
    "LBFGS": {"lr": 0.01},
    "SGD": {"lr": 0.01, "momentum": 0.9, "nesterov": True} | DECAY,
    "MuonSGD": {},
    "DecoupledSGD": {"momentum": 0.9},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_head_alone_learns_at_first(name):
    home = torch_optimizers if hasattr(torch_optimizers, name) and name != "SGD" else torch.optim
    record = fit(Net(), lambda parameters: getattr(home, name)(parameters, **OPTIMIZERS[name]))
    start, first, second = record.states
    head = {"net.5.weight", "net.5.bias"}
    assert changed(start, first) == head
    assert changed(first, second) >= head | {"net.0.weight", "net.1.running_mean", "net.1.num_batches_tracked"}


@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=0.1),
        partial(numpy_optimizers.NumPySGD, lr=0.01, weight_decay=0.1),
        partial(numpy_optimizers.NumPyMomentum, lr=0.01, weight_decay=0.1),
        partial(numpy_optimizers.NumPyAdam, lr=0.01, weight_decay=0.1),
    ],
)
def test_the_head_alone_learns_at_first_in_numpy(optimizer):
    """With a penalty on the weights and clipped gradients, in calls of several steps."""
    model, record = NumPyMLP([8, 6]), Epochs()
    model.l2 = 0.1
    record.every_n_steps = None  # for calls of several steps
    start, first, second = fit(model, optimizer, record=record, gradient_clip_val=0.5).states
    head = {"layers.5.weight", "layers.5.bias"}
    assert changed(start, first) == head
    assert changed(first, second) == head | {f"layers.{i}.{kind}" for i in (1, 3) for kind in ("weight", "bias")}


@pytest.mark.parametrize("optimizer", [torch_optimizers.MuonSGD, torch_optimizers.DecoupledSGD])
def test_the_record_network(optimizer):
    """Its groups by role stay, and its loss stays that of training."""
    start, first, second = fit(SpeedrunNet(widths=[8, 8, 8]), optimizer).states
    assert changed(start, first) == {"net.7.weight"}
    assert "net.2.convolutions.0.weight" in changed(first, second)


@pytest.mark.parametrize("stops_backward", [True, False])
def test_against_a_linear_layer_on_features(stops_backward):
    """The features are those of evaluation mode; the gradient that is clipped is that of the linear layer alone."""
    torch.manual_seed(0)
    model, record = Net(), Epochs()
    features, head = copy.deepcopy(model.net[:5]).eval(), copy.deepcopy(model.net[5])
    model.frozen_epochs, model.make_optimizer = 1, partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    trainer = quiet_trainer(callbacks=[Freezing(stops_backward), record], gradient_clip_val=0.5)
    trainer.fit(model, tiny_data())
    groups = [{"params": [head.weight], "weight_decay": 0.1}, {"params": [head.bias]}]
    reference = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    assert len(record.batches) == 4
    for images, labels in record.batches:
        with torch.no_grad():
            inputs = features(model.normalize(images))
        reference.zero_grad()
        nn.functional.cross_entropy(head(inputs), labels).backward()
        norm = nn.utils.clip_grad_norm_(head.parameters(), 0.5)
        reference.step()
    assert norm > 0.5
    torch.testing.assert_close(model.net[5].weight, head.weight)
    torch.testing.assert_close(model.net[5].bias, head.bias)


def test_numpy_clips_the_gradient_of_the_head_alone():
    """Against that layer on the features that stay."""
    torch.manual_seed(0)
    model = NumPyMLP([8])
    before = copy.deepcopy(model)
    optimizer = partial(numpy_optimizers.NumPySGD, lr=0.1)
    record = fit(model, optimizer, epochs=1, gradient_clip_val=0.1)
    weight, bias = (tensor.clone().requires_grad_() for tensor in before.layers[3].parameters())
    for images, labels in record.batches:
        hidden = Network(before.network.layers[:3])
        inputs = torch.from_numpy(hidden.forward(before.normalized(images)).copy())
        gradients = torch.autograd.grad(nn.functional.cross_entropy(inputs @ weight + bias, labels), [weight, bias])
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip((weight, bias), gradients, strict=True):
                parameter -= 0.1 * gradient * min(1.0, 0.1 / (norm + 1e-6))
    torch.testing.assert_close(model.layers[3].weight.detach(), weight.detach(), rtol=1e-4, atol=1e-6)


def test_modes_are_those_of_before_at_the_end():
    model = Net()
    model.net[4].eval()  # by its author
    modes = {name: module.training for name, module in model.named_modules()}
    fit(model, partial(torch.optim.SGD, lr=0.1), frozen=5, epochs=1)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.frozen == []
    assert not model.net[5]._forward_pre_hooks


# By the command line.

FIT = ["fit", "--data.source=synthetic", "--data.train_size=36", "--data.val_size=20", "--data.test_size=20"]
FIT += ["--data.batch_size=8", "--trainer.max_epochs=3", "--trainer.log_every_n_steps=1", "--lr_schedule=Cosine"]
FIT += ["--freeze=2", "--layer_decay=0.5", "--trainer.enable_model_summary=false"]


def stop_after(step: int) -> str:
    callback = {"class_path": "tests.callbacks.SignalAfter", "init_args": {"step": step}}
    return f"--trainer.callbacks={json.dumps([callback])}"


CNN, NUMPY = ["--model=ImprovedCNN"], ["--model=NumPyMLP", "--model.hidden_sizes=[8]", "--optimizer=NumPyAdam"]


@pytest.mark.parametrize(
    ("model", "step"),
    [(CNN, 3), (CNN, 12), (NUMPY, 3), (NUMPY, 7), (NUMPY, 12)],
    ids=["frozen-3", "learning-12", "numpy-frozen-3", "numpy-frozen-7", "numpy-learning-12"],
)
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(model, step):
    """With dropout and batch norm. Of five steps an epoch, ten are frozen."""
    whole = run_of(*FIT, *model, "--name=whole")
    run = run_of(*FIT, *model, "--name=cut", stop_after(step), code=143)
    assert cli.main(["fit", f"--resume={run}", f"--config={run}/config.yaml"]) == 0
    assert changed(weights(whole), weights(run)) == set()


def test_says_what_is_frozen(capsys):
    assert cli.main([*FIT, "--model=CNN", "--trainer.fast_dev_run=true"]) == 0
    assert "Frozen: all but net.9, in the first 2 epochs\n" in capsys.readouterr().out


def test_compiled_steps_keep_the_backward_pass(monkeypatch):
    """The hook that ends it is not registered, so that it cannot be compiled into the network."""
    from zoo.training import fit_command

    built = []
    monkeypatch.setattr(fit_command, "Freezing", lambda **options: built.append(options) or Freezing(**options))
    monkeypatch.setattr(fit_command.compilation, "check_compiler", lambda device: None)
    monkeypatch.setattr(fit_command.compilation, "CompiledSteps", L.Callback)
    for compiles in (True, False):
        assert cli.main([*FIT, "--model=CNN", "--trainer.fast_dev_run=true", f"--compile={compiles}"]) == 0
    assert built == [{"stops_backward": False}, {"stops_backward": True}]


def test_a_checkpoint_hands_its_options_on():
    run = run_of(*FIT, "--model=CNN", "--trainer.max_epochs=1")
    longer = run_of("fit", f"--ckpt={run}", "--trainer.max_epochs=2")
    text = (longer / "config.yaml").read_text()
    assert "freeze: 2\n" in text
    assert "layer_decay: 0.5\n" in text
    assert changed(weights(run), weights(longer)) == {"net.9.weight", "net.9.bias"}
    assert Path(longer).parent.name == "CNN-synthetic"
