"""`--ema` and `--swa`: against averages in a plain loop, and through commands."""

import json

import lightning as L
import pytest
import torch
from torch import nn

import cli
from tests.helpers import quiet_trainer, refusal, rows, run_of, tiny_data, weights
from zoo.core import devices
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.numpy_mlp import NumPyMLP
from zoo.runs.checkpoints import TRAINED
from zoo.training.callbacks.averages import EMA, SWA, TrainedWeights


class Net(TorchClassifier):
    """Batch norm, two names for one parameter, and a buffer whose difference from itself is NaN."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 10))
        self.bias = self.net[3].bias
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


class Record(L.Callback):
    """Records the state after each step, in each validation, and at the start of each epoch; saves each epoch."""

    def __init__(self) -> None:
        self.steps, self.validated, self.starts = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.starts.append(state(pl_module))

    def on_train_batch_end(self, trainer, pl_module, *args):
        if len(self.steps) < trainer.global_step:
            self.steps.append(state(pl_module))

    def on_validation_epoch_start(self, trainer, pl_module):
        self.validated.append(state(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(f"{trainer.current_epoch}.ckpt")


def state(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def by_hand(steps: list, share) -> dict[str, torch.Tensor]:
    """Return the average of all but integers, in float64; `share(n)` is that of the weights in update n, from 1."""
    average = {}
    for n, step in enumerate(steps, start=1):
        for name, value in step.items():
            if value.is_floating_point() and name != "mask":
                new = value.double()
                average[name] = new if n == 1 else (1 - share(n)) * average[name] + share(n) * new
    return average


def assert_state(found: dict, average: dict, trained: dict) -> None:
    """A state is the average, and the trained state where there is none."""
    for name, value in found.items():
        if name in average:
            torch.testing.assert_close(value.double(), average[name], rtol=1e-4, atol=1e-6, msg=name)
        else:
            assert torch.equal(value, trained[name]), name


def fitted(callback, ckpt_path: str | None = None, **options) -> tuple[Record, Net]:
    """Train for epochs of four steps."""
    torch.manual_seed(0)
    model, record = Net(), Record()
    trainer = quiet_trainer(callbacks=[callback, TrainedWeights(), record], **{"max_epochs": 4} | options)
    trainer.fit(model, tiny_data(), ckpt_path=ckpt_path, weights_only=True)
    return record, model


AVERAGES = {
    "EMA": (lambda n: EMA(0.7, n), lambda n: 1 - min(0.7, (1 + n) / (10 + n)), 0),
    "SWA": (lambda n: SWA(0.4, n), lambda n: 1 / n, 10),  # round(0.4 * 16) is 6
}


@pytest.mark.parametrize("name", AVERAGES)
def test_against_a_plain_loop(name):
    """Before the average starts, the trained weights are validated and saved."""
    make, share, start = AVERAGES[name]
    record, model = fitted(make(1))
    for epoch in range(4):
        done = record.steps[: 4 * (epoch + 1)]
        average = by_hand(done[start:], share)
        assert bool(average) == (len(done) > start)
        assert_state(record.validated[epoch], average, done[-1])
        saved = torch.load(f"{epoch}.ckpt", weights_only=True)
        assert_state(saved["state_dict"], average, done[-1])
        assert_state(saved.get(TRAINED, saved["state_dict"]), {}, done[-1])
        assert (TRAINED in saved) == bool(average)
        if epoch:
            assert_state(record.starts[epoch], {}, record.steps[4 * epoch - 1])
    assert_state(state(model), average, done[-1])
    assert not torch.equal(model.net[3].weight, record.steps[-1]["net.3.weight"])


@pytest.mark.parametrize("name", AVERAGES)
def test_accumulated_gradients(name):
    make, share, start = AVERAGES[name]
    record, model = fitted(make(1), accumulate_grad_batches=2)
    assert len(record.steps) == 8
    assert_state(state(model), by_hand(record.steps[5 if start else 0 :], share), record.steps[-1])


@pytest.mark.parametrize("name", AVERAGES)
def test_numpy_networks_make_several_steps_between_updates(name):
    """The weights of every third step count, whether a callback looks at the others or not."""
    make, record, models = AVERAGES[name][0], Record(), []
    for others in ([record], []):
        torch.manual_seed(0)
        models.append(NumPyMLP([4]))
        quiet_trainer(callbacks=[make(3), *others], max_epochs=4).fit(models[-1], tiny_data())
    assert len(record.steps) == 16
    taken = record.steps[2::3]
    share = (lambda n: 1 - min(0.7**3, (1 + n) / (10 + n))) if name == "EMA" else (lambda n: 1 / n)
    average = by_hand(taken if name == "EMA" else taken[3:], share)  # steps 12 and 15 are of the last 6
    for key, value in state(models[0]).items():
        assert torch.equal(value, state(models[1])[key])
        torch.testing.assert_close(value.double(), average[key], rtol=1e-4, atol=1e-6)


def test_half_precision_is_averaged_in_float32():
    """In bfloat16, an average would not move by a thousandth."""
    record, _ = fitted(EMA(0.999), precision="bf16-true")
    average = torch.load("3.ckpt", weights_only=True)["state_dict"]["net.3.weight"]
    assert average.dtype == torch.float32
    assert record.steps[-1]["net.3.weight"].dtype == torch.bfloat16
    assert_state({"net.3.weight": average}, by_hand(record.steps, lambda n: 1 - (1 + n) / (10 + n)), {})


@pytest.mark.parametrize("name", AVERAGES)
def test_a_longer_run_goes_on(name):
    """As a run that was longer from the start: a mean that started too early is dropped."""
    make = AVERAGES[name][0]
    _, whole = fitted(make(1))
    fitted(make(1), max_epochs=2)
    _, longer = fitted(make(1), ckpt_path="1.ckpt")
    for key, value in state(whole).items():
        assert torch.equal(value, state(longer)[key]), key


def test_another_kind_of_average_starts_from_the_trained_weights():
    record, _ = fitted(EMA(0.7), max_epochs=2)
    record, model = fitted(SWA(0.4), ckpt_path="1.ckpt")
    assert_state(state(model), by_hand(record.steps[2:], lambda n: 1 / n), record.steps[-1])


def test_without_an_average_the_trained_weights_go_on():
    record, _ = fitted(EMA(0.7), max_epochs=2)
    longer, _ = fitted(TrainedWeights(), ckpt_path="1.ckpt")
    assert_state(longer.starts[0], {}, record.steps[-1])


def test_a_resumed_mean_goes_on_with_accumulated_gradients():
    options = {"accumulate_grad_batches": 2, "max_epochs": 6}
    _, whole = fitted(SWA(0.7), **options)
    _, resumed = fitted(SWA(0.7), ckpt_path="3.ckpt", **options)
    for key, value in state(whole).items():
        assert torch.equal(value, state(resumed)[key]), key


# By the command line.

FIT = ["fit", "--data.source=synthetic", "--data.train_size=36", "--data.val_size=20", "--data.test_size=20"]
FIT += ["--data.batch_size=8", "--trainer.max_epochs=3", "--trainer.enable_model_summary=false"]  # five steps an epoch
CNN = ["--model=ImprovedCNN", "--sam=0.05", "--l1=1e-4", "--freeze=1"]
NUMPY = ["--model=NumPyMLP", "--model.hidden_sizes=[8]", "--optimizer=NumPyAdam", "--optimizer.weight_decay=0.1"]
NUMPY += ["--sam=0.05", "--l2=1e-3", "--data.batch_size=2"]


def stop_after(step: int) -> str:
    callback = {"class_path": "tests.callbacks.SignalAfter", "init_args": {"step": step}}
    return f"--trainer.callbacks={json.dumps([callback])}"


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ([*CNN, "--ema=0.9"], 7),
        ([*CNN, "--swa=0.5"], 12),
        ([*NUMPY, "--ema=0.9"], 25),
        ([*NUMPY, "--swa=0.5"], 40),
    ],
    ids=["ema", "swa", "numpy-ema", "numpy-swa"],
)
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(options, step):
    """With sharpness-aware steps, penalties, weight decay of weights alone, frozen weights, dropout, batch norm."""
    whole = run_of(*FIT, *options, "--name=whole")
    run = run_of(*FIT, *options, "--name=cut", stop_after(step), code=143)
    assert cli.main(["fit", f"--resume={run}", f"--config={run}/config.yaml"]) == 0
    for name in ("last", "best"):
        for key, value in weights(whole, name).items():
            assert torch.equal(value, weights(run, name)[key]), key
    assert rows(run) == rows(whole)


@pytest.mark.parametrize("options", [["--ema=0.8"], ["--swa=0.4"]])
def test_what_is_validated_is_saved_and_used(options, capsys):
    run = run_of(*FIT, "--model=CNN", *options)
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    key = "net.0.weight"
    assert not torch.equal(saved["state_dict"][key], saved[TRAINED][key])
    assert cli.main(["validate", f"--ckpt={run}/checkpoints/last.ckpt"]) == 0
    (path,) = run.glob("val/*/metrics.json")
    assert json.loads(path.read_text())["val/loss"] == pytest.approx(float(rows(run)[-1]["val/loss"]), rel=1e-4)
    longer = run_of("fit", f"--ckpt={run}/checkpoints/last.ckpt", "--trainer.max_epochs=4")
    assert f"{options[0][2:].replace('=', ': ')}\n" in (longer / "config.yaml").read_text()


REFUSED = {
    "--ema=1": "--ema=1.0 is out of range: give a number above 0 and below 1",
    "--ema=0": "--ema=0.0 is out of range",
    "--ema=-0.5": "--ema=-0.5 is out of range",
    "--swa=0": "--swa=0.0 is out of range",
    "--swa=1": "--swa=1.0 is out of range",
    "--ema=0.9 --swa=0.5": "--ema=0.9 and --swa=0.5 are two averages of the weights: give one of them",
    "--swa=0.5 --trainer.max_epochs=-1": "--swa needs an end: give --trainer.max_epochs or --trainer.max_steps",
}


@pytest.mark.parametrize("average", ["--ema=0.9", "--swa=0.5"])
def test_pruning_is_refused(average, capsys):
    pruning = {"class_path": "lightning.pytorch.callbacks.ModelPruning", "init_args": {"pruning_fn": "l1_unstructured"}}
    line = refusal(capsys, *FIT, "--model=MLP", average, f"--trainer.callbacks={json.dumps([pruning])}")
    assert "ModelPruning renames the weights that --ema and --swa average: leave one of them out" in line


@pytest.mark.parametrize("option", ["--ema=0.9", "--swa=0.5", "--sam=0.1"])
def test_processes_that_divide_the_weights_are_refused(option, monkeypatch, capsys):
    """FSDP needs GPUs."""
    monkeypatch.setattr(devices, "has_whole_weights", lambda _: False)
    line = refusal(capsys, *FIT, "--model=MLP", option)
    assert "SingleDeviceStrategy divides the weights, which --ema, --swa and --sam need whole" in line


@pytest.mark.parametrize("options", REFUSED)
def test_refusals(options, capsys):
    assert REFUSED[options] in refusal(capsys, "fit", "--model=MLP", "--data.source=synthetic", *options.split())
