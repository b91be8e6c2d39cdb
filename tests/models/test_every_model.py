"""Every registered model, and the classifier they share."""

import math

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from datamodules.loading import Batch
from datamodules.synthetic import CLASS_NAMES
from tests.helpers import quiet_trainer, random_images, tiny_data
from zoo.catalogue import registry
from zoo.core.schedules import Linear
from zoo.models.cnn import CNN, ImprovedCNN
from zoo.models.mlp import MLP
from zoo.testing import check_model, check_two_processes

MODELS = list(registry.BUILT_IN)


@pytest.fixture
def images() -> torch.Tensor:
    return random_images(6)


@pytest.mark.parametrize("name", MODELS)
def test_keeps_the_contract(name):
    check_model(registry.load(name))


ALONE = """
import torch
from zoo.models.mlp import MLP

class Alone(MLP):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes=num_classes)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        parameters = list(self.parameters())
        gradients = torch.autograd.grad(super().training_step(batch, batch_idx), parameters)
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        self.optimizers().step()
"""


def test_keep_it_in_two_processes(tmp_path, monkeypatch):
    """The zoo's, which come first, do; one that computes its gradients by itself, and averages them not, is told of."""
    (tmp_path / "alone.py").write_text(ALONE)
    monkeypatch.syspath_prepend(tmp_path)
    from alone import Alone

    with pytest.raises(AssertionError, match=r"^Alone has other weights "):
        check_two_processes(*map(registry.load, MODELS), Alone)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("num_classes", [10, 2])
def test_probabilities(name, num_classes, images):
    model = registry.load(name)(num_classes=num_classes).eval()
    logits = model(images)
    probabilities = model.predict_probabilities(logits)
    assert probabilities.shape == (6, num_classes)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))
    assert torch.equal(probabilities.argmax(1), model.predict_classes(logits))


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_by_hand():
    assert parameters(MLP(hidden_sizes=[])) == 3072 * 10 + 10
    assert parameters(MLP()) == 3072 * 64 + 64 + 64 * 10 + 10
    assert parameters(CNN()) == (27 * 32 + 32) + (288 * 64 + 64) + (4096 * 128 + 128) + (128 * 10 + 10) == 545_098
    convolutions = sum(9 * i * o + 2 * o for i, o in ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)))
    assert parameters(ImprovedCNN()) == convolutions + (4096 * 512 + 2 * 512) + (512 * 10 + 10) == 3_249_610


def test_flops_of_improved_cnn(images):
    """0.926 GFLOP for an image's forward and backward pass, a published figure of the plan."""
    model = ImprovedCNN()
    with FlopCounterMode(display=False) as counter:
        model.training_step(Batch(images, torch.zeros(6, dtype=torch.long), torch.arange(6)), 0).backward()
    assert counter.get_total_flops() / 6 == pytest.approx(0.926e9, rel=0.01)


def test_normalization_is_the_textbooks(images):
    from torchvision.transforms.v2.functional import normalize

    expected = normalize(images.float() / 255, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
    model = CNN()
    for same in (images, images.contiguous(memory_format=torch.channels_last), images.float().requires_grad_()):
        torch.testing.assert_close(model.normalize(same).detach(), expected, atol=1e-5, rtol=1e-5)


def test_loss_of_two_classes_is_that_of_two_logits():
    """A logit z and its sigmoid are the softmax of (0, z)."""
    logits, labels = torch.randn(8, 1), torch.randint(0, 2, (8,))
    two = torch.cat([torch.zeros(8, 1), logits], dim=1)
    torch.testing.assert_close(CNN(num_classes=2).loss(logits, labels), F.cross_entropy(two, labels))


def test_evaluation_equals_a_plain_loop():
    torch.manual_seed(0)
    model, data = CNN(), tiny_data(test_size=33, eval_batch_size=10)
    trainer = quiet_trainer()
    trainer.test(model, data, verbose=False)
    batch = data.test.__getitems__(list(range(33)))
    model.eval()
    with torch.no_grad():
        logits = model(batch.images)
    assert model.results["test"]["acc"] == pytest.approx((logits.argmax(1) == batch.labels).double().mean().item())
    assert model.results["test"]["loss"] == pytest.approx(F.cross_entropy(logits, batch.labels).item(), rel=1e-5)
    assert trainer.callback_metrics["test/acc"].item() == pytest.approx(model.results["test"]["acc"])


class RateRecorder(L.Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def rates_of(model, data=None, ckpt_path=None, **options):
    recorder = RateRecorder()
    trainer = quiet_trainer(callbacks=[recorder], **options)
    trainer.fit(model, data or tiny_data(), ckpt_path=ckpt_path, weights_only=True)
    return recorder.rates, trainer


def sgd_model():
    model = MLP()
    model.make_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.5)
    model.lr_schedule = Linear(warmup=0.25)
    return model


def expected_rates(steps, first=0):
    return [0.5 * Linear(warmup=0.25)((step + 0.5) / steps) for step in range(first, steps)]


def test_learning_rate_follows_the_schedule_step_by_step():
    rates, _ = rates_of(sgd_model(), max_epochs=3)  # 4 batches an epoch
    assert rates == pytest.approx(expected_rates(12))


def test_schedule_ends_with_max_steps():
    rates, _ = rates_of(sgd_model(), max_epochs=3, max_steps=6)
    assert rates == pytest.approx(expected_rates(6))


def test_schedule_counts_limited_and_accumulated_batches():
    rates, _ = rates_of(sgd_model(), max_epochs=4, limit_train_batches=3)
    assert rates == pytest.approx(expected_rates(12))
    rates, _ = rates_of(sgd_model(), max_epochs=2, accumulate_grad_batches=2)
    assert rates == pytest.approx([rate for rate in expected_rates(4) for _ in range(2)])


def test_resuming_with_more_epochs_stretches_the_schedule(tmp_path):
    _, trainer = rates_of(sgd_model(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    rates, _ = rates_of(sgd_model(), ckpt_path=tmp_path / "one.ckpt", max_epochs=4)
    assert rates == pytest.approx(expected_rates(16, first=4))


def test_default_optimizer():
    model = MLP()
    optimizer = model.make_optimizer(model.parameters())
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_val_metrics_of_a_fit():
    trainer = quiet_trainer()
    model = MLP()
    trainer.fit(model, tiny_data())
    for name in ("train/loss", "train/acc", "val/loss", "val/acc", "val/precision", "val/recall", "val/f1"):
        assert math.isfinite(trainer.callback_metrics[name].item()), name
    per_class = {name for name in trainer.callback_metrics if name.startswith("val_per_class/")}
    assert per_class == {f"val_per_class/{name}" for name in CLASS_NAMES}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_synthetic_images_tell_a_hidden_layer_from_a_linear_model(seed):
    """At least 10 points apart on the overlay's budget; `.ci/run` holds ImprovedCNN to its range."""
    sizes = {"train_size": 2500, "val_size": 500, "test_size": 1000, "batch_size": 64}
    data = CIFAR10DataModule(source="synthetic", seed=seed, **sizes)
    accuracies = []
    for hidden_sizes, lr in (([], 3e-4), ([64], 1e-3)):
        L.seed_everything(seed)
        model = MLP(hidden_sizes=hidden_sizes)
        model.make_optimizer = lambda parameters, lr=lr: torch.optim.AdamW(parameters, lr=lr)
        trainer = quiet_trainer(max_epochs=3)
        trainer.fit(model, data)
        trainer.test(model, data, verbose=False)
        accuracies.append(model.results["test"]["acc"])
    assert accuracies[0] > 0.2
    assert accuracies[0] + 0.1 < accuracies[1] < 0.75


def test_dropout_in_training_alone():
    torch.manual_seed(0)
    model, images = ImprovedCNN(dropout=0.75), torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    shares = {}
    model.net[-1].register_forward_pre_hook(
        lambda layer, inputs: shares.update({model.training: (inputs[0] == 0).float().mean()})
    )
    with torch.no_grad():
        model.train()(images)
        model.eval()(images)
    dropped = 1 - (1 - shares[True]) / (1 - shares[False])
    assert dropped == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("build", "culprit"),
    [(lambda: ImprovedCNN(dropout=1.0), "dropout=1.0"), (lambda: MLP(hidden_sizes=[64, 0]), "hidden_sizes")],
)
def test_out_of_range(build, culprit):
    with pytest.raises(InputError, match=culprit):
        build()
