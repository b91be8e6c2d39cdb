"""NumPy models through Lightning: shared memory, torch as the oracle, and several steps in a call."""

import copy
import json
import pickle
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies import SingleDeviceStrategy
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

import cli
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from tests.helpers import rows, scalars
from zoo.core.numpy_classifier import BATCH_HOOKS
from zoo.core.numpy_optimizers import NumPyAdam, NumPyMomentum, NumPySGD
from zoo.core.schedules import Cosine
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.mlp import MLP
from zoo.models.numpy_cnn import NumPyCNN
from zoo.models.numpy_mlp import NumPyMLP
from zoo.training.callbacks.batch_log import BatchLog
from zoo.training.callbacks.finite import StopWhenNotFinite
from zoo.training.callbacks.graceful_stop import GracefulStop
from zoo.training.callbacks.history import History

BATCHES = 23  # an epoch, the last one half as large
LR = 0.001


def small_data(**options) -> CIFAR10DataModule:
    sizes = {"train_size": 90, "val_size": 20, "test_size": 20, "batch_size": 4}
    return CIFAR10DataModule(source="synthetic", **sizes | {"crop_padding": 2, "horizontal_flip": True} | options)


def make_model(*hidden_sizes: int, optimizer=None, **options) -> NumPyMLP:
    torch.manual_seed(0)
    model = NumPyMLP(list(hidden_sizes), **options)
    if optimizer is not None:
        model.make_optimizer = optimizer
    return model


def make_trainer(**options) -> L.Trainer:
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    return L.Trainer(**{"accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0} | quiet | options)


def fit(model: L.LightningModule, data: CIFAR10DataModule | None = None, **options) -> L.Trainer:
    """Train as the command line does."""
    trainer = make_trainer(**options)
    model.check_trainer(trainer)
    trainer.fit(model, data or small_data())
    return trainer


def momentum(parameters):
    return NumPyMomentum(parameters, lr=LR)


def values(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def assert_shared(model: NumPyMLP) -> None:
    """NumPy and PyTorch read what the other one writes, for the same parameter."""
    network = model.network
    for layer, module in zip(network.layers, model.layers, strict=True):
        assert {name for name, _ in module.named_parameters()} == set(layer.parameters)
        for name, parameter in module.named_parameters():
            value, gradient = layer.parameters[name], layer.gradients[name]
            assert isinstance(parameter, nn.Parameter)
            for tensor, array, whole in (
                (parameter.detach(), value, network.flat),
                (parameter.grad, gradient, network.flat_gradients),
            ):
                assert tensor.shape == array.shape
                assert tensor.dtype == torch.float32
                assert np.shares_memory(tensor.numpy(), array)
                assert np.shares_memory(array, whole)
                before = array.copy()
                array[:] = np.arange(array.size).reshape(array.shape)
                assert torch.equal(tensor.flatten(), torch.arange(array.size, dtype=torch.float32))
                tensor.fill_(7)
                assert (array == 7).all()
                array[:] = before
    assert torch.equal(values(model), torch.from_numpy(network.flat))
    assert values(model).numel() == network.flat.size


class TestMemory:
    """The values stay the same, and the memory is shared."""

    def assert_is(self, model: NumPyMLP, expected: torch.Tensor) -> None:
        assert torch.equal(values(model), expected)
        assert_shared(model)

    def test_of_a_new_model(self):
        assert_shared(make_model(6, 5))
        assert_shared(make_model(num_classes=2))

    def test_of_copies(self):
        model = make_model(6, 5)
        expected = values(model)
        for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.deepcopy(copy.deepcopy(model))):
            same.network.flat_gradients[:] = 1
            self.assert_is(same, expected)
            same.network.flat[:] = 0
        self.assert_is(model, expected)
        assert not model.network.flat_gradients.any()

    @pytest.mark.parametrize("assign", [False, True])
    def test_of_loaded_weights(self, assign):
        model, other = make_model(6, 5), NumPyMLP([6, 5])
        expected, state = values(model), model.state_dict()
        outer, outer_state = nn.Sequential(NumPyMLP([6, 5])), nn.Sequential(model).state_dict()
        other.load_state_dict(state, assign=assign)
        outer.load_state_dict(outer_state, assign=assign)
        copied = copy.deepcopy(NumPyMLP([6, 5]))
        copied.load_state_dict(state, assign=assign)
        for loaded in (other, outer[0], copied):
            self.assert_is(loaded, expected)
            loaded.network.flat[:] = 0
        self.assert_is(model, expected)

    def test_is_neither_moved_nor_cast(self):
        model = make_model(6)
        expected = values(model)
        outer = nn.Sequential(model)
        moves = (
            lambda: model.to("cpu"),
            lambda: model.double(),
            lambda: model.half(),
            lambda: model.to("meta"),
            lambda: model.to(torch.bfloat16),
            lambda: model._apply(torch.clone),
            lambda: outer.double(),
            lambda: outer.to("meta"),
            lambda: outer.share_memory(),
        )
        for move in moves:
            move()
            self.assert_is(model, expected)
            assert model.device == torch.device("cpu")
            state = [*model.metrics["train_metrics"].metric_state.values(), model.scale, model.shift]
            assert {tensor.device.type for tensor in state} == {"cpu"}
            assert model.scale.dtype == torch.float32

    def test_zero_grad(self):
        model = make_model(6)
        for set_to_none in (True, False):
            model.network.flat_gradients[:] = 1
            model.zero_grad(set_to_none=set_to_none)
            assert not model.network.flat_gradients.any()
            assert_shared(model)

    def test_of_a_trained_model_and_of_its_checkpoint(self):
        model = make_model(6, optimizer=momentum)
        before = values(model)
        trainer = fit(model)
        expected = values(model)
        assert not torch.equal(expected, before)
        self.assert_is(model, expected)
        trainer.save_checkpoint("model.ckpt")
        self.assert_is(NumPyMLP.load_from_checkpoint("model.ckpt", weights_only=True), expected)

    def test_a_copy_of_a_trained_model_learns_alone(self):
        model = make_model(6, optimizer=momentum)
        fit(model)
        copied, before = copy.deepcopy(model), values(model)
        fit(copied)
        self.assert_is(model, before)
        assert not torch.equal(values(copied), before)
        learnt = values(copied)
        fit(model)
        self.assert_is(copied, learnt)
        assert torch.equal(values(model), learnt), "both learn the same"


OURS_AND_THEIRS = {
    "SGD": (NumPySGD, {}, torch.optim.SGD, {}),
    "Momentum": (NumPyMomentum, {"beta": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
    "Nesterov": (NumPyMomentum, {"nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "Adam": (NumPyAdam, {}, torch.optim.Adam, {}),
    "Adam, other settings": (
        NumPyAdam, {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}, torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3},
    ),
}  # fmt: skip
SLOTS = {"velocity": "momentum_buffer", "mean": "exp_avg", "mean_square": "exp_avg_sq"}


def walk(optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    """Make steps with gradients of very different sizes, the same for every optimizer."""
    for number in range(first, first + steps):
        generator = torch.Generator().manual_seed(number)
        for parameter in optimizer.param_groups[0]["params"]:
            gradient = torch.randn(parameter.shape, generator=generator) * 10 ** (number % 5 - 3.0)
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad.copy_(gradient)
        optimizer.step()


def twins(cls, settings, torch_cls, torch_settings, **options):
    """A NumPy model with its optimizer, and torch's optimizer for parameters of the same sizes."""
    model = make_model(3)
    parameters = [nn.Parameter(parameter.detach().clone()) for parameter in model.parameters()]
    return model, cls(model.parameters(), **settings, **options), torch_cls(parameters, **torch_settings, **options)


def assert_close(model: NumPyMLP, theirs: torch.optim.Optimizer) -> None:
    expected = torch.cat([parameter.detach().flatten() for parameter in theirs.param_groups[0]["params"]])
    assert expected.isfinite().all()
    # Where terms cancel, what remains has the rounding errors of what cancelled.
    torch.testing.assert_close(values(model), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


class TestOptimizers:
    @pytest.mark.parametrize("name", OURS_AND_THEIRS)
    @pytest.mark.parametrize("steps", [1, 10])
    @pytest.mark.parametrize("lr", [1e-6, 0.05, 1e4])
    @pytest.mark.parametrize("weight_decay", [0.0, 0.1])
    def test_are_torchs(self, name, steps, lr, weight_decay):
        model, ours, theirs = twins(*OURS_AND_THEIRS[name], lr=lr, weight_decay=weight_decay)
        before = values(model)
        walk(ours, steps)
        walk(theirs, steps)
        assert_close(model, theirs)
        assert not torch.equal(values(model), before)
        assert_shared(model)

    @pytest.mark.parametrize("name", OURS_AND_THEIRS)
    def test_follow_their_group(self, name):
        """A schedule changes it, and so does a loaded checkpoint."""
        model, ours, theirs = twins(*OURS_AND_THEIRS[name], lr=0.1)
        walk(ours, 3)
        walk(theirs, 3)
        changes = {"lr": 0.03, "weight_decay": 0.2}
        (our_group,), (their_group,) = ours.param_groups, theirs.param_groups
        our_group |= changes | ({"beta": 0.3} if "beta" in our_group else {})
        their_group |= changes | ({"momentum": 0.3} if "beta" in our_group else {})
        walk(ours, 3, first=3)
        walk(theirs, 3, first=3)
        assert_close(model, theirs)

    @pytest.mark.parametrize("name", OURS_AND_THEIRS)
    def test_state_has_torchs_format(self, name):
        model, ours, theirs = twins(*OURS_AND_THEIRS[name], lr=0.1)
        walk(ours, 4)
        walk(theirs, 4)
        state, expected = ours.state_dict(), theirs.state_dict()
        assert state.keys() == expected.keys()
        assert [group["params"] for group in state["param_groups"]] == [[0, 1, 2, 3]]
        assert state["param_groups"][0]["lr"] == 0.1
        assert list(state["state"]) == [0, 1, 2, 3]
        for index, parameter in enumerate(model.parameters()):
            slots = dict(state["state"][index])
            assert slots.pop("step") == 4
            assert len(slots) == len(set(expected["state"].get(index, {})) - {"step"})
            for slot, tensor in slots.items():
                assert tensor.shape == parameter.shape
                wanted = expected["state"][index][SLOTS[slot]]
                torch.testing.assert_close(tensor, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())

    @pytest.mark.parametrize("name", OURS_AND_THEIRS)
    def test_state_goes_on_to_the_bit(self, name):
        cls, settings, *_ = OURS_AND_THEIRS[name]
        model = make_model(3)
        whole = cls(model.parameters(), lr=0.1, **settings)
        walk(whole, 5)
        torch.save(whole.state_dict(), "state.pt")
        halfway = copy.deepcopy(model)
        walk(whole, 5, first=5)

        again = cls(halfway.parameters())
        again.load_state_dict(torch.load("state.pt", weights_only=True))
        assert again.param_groups[0]["lr"] == 0.1
        for name, value in settings.items():
            assert again.param_groups[0][name] == value
        walk(again, 5, first=5)
        assert torch.equal(values(halfway), values(model))
        assert again.state_dict()["state"][3]["step"] == 10

    def test_keep_nothing_where_lightning_would_move_it(self):
        optimizer = NumPyAdam(make_model(3).parameters())
        walk(optimizer, 1)
        assert not optimizer.state

    def test_call_a_closure(self):
        model = make_model(3)
        optimizer = NumPySGD(model.parameters(), lr=1.0)
        before = values(model)

        def closure():
            model.network.flat_gradients[:] = 2
            return 5

        assert optimizer.step(closure) == 5
        torch.testing.assert_close(values(model), before - 2)

    def test_torchs_drives_a_numpy_model(self):
        """The optimizer sees the shared gradients."""
        models = []
        for cls in (NumPyAdam, torch.optim.Adam):
            model = make_model(6, optimizer=lambda parameters, cls=cls: cls(parameters, lr=0.001))
            fit(model)
            models.append(values(model))
        torch.testing.assert_close(*models, rtol=1e-3, atol=1e-4)
        assert not torch.equal(models[0], values(make_model(6)))

    @pytest.mark.parametrize("cls", [NumPySGD, NumPyMomentum, NumPyAdam])
    @pytest.mark.parametrize(
        ("build", "problem"),
        [
            (lambda cls, model: cls(MLP([3]).parameters()), "NumPy models.*torch.optim"),
            (lambda cls, model: cls([model.layers[1].weight.T]), "can't optimize a non-leaf|NumPy models.*torch.optim"),
            (lambda cls, model: cls(model.parameters(), lr=-0.1), r"lr=-0\.1 is negative"),
            (lambda cls, model: cls(model.parameters(), weight_decay=-0.1), r"weight_decay=-0\.1 is negative"),
        ],
    )
    def test_refusals(self, cls, build, problem):
        with pytest.raises(ValueError, match=problem):
            build(cls, make_model(3))

    @pytest.mark.parametrize(
        "other",
        [
            lambda parameters: torch.optim.SGD(parameters),
            lambda parameters: torch.optim.SGD(parameters, momentum=0.9),
            lambda parameters: torch.optim.Adam(parameters),
            NumPySGD,
            NumPyAdam,
        ],
    )
    def test_the_state_of_another_optimizer_does_no_harm(self, other):
        model, expected = make_model(3), make_model(3)
        foreign = other(make_model(3).parameters())
        ours, whole = momentum(model.parameters()), momentum(expected.parameters())
        walk(foreign, 2)
        for optimizer in (ours, whole):
            walk(optimizer, 2)
        with pytest.raises(ValueError, match=r"another optimizer|needs velocity"):
            ours.load_state_dict(foreign.state_dict())
        for optimizer in (ours, whole):
            walk(optimizer, 2, first=2)
        assert torch.equal(values(model), values(expected))

    def test_the_state_of_another_network_is_refused(self):
        optimizer = momentum(make_model(3).parameters())
        with pytest.raises(ValueError, match="velocity"):
            optimizer.load_state_dict(momentum(make_model(4).parameters()).state_dict())


class InOrder(nn.Module):
    """Row by row, pixel by pixel, red, green and blue: the order of a NumPy model's inputs."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def twin_of(model: NumPyMLP, activation: type[nn.Module] = nn.ReLU) -> TorchClassifier:
    twin, modules = TorchClassifier(model.num_classes), [InOrder()]
    for layer in model.network.layers[1:]:
        if layer.parameters:
            linear = nn.Linear(*layer.parameters["weight"].shape)
            linear.weight = nn.Parameter(torch.tensor(layer.parameters["weight"].T.copy()))
            linear.bias = nn.Parameter(torch.tensor(layer.parameters["bias"]))
            modules.append(linear)
        else:
            modules.append(activation())
    twin.net = nn.Sequential(*modules)
    twin.make_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=LR, momentum=0.9)
    return twin


def weights_of(twin: TorchClassifier) -> torch.Tensor:
    """Images in the order of a NumPy model's inputs."""
    linears = [module for module in twin.net if isinstance(module, nn.Linear)]
    return torch.cat([part.detach().flatten() for linear in linears for part in (linear.weight.T, linear.bias)])


class Losses(L.Callback):
    """Notes the loss of every batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(outputs["loss"].item())


def fit_both(model: NumPyMLP, twin: TorchClassifier, task: str = "multiclass", **options):
    """Train both on the same batches; return the losses of each step, and the metrics of the last epoch."""
    found = []
    for one in (model, twin):
        callback = Losses()
        trainer = fit(one, small_data(task=task), callbacks=[callback], **options)
        found.append((callback.losses, {name: value.item() for name, value in trainer.callback_metrics.items()}))
    return found


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("num_classes", [10, 2])
def test_trains_like_its_torch_twin(activation, num_classes):
    """The loss is the same at each of 100 steps, and so are the metrics of both sets."""
    model = make_model(8, 5, optimizer=momentum, activation=activation, num_classes=num_classes)
    twin = twin_of(model, {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[activation])
    task, before = "binary" if num_classes == 2 else "multiclass", values(model)
    (losses, figures), (expected, expected_figures) = fit_both(model, twin, task, max_steps=100, max_epochs=-1)
    assert len(losses) == 100
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    torch.testing.assert_close(values(model), weights_of(twin), rtol=1e-4, atol=5e-5)
    assert (values(model) - before).abs().max() > 0.01
    assert figures == pytest.approx(expected_figures, rel=1e-4, abs=1e-5)
    assert "val/acc" in figures
    assert "train/loss" in figures


@pytest.mark.parametrize("options", [{}, {"gradient_clip_algorithm": "norm"}, {"gradient_clip_algorithm": "value"}])
def test_clips_gradients_as_torch_does(options):
    """For the twin, Lightning calls torch's `clip_grad_norm_` and `clip_grad_value_`."""
    model = make_model(8, optimizer=momentum)
    twin, free, free_twin = twin_of(model), copy.deepcopy(model), twin_of(model)
    value = 0.05 if options.get("gradient_clip_algorithm") == "value" else 0.5
    (losses, _), (expected, _) = fit_both(model, twin, gradient_clip_val=value, **options)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    torch.testing.assert_close(values(model), weights_of(twin), rtol=1e-3, atol=1e-5)
    (unclipped, _), _ = fit_both(free, free_twin)
    assert not np.allclose(losses, unclipped, rtol=1e-2), "it clips"


def test_follows_a_schedule_as_torch_does():
    """It does so from its first step on, with manual optimization."""
    model = make_model(8, optimizer=momentum)
    twin = twin_of(model)
    constant, constant_twin = copy.deepcopy(model), copy.deepcopy(twin)
    model.lr_schedule = twin.lr_schedule = Cosine(warmup=0.3)
    (losses, _), (expected, _) = fit_both(model, twin, max_epochs=2)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    torch.testing.assert_close(values(model), weights_of(twin), rtol=1e-4, atol=1e-5)
    (unscheduled, _), _ = fit_both(constant, constant_twin, max_epochs=2)
    assert not np.allclose(losses, unscheduled, rtol=1e-2)


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.5), (0.1, 0.5)])
def test_regularizers_price_the_weights_alone(l1, l2):
    """The gradient is autograd's; biases have no penalty, and the reported loss leaves it out."""
    lr = 0.01
    model = make_model(4, optimizer=lambda parameters: NumPySGD(parameters, lr=lr))
    model.l1, model.l2 = l1, l2
    for layer in model.network.layers[1::2]:
        layer.parameters["bias"][:] = 0.5
    twin, before, data = twin_of(model), values(model), small_data(batch_size=90, crop_padding=0, horizontal_flip=False)
    trainer = fit(model, data)

    batch = data.train.__getitems__(list(range(90)))
    loss = F.cross_entropy(twin(batch.images), batch.labels)
    weights = [module.weight for module in twin.net if isinstance(module, nn.Linear)]
    price = sum(l1 * weight.abs().sum() + l2 / 2 * weight.square().sum() for weight in weights)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert price.item() > 0.1
    (loss + price).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter -= lr * parameter.grad
    torch.testing.assert_close(values(model) - before, weights_of(twin) - before, rtol=1e-3, atol=1e-5)


class TestInputs:
    @pytest.fixture
    def images(self):
        return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8))

    def test_unit_pixels(self, images):
        """A linear model whose weights are known."""
        model = make_model(pixels="unit")
        expected = (
            images.numpy().transpose(0, 2, 3, 1).reshape(6, 3072) / 255 @ model.network.layers[1].parameters["weight"]
        )
        np.testing.assert_allclose(model(images).numpy(), expected, rtol=1e-4, atol=1e-4)

    def test_logits_and_inputs_are_right_for_batches_of_any_size(self, images):
        """Earlier results stay the same, although the memory is reused."""
        model = make_model(5)
        twin = twin_of(model)
        batches = [images[:2], images, images[3:4], images.contiguous(memory_format=torch.channels_last)]
        logits = [model(batch) for batch in batches]
        for found, batch in zip(logits, batches, strict=True):
            torch.testing.assert_close(found, twin(batch).detach(), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        ("initializer", "deviation"), [("small_normal", 0.01), ("he", (2 / 3072) ** 0.5), ("glorot", (2 / 3136) ** 0.5)]
    )
    def test_weights_at_the_start(self, initializer, deviation):
        weights = make_model(64, initializer=initializer).network.layers[1].parameters["weight"]
        assert weights.std() == pytest.approx(deviation, rel=0.02)

    def test_the_seed_decides_the_weights(self):
        a, b, c = make_model(5), make_model(5), NumPyMLP([5])
        assert torch.equal(values(a), values(b))
        assert not torch.equal(values(a), values(c))

    def test_the_notebooks_gradient_is_that_of_the_squared_error(self):
        model = make_model(
            optimizer=lambda parameters: NumPySGD(parameters, lr=0.1), num_classes=2, loss="notebook_cross_entropy"
        )
        twin, data = twin_of(model), small_data(task="binary", batch_size=90, crop_padding=0, horizontal_flip=False)
        trainer = fit(model, data)
        batch = data.train.__getitems__(list(range(90)))
        logits = twin(batch.images)[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, batch.labels.float())
        assert trainer.callback_metrics["train/loss"].item() == pytest.approx(loss.item(), rel=1e-4)
        ((torch.sigmoid(logits) - batch.labels).square() / 2).mean().backward()
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter -= 0.1 * parameter.grad
        torch.testing.assert_close(values(model), weights_of(twin), rtol=1e-4, atol=1e-5)


class Notes(Logger):
    """A logger that keeps its metrics."""

    name = version = "notes"

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[int, dict]] = []

    def log_metrics(self, metrics, step=None) -> None:
        self.notes.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs) -> None:
        pass


class Witness(L.Callback):
    """Records the state of a run at each validation and checkpoint; it has no hooks for batches."""

    def __init__(self) -> None:
        self.seen: list = []

    def on_validation_start(self, trainer, pl_module) -> None:
        loop = trainer.fit_loop
        where = (trainer.global_step, loop.batch_idx, loop.total_batch_idx, trainer.current_epoch)
        self.seen.append((*where, loop.epoch_loop.batch_progress.state_dict(), pl_module.network.flat.copy()))

    def on_save_checkpoint(self, trainer, pl_module, checkpoint) -> None:
        self.seen.append(copy.deepcopy((checkpoint["loops"], checkpoint["state_dict"], pl_module.train_metrics())))


class Counted(NumPyMLP):
    """Records the number of steps at the end of each call."""

    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        self.ends.append(self.trainer.global_step)
        return output


def counted(**options) -> Counted:
    torch.manual_seed(0)
    model = Counted([6], **options)
    model.ends = []
    model.make_optimizer = momentum
    return model


SAVE = "save_every_n_steps"
CASES = {
    "plain": {},
    "log every step": {"log_every_n_steps": 1},
    "log every third step": {"log_every_n_steps": 3},
    "max_steps": {"max_steps": 37, "max_epochs": -1},
    "number of batches": {"limit_train_batches": 7},
    "share of batches": {"limit_train_batches": 0.4},
    "validate every 5 batches": {"val_check_interval": 5},
    "validate after a share": {"val_check_interval": 0.3},
    "validate across epochs": {"val_check_interval": 9, "check_val_every_n_epoch": None},
    "validate seldom": {"val_check_interval": 30, "check_val_every_n_epoch": None},
    "validate every second epoch": {"check_val_every_n_epoch": 2},
    "no validation": {"limit_val_batches": 0},
    "fast_dev_run": {"fast_dev_run": True},
    "overfit_batches": {"overfit_batches": 3},
    "save every 3 steps": {SAVE: 3},
    "schedule": {"schedule": True},
    "clipped": {"gradient_clip_val": 0.5},
    "clipped by value": {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"},
    "Adam of torch": {"optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.01)},
    "all at once": {
        "log_every_n_steps": 3, "max_steps": 41, "val_check_interval": 4, SAVE: 7, "schedule": True,
        "gradient_clip_val": 0.5,
    },
}  # fmt: skip


def everything(steps: int, monkeypatch, schedule=False, save_every_n_steps=None, optimizer=momentum, **options):
    """Train with at most `steps` steps in a call; return all results of the run, and the ends of the calls."""
    monkeypatch.setattr(NumPyMLP, "batches_per_call", steps)
    model = counted()
    model.make_optimizer = optimizer
    if schedule:
        model.lr_schedule = Cosine(warmup=0.3)
    history, logger, witness, stop = History(), Notes(), Witness(), GracefulStop(save_every_n_steps)
    stop.path = Path("stop.ckpt").absolute()
    callbacks = [history, StopWhenNotFinite(), BatchLog(), stop, witness]
    trainer = fit(model, logger=logger, callbacks=callbacks, **{"max_epochs": 3, "log_every_n_steps": 50} | options)
    trainer.save_checkpoint("end.ckpt")
    end = torch.load("end.ckpt", weights_only=True)
    del end["callbacks"]  # the rows, with their seconds
    rows = [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in history.rows]
    return {"end": end, "rows": rows, "notes": logger.notes, "seen": witness.seen}, model.ends


def assert_same(found, expected, place: str = "") -> None:
    assert type(found) is type(expected), place
    if isinstance(expected, dict):
        assert list(found) == list(expected), place
        for key in expected:
            assert_same(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), place
        for index, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{place}/{index}")
    elif isinstance(expected, torch.Tensor | np.ndarray):
        assert np.array_equal(found, expected), place
    else:
        assert found == expected, place


class TestStepsInACall:
    @pytest.mark.parametrize("case", CASES)
    def test_leave_the_same_to_the_bit(self, case, monkeypatch):
        """Weights, optimizer, metrics, curves, and Lightning's counters in checkpoints."""
        expected, ends = everything(1, monkeypatch, **CASES[case])
        assert ends == list(range(1, len(ends) + 1))
        for steps in (4, 5, 25):
            found, calls = everything(steps, monkeypatch, **CASES[case])
            assert_same(found, expected, f"{steps} steps in a call")
            assert calls[-1] == ends[-1]
            if case not in ("fast_dev_run", "log every step"):
                assert len(calls) < len(ends), "there was something to compare"

    def test_are_counted(self, monkeypatch):
        """The runs above agree on these numbers."""
        steps_of = {
            "plain": 69, "max_steps": 37, "number of batches": 21, "share of batches": 27, "fast_dev_run": 1,
            "overfit_batches": 9,
        }  # fmt: skip
        for case, steps in steps_of.items():
            found, calls = everything(25, monkeypatch, **CASES[case])
            assert found["end"]["global_step"] == calls[-1] == steps, case
        found, _ = everything(25, monkeypatch, **CASES["validate every 5 batches"])
        assert [seen[0] for seen in found["seen"][:-1]] == [5, 10, 15, 20, 28, 33, 38, 43, 51, 56, 61, 66]
        found, _ = everything(25, monkeypatch, **CASES["validate across epochs"])
        assert [seen[0] for seen in found["seen"][:-1]] == [9, 18, 27, 36, 45, 54, 63]
        found, _ = everything(25, monkeypatch, **CASES["log every third step"])
        logged = [step for step, metrics in found["notes"] if "batch/loss" in metrics]
        assert logged == list(range(3, 70, 3))

    @pytest.mark.parametrize(
        ("options", "ends"),
        [
            ({}, [23, 25, 46, 50, 69]),
            ({"log_every_n_steps": 10}, [10, 20, 23, 25, 30, 40, 46, 50, 60, 69]),
            ({"max_steps": 37}, [23, 25, 37]),
            ({"val_check_interval": 20}, [20, 23, 25, 43, 46, 50, 66, 69]),
            ({SAVE: 16}, [16, 23, 25, 32, 46, 48, 50, 64, 69]),
        ],
    )
    def test_are_as_many_as_can_be(self, options, ends, monkeypatch):
        _, calls = everything(25, monkeypatch, **options)
        assert calls == ends

    def test_by_the_command_line(self, monkeypatch):
        """With the callbacks of every run, all files are the same; none of the callbacks wants every step."""
        calls, step = [], NumPyMLP.training_step

        def counting(self, batch, batch_idx):
            output = step(self, batch, batch_idx)
            calls.append(self.trainer.global_step)
            return output

        monkeypatch.setattr(NumPyMLP, "training_step", counting)
        runs = {}
        for steps in (1, 4, 25):
            monkeypatch.setattr(NumPyMLP, "batches_per_call", steps)
            calls.clear()
            options = ["--lr_schedule=Cosine", "--trainer.gradient_clip_val=0.5", "--save_every_n_steps=9"]
            options += ["--trainer.log_every_n_steps=10", "--trainer.val_check_interval=8"]
            assert cli.main([*COMMAND, *options, f"--runs_dir={steps}"]) == 0
            (run,) = Path(str(steps)).glob("*/*")
            runs[steps] = left_behind(run)
        assert calls == [8, 9, 10, 16, 18, 20, 23, 25, 27, 30, 31, 36, 39, 40, 45, 46]
        assert_same(runs[4], runs[1])
        assert_same(runs[25], runs[1])
        assert [step for step, _ in runs[1]["curves"]["batch/loss"]] == [10, 20, 30, 40]
        assert [step for step, _ in runs[1]["curves"]["batch/val/acc"]] == [8, 16, 31, 39]
        assert [epoch for epoch, _ in runs[1]["curves"]["val/acc"]] == [1, 2]

    @pytest.mark.parametrize("hook", ["on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step"])
    def test_a_stranger_is_called_for_every_batch(self, hook):
        calls = []

        def note(self, trainer, pl_module, *args):
            calls.append((trainer.global_step, *args[-2:]))

        stranger = type("Stranger", (L.Callback,), {hook: note})()
        model = counted()
        fit(model, callbacks=[stranger], max_epochs=2)
        done = 1 if hook == "on_train_batch_end" else 0
        assert [step for step, *_ in calls] == list(range(done, 46 + done))
        if hook != "on_before_optimizer_step":
            assert [batch_idx for *_, batch_idx in calls] == [*range(BATCHES)] * 2
            data = small_data()
            data.setup("fit")
            for epoch in range(2):
                loader = data.train_dataloader()
                loader.sampler.set_epoch(epoch)
                of_epoch = calls[epoch * BATCHES : (epoch + 1) * BATCHES]
                for (_, batch, _), expected in zip(of_epoch, loader, strict=True):
                    assert torch.equal(batch.indices, expected.indices)

    def test_every_batch_hook_is_known(self):
        """These are all hooks for batches among those of Lightning's callbacks."""
        hooks = {name for name in vars(L.Callback) if name.startswith(("on_train_batch", "on_before", "on_after"))}
        assert hooks == set(BATCH_HOOKS)

    @pytest.mark.parametrize("n", [3, 10])
    def test_who_wants_every_nth_step_gets_it(self, n):
        """It sees the weights of that step."""
        seen, every = [], []

        class Some(L.Callback):
            every_n_steps = n

            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                seen.append((trainer.global_step, outputs["loss"].item(), values(pl_module)))

        class All(L.Callback):
            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                every.append((trainer.global_step, outputs["loss"].item(), values(pl_module)))

        for callback in (Some(), All()):
            fit(counted(), callbacks=[callback], max_epochs=2)
        assert {step for step, *_ in seen} >= set(range(n, 47, n))
        assert len(seen) < len(every) == 46
        for step, loss, weights in seen:
            assert every[step - 1][1] == loss
            assert torch.equal(every[step - 1][2], weights)


COMMAND = ["fit", "--model=NumPyMLP", "--model.hidden_sizes=[6]", "--optimizer.lr=0.003", "--data.source=synthetic"]
COMMAND += ["--data.train_size=90", "--data.val_size=20", "--data.test_size=20", "--data.batch_size=4"]
COMMAND += ["--data.crop_padding=2", "--trainer.max_epochs=2", "--trainer.enable_model_summary=false"]


def left_behind(run: Path) -> dict:
    """All files of a run, without times."""
    curves = scalars(run)
    results = json.loads((run / "metrics.json").read_text())
    del results["fit_seconds"]
    checkpoints = {}
    for name in ("best", "last"):
        checkpoints[name] = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)
        del checkpoints[name]["callbacks"], checkpoints[name]["config"]
    return {"rows": rows(run), "curves": curves, "results": results, "checkpoints": checkpoints}


def command_line(options: str, capsys) -> tuple[int, str, str]:
    """Run `COMMAND` with more options; return the exit code and what it printed."""
    return cli.main([*COMMAND, *options.split()]), *capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--trainer.strategy ddp_spawn --trainer.devices 2 --trainer.accelerator cpu", ["NumPyMLP", "strategy ddp"]),
        ("--trainer.precision bf16-mixed", ["precision=bf16-mixed", "float32"]),
        ("--trainer.precision 64-true", ["precision=64-true", "float32"]),
        ("--trainer.accelerator gpu", ["accelerator=gpu", "NumPyMLP computes on the CPU"]),
        ("--trainer.accumulate_grad_batches 2", ["accumulate_grad_batches=2", "--data.batch_size"]),
        ("--model.hidden_sizes [0]", ["--model.hidden_sizes=[0]", "at least 1"]),
        ("--model.activation rleu", ["--model.activation=rleu", "'relu'"]),
        ("--model.loss notebook_cross_entropy", ["notebook_cross_entropy", "--data.task binary"]),
        ("--optimizer NumpyMomentum", ["unknown optimizer 'NumpyMomentum'", "Did you mean 'NumPyMomentum'?"]),
        ("--optimizer NumPyAdam --optimizer.lr -1", ["lr=-1", "negative"]),
        ("--optimizer NumPySGD --optimizer.weight_decay -1", ["weight_decay=-1", "negative"]),
        ("--model MLP --optimizer NumPyAdam", ["NumPyAdam is for NumPy models", "torch.optim"]),
    ],
)
def test_what_it_cannot_do_is_refused(options, words, capsys):
    code, _, error = command_line(options, capsys)
    assert code == 2
    assert error.count("\n") == 1, error
    assert error.startswith("error: ")
    for word in words:
        assert word in error
    assert not list(Path().iterdir()), "something was written"


def test_a_machine_with_a_gpu(monkeypatch, capsys):
    """Without an option it computes on the CPU, and says so."""
    for owner, name in ((torch.cuda, "is_available"), (CUDAAccelerator, "is_available")):
        monkeypatch.setattr(owner, name, lambda: True)
    code, out, error = command_line("--trainer.max_epochs 1", capsys)
    assert code == 0, error
    assert error == ""
    assert [line for line in out.splitlines() if "GPU" in line] == [
        "NumPyMLP computes on the CPU; the GPU that is here has nothing to do."
    ]
    (run,) = Path("runs").glob("*/*")
    assert "accelerator: cpu" in (run / "config.yaml").read_text()
    assert "GPU" not in json.loads((run / "metrics.json").read_text())["hardware"]


def test_a_machine_with_a_gpu_has_nothing_to_warn_of(monkeypatch, capsys):
    """Lightning would recommend the GPU that the model cannot use."""
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        command_line("--trainer.fast_dev_run true", capsys)
    assert [w.message for w in caught if "GPU" in str(w.message)] == []


class Elsewhere(SingleDeviceStrategy):
    """A trainer with another device than the CPU: tensors that are moved there lose their values."""

    def __init__(self) -> None:
        super().__init__(device=torch.device("meta"))

    def setup_environment(self) -> None:
        pass

    def reduce(self, tensor, *args, **kwargs):
        return torch.ones(()) if isinstance(tensor, torch.Tensor) and tensor.is_meta else tensor  # a loader's length


@pytest.mark.parametrize("optimizer", [momentum, NumPyAdam])
def test_a_trainer_of_another_device(optimizer):
    found = []
    for strategy in ("auto", Elsewhere()):
        model = make_model(6, optimizer=optimizer)
        trainer = fit(model, strategy=strategy, max_epochs=2)
        trainer.save_checkpoint("end.ckpt")
        end = torch.load("end.ckpt", weights_only=True)
        trainer.test(model, small_data(), verbose=False)
        found.append({name: end[name] for name in ("state_dict", "optimizer_states")} | model.results)
        assert_shared(model)
    assert trainer.strategy.root_device == torch.device("meta")
    assert_same(*found)


class TestDivergence:
    @pytest.mark.parametrize(
        "options",
        [
            "--optimizer.lr 1e6",
            "--optimizer.lr 1e6 --trainer.enable_checkpointing false",  # which look at it too
            "--model.activation tanh --optimizer.lr 1e38 --trainer.val_check_interval 1",  # seen by a validation first
            "--data.task binary --optimizer NumPyAdam --optimizer.lr 1e30",
        ],
    )
    def test_is_told_in_one_line(self, options, capsys):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            code, _, error = command_line(options, capsys)
        assert code == 1
        assert error.count("\n") == 1, error
        assert "training diverged: the loss is not finite" in error
        assert "after step 23 (epoch 1)" in error
        assert [w.message for w in caught if issubclass(w.category, RuntimeWarning)] == []

    def test_is_noticed_within_50_steps(self, capsys):
        code, _, error = command_line("--optimizer.lr 1e6 --data.batch_size 1", capsys)
        assert code == 1
        assert "after step 50 (epoch 1)" in error


class TestThreads:
    @pytest.fixture(autouse=True)
    def _two(self):
        """Give both libraries two threads, whatever the environment says."""
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        with threadpool_limits(2, user_api="blas"):
            assert self.threads() == {"torch": 2, "blas": {2}}
            yield
        torch.set_num_threads(before)

    def threads(self) -> dict:
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        return {"torch": torch.get_num_threads(), "blas": blas}

    @pytest.mark.parametrize("allowed", [1, 3])
    @pytest.mark.parametrize("ends", ["well", "with an exception"])
    def test_are_few_while_it_trains(self, allowed, ends, monkeypatch):
        monkeypatch.setattr(NumPyMLP, "threads", allowed)
        seen = []

        def look(trainer, pl_module, outputs, batch, batch_idx):
            seen.append(self.threads())
            if ends != "well":
                raise KeyError("of the test")

        callback = L.pytorch.callbacks.LambdaCallback(on_train_batch_end=look)
        if ends == "well":
            trainer = fit(make_model(3), callbacks=[callback], max_steps=2)
            trainer.test(trainer.model, small_data(), verbose=False)
        else:
            with pytest.raises(KeyError):
                fit(make_model(3), callbacks=[callback])
        assert seen
        assert all(threads == {"torch": allowed, "blas": {allowed}} for threads in seen)
        assert self.threads() == {"torch": 2, "blas": {2}}


def test_a_trainer_that_asks_for_another_precision_is_refused_without_a_command_line():
    trainer = L.Trainer(precision="bf16-mixed", accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(InputError, match="bf16-mixed"):
        trainer.fit(NumPyMLP(), CIFAR10DataModule(source="synthetic", train_size=32, val_size=16, test_size=16))


def test_layers_are_in_training_after_a_validation():
    """Lightning's loops restore `training` of each module by hand."""
    torch.manual_seed(0)
    model = NumPyCNN([4], 8, batch_norm=True, dropout=0.5)
    seen = []
    forward = model.network.layers[-2].forward
    model.network.layers[-2].forward = lambda x: seen.append(model.network.layers[-2].training) or forward(x)
    fit(model, max_epochs=2, num_sanity_val_steps=1)
    assert seen[0] is False
    assert {True, False} == set(seen[1:])
    assert model.layers[1].running_var.ne(1).all()


def test_learns_after_an_evaluation():
    """Memory for pixels made in inference mode could not be written to outside it."""
    found = []
    for evaluated in (True, False):
        model, data = make_model(8), small_data(test_size=100)  # more images at once than a training batch has
        before = values(model)
        if evaluated:
            make_trainer().test(model, data, verbose=False)
        fit(model, data)
        found.append(values(model))
        assert not torch.equal(found[-1], before)
    assert torch.equal(*found)


def test_an_optimizers_zero_grad_keeps_the_memory_shared():
    model = NumPyMLP()
    optimizer = model.make_optimizer(model.parameters())
    model.network.flat_gradients[:] = 1
    optimizer.zero_grad()
    assert not model.network.flat_gradients.any()
    assert all(np.shares_memory(p.grad.numpy(), model.network.flat_gradients) for p in model.parameters())
