"""`StopWhenNotFinite`: which tensors of a checkpoint end a run."""

import lightning as L
import pytest
import torch
from torch import nn

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import RunError
from zoo.core.torch_classifier import TorchClassifier
from zoo.training.callbacks.finite import StopWhenNotFinite


class Net(TorchClassifier):
    """A linear classifier with buffers that are not finite at the start."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, self.num_outputs))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))
        self.register_buffer("lowest", torch.full((2,), torch.inf))
        for name in ("float8_e4m3fn", "float8_e5m2", "complex64", "int8", "bool"):
            self.register_buffer(name, torch.ones(3).to(getattr(torch, name)))


class Spoil(L.Callback):
    """Writes NaN, or another value, into a tensor at the end of an epoch, before the checkpoint is saved."""

    def __init__(self, name: str, epoch: int = 0, value: float = torch.nan) -> None:
        self.name, self.epoch, self.value = name, epoch, value

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            tensor = pl_module.state_dict()[self.name]
            tensor.view(-1)[0] = self.value


def fit(path=None, *callbacks, epochs=1):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, StopWhenNotFinite()],
        **quiet,
    )
    data = CIFAR10DataModule(source="synthetic", train_size=8, val_size=0, batch_size=4)
    trainer.fit(Net(), data, ckpt_path=path, weights_only=True)
    trainer.save_checkpoint("last.ckpt")
    return trainer


def test_buffers_that_start_so_may_hold_infinities():
    fit()
    assert fit("last.ckpt", epochs=2).global_step == 4, "and after a resume"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.2.weight", torch.nan),
        ("net.2.weight", -torch.inf),
        ("net.1.running_var", torch.inf),
        ("float8_e4m3fn", torch.nan),  # it has no infinity
        ("float8_e5m2", torch.inf),
        ("complex64", torch.nan),
    ],
)
def test_what_started_finite_has_to_stay_so(name, value):
    with pytest.raises(RunError, match="training diverged: the weights"):
        fit(None, Spoil(name, value=value))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_sum_of_the_losses_has_to_be_finite(value):
    class AddToLoss(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            pl_module.count("train", torch.zeros(1, 10), torch.tensor([0]), torch.tensor(value))

    with pytest.raises(RunError, match="training diverged: the loss"):
        fit(None, AddToLoss())


def test_what_started_finite_has_to_stay_so_in_a_resumed_run():
    """This also holds if the checkpoint is damaged: the buffers are those of a new model."""
    fit()
    with pytest.raises(RunError, match="training diverged: the weights"):
        fit("last.ckpt", Spoil("net.1.running_var", epoch=1), epochs=2)
    content = torch.load("last.ckpt", weights_only=True)
    content["state_dict"]["net.1.running_var"].fill_(torch.nan)
    torch.save(content, "damaged.ckpt")
    with pytest.raises(RunError, match="training diverged: the weights"):
        fit("damaged.ckpt", epochs=2)
