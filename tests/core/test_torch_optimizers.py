"""The record recipes' optimizers, and Lookahead, against step-by-step formulas."""

import inspect
import math
import re
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from datamodules.errors import InputError
from tests.helpers import quiet_trainer, refusal, run_of, tiny_data, weights
from zoo.core.schedules import Linear
from zoo.core.torch_classifier import TorchClassifier
from zoo.core.torch_optimizers import INSTEAD, DecoupledSGD, MuonSGD, by_role, orthogonalized
from zoo.models.mlp import MLP
from zoo.models.speedrun_net import SpeedrunNet
from zoo.training import model_checks
from zoo.training.callbacks.lookahead import Lookahead


def small_net(**options) -> SpeedrunNet:
    return SpeedrunNet(widths=[8, 8, 8], **options)


# Newton and Schulz.


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (7, 7)])
def test_orthogonalized_keeps_the_singular_vectors_and_maps_the_values(shape):
    matrix = torch.from_numpy(np.random.default_rng(0).normal(size=shape))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    values = values / values.square().sum().sqrt()
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(orthogonalized(matrix), u @ values.diag() @ v, atol=1e-6, rtol=1e-6)


def test_orthogonalized_brings_the_values_near_to_one():
    matrix = torch.from_numpy(np.random.default_rng(0).normal(size=(16, 144)))
    values = torch.linalg.svdvals(orthogonalized(matrix * 1e-3, steps=5))
    assert 0.6 < values.min() <= values.max() < 1.3


def test_orthogonalized_of_nothing_is_nothing():
    """As the gradient of filters may be, behind dead units."""
    assert torch.equal(orthogonalized(torch.zeros(3, 5)), torch.zeros(3, 5))


# A step by hand.


def numpy_muon(w, gradients, lr, momentum, steps=3):
    """The formulas of MuonSGD's docstring, on a matrix, by singular value decomposition."""
    velocity = np.zeros_like(w)
    for g in gradients:
        velocity = momentum * velocity + g
        u, s, v = np.linalg.svd(g + momentum * velocity, full_matrices=False)
        s = s / np.sqrt(np.sum(s**2))
        for _ in range(steps):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        w = w * np.sqrt(len(w)) / np.sqrt(np.sum(w**2)) - lr * (u * s) @ v
    return w


def numpy_nesterov(p, gradients, lr, momentum, share):
    velocity = np.zeros_like(p)
    for g in gradients:
        g = g + share / lr * p
        velocity = momentum * velocity + g
        p = p - lr * (g + momentum * velocity)
    return p


def stepped(build, shapes, steps=4):
    """Return the starts, the gradients, and the ends of parameters, one of each shape and role."""
    rng = np.random.default_rng(1)
    starts = {role: rng.normal(size=shape) for role, shape in shapes.items()}
    gradients = {role: [rng.normal(size=shape) for _ in range(steps)] for role, shape in shapes.items()}
    parameters = {role: torch.nn.Parameter(torch.from_numpy(start.copy())) for role, start in starts.items()}
    optimizer = build([{"role": role, "params": [parameter]} for role, parameter in parameters.items()])
    for step in range(steps):
        for role, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradients[role][step])
        optimizer.step()
    return starts, gradients, {role: parameter.detach().numpy() for role, parameter in parameters.items()}


SHAPES = {"filters": (4, 3, 2, 2), "head": (3, 5), "biases": (6,), "whitening bias": (2,)}


@pytest.mark.parametrize(("momentum", "sgd_momentum"), [(0.7, 0.8), (0.0, 0.0)])
def test_muon_sgd_by_hand(momentum, sgd_momentum):
    rates = {"lr": 0.3, "head_lr": 0.5, "bias_lr": 0.05}
    starts, gradients, ends = stepped(
        lambda groups: MuonSGD(groups, **rates, momentum=momentum, sgd_momentum=sgd_momentum, weight_decay=0.01), SHAPES
    )
    as_rows = [g.reshape(4, -1) for g in gradients["filters"]]
    expected = numpy_muon(starts["filters"].reshape(4, -1), as_rows, 0.3, momentum)
    np.testing.assert_allclose(ends["filters"].reshape(4, -1), expected, rtol=1e-5)
    for role, lr in (("head", 0.5), ("biases", 0.05), ("whitening bias", 0.05)):
        np.testing.assert_allclose(ends[role], numpy_nesterov(starts[role], gradients[role], lr, sgd_momentum, 0.01))


@pytest.mark.parametrize(("momentum", "growth"), [(0.9, 11), (0.0, 2)])  # 1 + 1 / (1 - momentum)
def test_decoupled_sgd_by_hand(momentum, growth):
    starts, gradients, ends = stepped(
        lambda groups: DecoupledSGD(groups, lr=3.0, momentum=momentum, weight_decay=0.2), SHAPES
    )
    for role, scaler in (("filters", 1), ("head", 1), ("biases", 64), ("whitening bias", 1)):
        lr, share = scaler * 3.0 / growth / 1024, 0.2 / growth
        np.testing.assert_allclose(ends[role], numpy_nesterov(starts[role], gradients[role], lr, momentum, share))


def test_muon_makes_a_buffer_for_each_parameter_once(monkeypatch):
    made, zeros_like = [], torch.zeros_like
    monkeypatch.setattr(torch, "zeros_like", lambda *args: made.append(args) or zeros_like(*args))
    stepped(MuonSGD, SHAPES, steps=3)
    assert len(made) == len(SHAPES)


def test_muon_takes_filters_that_start_as_zeros():
    """As the last convolution of a residual block may: the first step is the update alone."""
    parameter = torch.nn.Parameter(torch.zeros(2, 1, 2, 2))
    parameter.grad = torch.arange(8.0).view(2, 1, 2, 2)
    MuonSGD([parameter], lr=0.5).step()
    expected = -0.5 * orthogonalized(parameter.grad.flatten(1)).view_as(parameter)
    torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("build", [lambda p: MuonSGD(p, head_lr=0.0, bias_lr=0.0), lambda p: DecoupledSGD(p, lr=0.0)])
def test_a_rate_of_0_learns_and_decays_nothing(build):
    starts, _, ends = stepped(build, {role: shape for role, shape in SHAPES.items() if role != "filters"})
    for role, start in starts.items():
        np.testing.assert_array_equal(ends[role], start)


def test_muon_does_not_see_the_length_of_the_gradient():
    def weights_after(scale):
        parameter = torch.nn.Parameter(torch.ones(2, 1, 2, 2))
        optimizer = MuonSGD([parameter])
        parameter.grad = scale * torch.arange(8.0).view(2, 1, 2, 2)
        optimizer.step()
        return parameter.detach()

    torch.testing.assert_close(weights_after(1.0), weights_after(1000.0))


# Roles.


def test_roles_of_a_model_that_tells_none():
    found = by_role(SpeedrunNet(widths=[8, 8, 8]).parameters())
    assert {group["role"]: {p.ndim for p in group["params"]} for group in found} == {
        "filters": {4},
        "head": {2},
        "biases": {1},
    }


def test_frozen_parameters_are_left_out_and_an_unknown_role_is_refused():
    frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    assert by_role([frozen]) == []
    with pytest.raises(ValueError, match="the role 'haed' is unknown"):
        by_role([{"role": "haed", "params": [torch.nn.Parameter(torch.zeros(3))]}])


RATES, MOMENTA, SHARES = (-1.0, math.nan, math.inf), (-0.1, 1.0, 5.0, math.nan), (-1.0, 1.1, math.nan, math.inf)
RANGES = {
    MuonSGD: dict.fromkeys(("lr", "head_lr", "bias_lr", "weight_decay"), RATES)
    | {"momentum": MOMENTA, "sgd_momentum": MOMENTA, "whitening_share": SHARES},
    DecoupledSGD: dict.fromkeys(("lr", "weight_decay", "bias_scaler"), RATES)
    | {"momentum": MOMENTA, "whitening_share": SHARES},
}


@pytest.mark.parametrize("optimizer", RANGES)
def test_out_of_range(optimizer):
    """Every argument is refused by its name, with the value that was given; the ends of its range are not."""
    parameters = [torch.nn.Parameter(torch.zeros(3))]
    assert {"params", *RANGES[optimizer]} == set(inspect.signature(optimizer).parameters)
    for name, values in RANGES[optimizer].items():
        for value in values:
            with pytest.raises(ValueError, match=rf"^{name}={value} is out of range: give a number "):
                optimizer(parameters, **{name: value})
        optimizer(parameters, **{name: 0.0})
        optimizer(parameters, **{name: 0.99 if values is MOMENTA else 1.0})


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, MuonSGD, DecoupledSGD])
def test_any_optimizer_takes_the_groups(optimizer):
    groups = optimizer(small_net().parameter_groups(), lr=0.1).param_groups
    assert [group["role"] for group in groups] == ["filters", "head", "biases", "whitening bias"]


# Rates of groups.


class GroupRates(L.Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, *args):
        self.rates.append({group["role"]: group["lr"] for group in trainer.optimizers[0].param_groups})


def rates_of(optimizer, schedule):
    model, recorder = small_net(), GroupRates()
    model.make_optimizer, model.lr_schedule = optimizer, schedule
    quiet_trainer(max_epochs=2, callbacks=[recorder]).fit(model, tiny_data())  # 8 steps
    return recorder.rates


def test_the_whitening_bias_has_a_schedule_of_its_own_with_muon():
    found = rates_of(lambda p: MuonSGD(p, lr=1.0, bias_lr=1.0, whitening_share=0.5), Linear(warmup=0.0))
    middles = [(step + 0.5) / 8 for step in range(8)]
    for role in ("filters", "biases"):
        assert [rates[role] for rates in found] == pytest.approx([1 - f for f in middles])
    assert [rates["whitening bias"] for rates in found] == pytest.approx([max(0, 1 - f / 0.5) for f in middles])


def test_the_whitening_bias_stops_with_decoupled_sgd():
    schedule = Linear(warmup=0.25, start=0.2, final=0.1)
    found = rates_of(lambda p: DecoupledSGD(p, whitening_share=0.5), schedule)
    base = 10 / (1 + 1 / 0.15) / 1024
    factors = [schedule((step + 0.5) / 8) for step in range(8)]
    assert [rates["head"] for rates in found] == pytest.approx([base * factor for factor in factors])
    assert [rates["biases"] for rates in found] == pytest.approx([64 * base * factor for factor in factors])
    assert [rates["whitening bias"] for rates in found] == pytest.approx([base * f for f in factors[:4]] + [0] * 4)


# Lookahead.


class Weights(L.Callback):
    """Keeps the weights after each step: before Lookahead, or after it, as it stands in the list of callbacks."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, model, *args):
        self.steps.append({k: v.double().clone() for k, v in model.state_dict().items() if v.is_floating_point()})


def lookahead_fit(model, **options):
    fast, slow = Weights(), Weights()
    lookahead = Lookahead(every_n_steps=3, keep=0.6)
    trainer = quiet_trainer(callbacks=[fast, lookahead, slow], max_epochs=2, **options)
    start = {k: v.double().clone() for k, v in model.state_dict().items() if v.is_floating_point()}
    trainer.fit(model, tiny_data())  # 8 steps
    return start, fast.steps, slow.steps


def test_lookahead_by_hand():
    torch.manual_seed(0)
    slow, fast, found = lookahead_fit(MLP(hidden_sizes=[4]))
    for step in range(1, 9):
        expected = fast[step - 1]
        if step % 3 == 0:
            kept = 0.6 * (step / 8) ** 3
            expected = slow = {k: kept * slow[k] + (1 - kept) * fast[step - 1][k] for k in slow}
        if step == 8:
            expected = slow
        for key, value in expected.items():
            torch.testing.assert_close(found[step - 1][key], value, atol=1e-6, rtol=1e-5)
    assert not torch.equal(found[7]["net.1.weight"], fast[7]["net.1.weight"]), "the last steps are dropped"


def test_lookahead_averages_batch_norm_too():
    torch.manual_seed(0)
    model = small_net()
    slow, fast, found = lookahead_fit(model)
    key = "net.2.norms.0.running_var"
    kept = 0.6 * (3 / 8) ** 3
    torch.testing.assert_close(found[2][key], kept * slow[key] + (1 - kept) * fast[2][key], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"keep": 1.5}])
def test_lookahead_out_of_range(options):
    with pytest.raises(InputError, match=r"Lookahead: .* is out of range"):
        Lookahead(**options)


def test_lookahead_starts_each_training_from_the_weights():
    lookahead = Lookahead(every_n_steps=3, keep=0.9)
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        model = MLP(hidden_sizes=[4])
        quiet_trainer(callbacks=[lookahead], max_epochs=2).fit(model, tiny_data())
        ends.append(model.state_dict())
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key


def test_lookahead_moves_once_a_step_of_several_batches(monkeypatch):
    steps = []
    trainer = quiet_trainer(callbacks=[Lookahead(2)], max_epochs=2, accumulate_grad_batches=2)
    monkeypatch.setattr(Lookahead, "move", lambda *args: steps.append(trainer.global_step))
    trainer.fit(small_net(), tiny_data())
    assert steps == [2, 4, 4], "and a last time at the end"


def test_lookahead_has_to_know_the_end():
    trainer = quiet_trainer(callbacks=[Lookahead()], max_epochs=-1)
    with pytest.raises(InputError, match=r"Lookahead has to know the end: give --trainer.max_epochs"):
        trainer.fit(small_net(), tiny_data())


# All of torch.optim.


class Tiny(TorchClassifier):
    """A convolution and a linear layer: parameters of four, two and one dimensions."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))


OF_TORCH = sorted(
    name
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
)
REFUSED = {
    "LBFGS": "LBFGS cannot train Tiny: view size is not compatible .*: take SGD or AdamW",
    "Muon": "Muon only supports 2D parameters .*: take MuonSGD, which makes steps of Muon for filters",
    "SparseAdam": "SparseAdam cannot train Tiny: SparseAdam does not support dense gradients.*: take AdamW",
}


@pytest.mark.parametrize("name", [*OF_TORCH, "MuonSGD"])
def test_an_optimizer_of_torch_trains_or_is_refused(name, capsys):
    """By the command, before a run is made."""
    command = ["fit", "--model=tests.core.test_torch_optimizers.Tiny", "--config=synthetic", "--data.train_size=32"]
    command += ["--data.val_size=8", "--data.test_size=8", "--data.batch_size=16", "--trainer.max_epochs=1"]
    command += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", f"--optimizer={name}"]
    if name in REFUSED:
        assert re.search(REFUSED[name], refusal(capsys, *command))
        assert not list(Path().iterdir())
        return
    run = run_of(*command)
    torch.manual_seed(0)
    start, end = Tiny().state_dict(), weights(run)
    assert all(value.isfinite().all() for value in end.values())
    assert any(not torch.equal(start[key], end[key]) for key in start if key.startswith("net."))


def test_lbfgs_trains_a_network_without_convolutions():
    torch.manual_seed(0)
    model = MLP([4])
    model.make_optimizer = torch.optim.LBFGS
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model_checks.check(model)
    counted, count = [], model.count
    model.count = lambda *arguments: counted.append(model.counts) or count(*arguments)
    quiet_trainer(max_steps=2, limit_val_batches=0).fit(model, tiny_data())
    assert sum(counted) == 2, "each batch, once"
    assert len(counted) > 2
    assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam", "Muon"])
def test_an_optimizer_that_cannot_train_a_numpy_model_is_refused(name, capsys):
    command = ["fit", "--model=NumPyMLP", "--config=synthetic", f"--optimizer={name}"]
    assert re.search(f"--optimizer: .*: take {INSTEAD[name]}", refusal(capsys, *command))
    assert not list(Path().iterdir())
