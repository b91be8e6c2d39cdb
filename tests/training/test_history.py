"""The seconds of epochs and the speed of training, by a fake clock."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch

from tests.helpers import quiet_trainer, tiny_data
from zoo.models.mlp import MLP
from zoo.training.callbacks.history import History
from zoo.training.callbacks.speed import Speed
from zoo.training.run_logger import RunLogger


class Clock(L.Callback):
    """A training batch takes a second, one of validation ten."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("zoo.training.callbacks.history.time", SimpleNamespace(perf_counter=lambda: self.now))

    def on_train_batch_start(self, *args):
        self.now += 1

    def on_validation_batch_start(self, *args):
        self.now += 10


class Pause(L.Callback):
    """Keeps the history's state after a batch of the first epoch."""

    def __init__(self, history: History, batch: int) -> None:
        self.history, self.batch, self.state = history, batch, None

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        if self.state is None and batch_idx == self.batch:
            self.state = self.history.state_dict() | {"rows": []}


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def fit(history, *callbacks, logger=False, **options):
    """Epochs of four batches, with a batch of validation after each two of them."""
    data = tiny_data(train_size=40, batch_size=10, val_size=20)
    trainer = quiet_trainer(val_check_interval=2, callbacks=[history, *callbacks], **options)
    trainer.logger = logger
    trainer.fit(MLP(hidden_sizes=[4]), data)


def test_seconds_are_of_the_epoch_and_of_its_steps(clock):
    history = History()
    fit(history, clock, max_epochs=2)
    assert [(row["seconds"], row["train_seconds"]) for row in history.rows] == [(24, 4), (24, 4)]
    assert history.seconds == 48


def test_an_interrupted_epoch_has_the_seconds_before_the_interruption(clock):
    """Training stops after the third batch and one validation, and resumes later, here with a whole epoch."""
    history = History()
    pause = Pause(history, batch=2)
    fit(history, pause, clock, max_epochs=1)
    assert (pause.state["elapsed"], pause.state["validated"]) == (13, 10)

    resumed = History()
    resumed.load_state_dict(pause.state)
    clock.now += 500
    resumed.on_train_start(None, None)
    clock.now += 1
    assert resumed.state_dict()["elapsed"] == 14
    resumed.on_validation_start(quiet_trainer(), None)
    clock.now += 10
    resumed.on_validation_end(None, None)
    assert resumed.state_dict() == {"rows": [], "elapsed": 24, "validated": 20}


def test_images_per_second_are_those_of_the_steps(clock, monkeypatch, tmp_path):
    logged = []
    monkeypatch.setattr(RunLogger, "log_epoch", lambda self, metrics, trainer: logged.append(metrics))
    history = History()
    fit(history, Speed(history), clock, logger=RunLogger(tmp_path), max_epochs=2)
    speeds = [metrics for metrics in logged if "perf/seconds_per_epoch" in metrics]
    assert speeds == [{"perf/seconds_per_epoch": 24, "perf/images_per_second": 40 / 4}] * 2


def test_images_of_all_processes_are_counted():
    """Each process counts its own images."""
    model, trainer = MLP(hidden_sizes=[4]), SimpleNamespace(world_size=2)
    model.trainer = trainer
    model.count("train", torch.zeros(5, 10), torch.zeros(5, dtype=torch.long), torch.tensor(1.0))
    assert model.images_trained() == 10


def test_an_epoch_that_began_elsewhere_has_no_speed():
    history = History()
    history.rows = [{"seconds": 2.0, "train_seconds": 1.0}]
    logged = []
    speed, trainer = Speed(history), SimpleNamespace(loggers=[None])
    model = SimpleNamespace(images_trained=lambda: 40, log_metrics=logged.append)
    for starts in (True, False):
        speed.on_train_start(trainer, model)
        if starts:
            speed.on_train_epoch_start(trainer, model)
        speed.on_train_epoch_end(trainer, model)
    assert logged == [{"perf/seconds_per_epoch": 2.0, "perf/images_per_second": 40.0}]


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_the_steps_of_a_gpu_are_waited_for_before_the_validation(kind, clock, monkeypatch):
    """The GPU gets the steps at once, and takes three seconds for them."""

    def synchronize():
        clock.now += 3

    monkeypatch.setattr(f"torch.{kind}.synchronize", synchronize)
    history = History()
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(kind)))
    history.on_validation_start(trainer, None)
    clock.now += 10
    history.on_validation_end(trainer, None)
    assert history.state_dict()["validated"] == 10
