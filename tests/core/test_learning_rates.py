"""The learning rate of each optimizer step, against closed forms; the logged rate is the one in force."""

import csv
import math
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import GradientAccumulationScheduler

import cli
from tests.helpers import quiet_trainer, run_of, scalars, tiny_data
from zoo.core.schedules import Cosine
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.training.callbacks.batch_log import BatchLog
from zoo.training.callbacks.history import History

LR = 0.1


class Rates(L.Callback):
    """Records the optimizer's learning rate at each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def net(schedule=None) -> MLP:
    model = MLP([4])
    model.make_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=LR)
    if schedule is not None:
        model.lr_schedule = schedule
    return model


def cosine(steps: int, total: int) -> list[float]:
    """Return half a cosine at the middle of each of the first `steps` of `total` steps."""
    return [LR * (1 + math.cos(math.pi * (step + 0.5) / total)) / 2 for step in range(steps)]


@pytest.mark.parametrize(
    ("scheduling", "options", "steps"),
    [  # of epochs of ten batches: an epoch's last batch always makes a step
        ({0: 1, 2: 8}, {}, 10 + 10 + 2 + 2),
        ({0: 4, 1: 2}, {}, 3 + 5 + 5 + 5),
        ({1: 3}, {}, 10 + 4 + 4 + 4),
        ({0: 5, 3: 1, 7: 2}, {}, 2 + 2 + 2 + 10),
        ({0: 1, 2: 8}, {"limit_train_batches": 5}, 5 + 5 + 1 + 1),
        ({0: 1, 2: 8}, {"max_steps": 21}, 21),
        ({0: 1, 2: 8}, {"max_steps": 99}, 24),
        (None, {"accumulate_grad_batches": 4}, 4 * 3),
    ],
)
def test_the_schedule_ends_with_training_however_gradients_accumulate(scheduling, options, steps):
    rates = Rates()
    callbacks = [rates] if scheduling is None else [rates, GradientAccumulationScheduler(scheduling)]
    quiet_trainer(max_epochs=4, callbacks=callbacks, **options).fit(net(Cosine(warmup=0)), tiny_data(batch_size=7))
    assert rates.rates == pytest.approx(cosine(steps, steps))


DATA = ["--data.source=synthetic", "--data.train_size=40", "--data.val_size=10", "--data.test_size=20"]
FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", *DATA, "--trainer.enable_model_summary=false"]
FIT += ["--lr_schedule=Cosine", "--lr_schedule.warmup=0", "--optimizer=SGD", f"--optimizer.lr={LR}"]
FIT += ["--trainer.log_every_n_steps=1", "--data.batch_size=4"]


def logged_rates(run: Path) -> list[float]:
    return [value for _, value in scalars(run)["batch/lr"]]


ACCUMULATE = "lightning.pytorch.callbacks.GradientAccumulationScheduler"


@pytest.mark.parametrize("step", [12, 21, None], ids=["mid-epoch", "mid-accumulating-epoch", "end-of-epoch"])
def test_a_resumed_run_accumulates_as_one_that_was_not_interrupted(step):
    """Epochs of 10 batches: steps 1 to 10, 11 to 20, 21 and 22, 23 and 24."""
    accumulate = {"class_path": ACCUMULATE, "init_args": {"scheduling": {0: 1, 2: 8}}}
    stop = {"class_path": "tests.callbacks.SignalAfter", "init_args": {"step": step}}
    for name, used in (("accumulate", [accumulate]), ("stop", [accumulate, stop])):
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": used}}))
    if step is None:
        run = run_of(*FIT, "--config=accumulate.yaml", "--trainer.max_epochs=3")
        assert logged_rates(run) == pytest.approx(cosine(22, 22))
        assert cli.main(["fit", "--resume", str(run), "--trainer.max_epochs=4"]) == 0
        assert logged_rates(run) == pytest.approx(cosine(22, 22) + cosine(24, 24)[22:])
    else:
        run = run_of(*FIT, "--config=stop.yaml", "--trainer.max_epochs=4", code=143)
        assert cli.main(["fit", "--resume", str(run), "--config=accumulate.yaml"]) == 0
        assert logged_rates(run) == pytest.approx(cosine(24, 24))


def test_a_run_that_goes_on_with_larger_batches_follows_the_schedule_to_its_end():
    """Two epochs of 10 steps, then two of 5: the schedule runs over 30 steps."""
    run = run_of(*FIT, "--trainer.max_epochs=2")
    assert cli.main(["fit", "--resume", str(run), "--trainer.max_epochs=4", "--data.batch_size=8"]) == 0
    assert logged_rates(run) == pytest.approx(cosine(20, 20) + cosine(30, 30)[20:])


class Halves(L.Callback):
    """Sets a rate of its own before each step, as a learning-rate finder or a warm-up does."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        trainer.optimizers[0].param_groups[0]["lr"] = LR * 0.5 ** (trainer.global_step + 1)


class OwnSchedule(MLP):
    """Has a PyTorch schedule of its own, against the contract."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=LR)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@pytest.mark.parametrize(
    ("model", "callback", "expected"),
    [
        (net(Cosine()), Halves(), [LR * 0.5 ** (step + 1) for step in range(8)]),
        (OwnSchedule([4]), None, [LR * 0.1 ** (step // 2) for step in range(8)]),
    ],
    ids=["of-a-callback", "of-a-model"],
)
def test_the_logged_rate_is_the_one_in_force(model, callback, expected, tmp_path):
    history, rates, logger = History(), Rates(), L.pytorch.loggers.CSVLogger(tmp_path)
    chosen = [history, rates, BatchLog(), *([callback] if callback else [])]
    quiet_trainer(max_epochs=2, callbacks=chosen, logger=logger, log_every_n_steps=1).fit(model, tiny_data())
    assert rates.rates == pytest.approx(expected)
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()))
    assert [float(row["batch/lr"]) for row in rows if row["batch/lr"]] == pytest.approx(expected)
    assert [float(row["lr"]) for row in rows if row["lr"]] == pytest.approx(expected[3::4])
    assert [row["lr"] for row in history.rows] == pytest.approx(expected[3::4])


def test_the_logged_rate_of_a_net_that_makes_many_steps_in_a_call():
    model, history = NumPyMLP([4]), History()
    model.lr_schedule = Cosine(warmup=0)
    quiet_trainer(max_epochs=2, callbacks=[history]).fit(model, tiny_data())
    base = model.default_optimizer["init_args"]["lr"]
    expected = [rate * base / LR for rate in cosine(8, 8)]
    assert [row["lr"] for row in history.rows] == pytest.approx([expected[3], expected[7]])
