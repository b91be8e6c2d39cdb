"""Junk in a checkpoint: one line, nothing written, and nothing lost."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import cli
import zoo.core.torch_optimizers
from datamodules.errors import InputError
from tests.helpers import contents
from zoo.core.classifier import EveryStepLR
from zoo.models.mlp import MLP
from zoo.runs import checkpoints
from zoo.training import restoring
from zoo.training.callbacks import optimizer_state

TINY = ["--data.source=synthetic", "--data.train_size=16", "--data.val_size=8", "--data.test_size=8"]
EMA = "--ema=0.9"
FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", "--early_stopping=9", "--lr_schedule=Cosine", EMA, *TINY]
FIT += ["--trainer.enable_model_summary=false", "--data.batch_size=8"]
DELETED = object()


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> dict:
    """Return the checkpoint of a run with early stopping and averaged weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("content"))
        assert cli.main([*FIT, "--trainer.max_epochs=1"]) == 0
        (path,) = Path("runs").glob("*/*/checkpoints/last.ckpt")
        return torch.load(path, weights_only=True)


def changed(content: dict, path: str, value: Any) -> dict:
    """Return a copy with another value at a path of keys, divided by " > ", or of their beginnings."""
    content = copy.deepcopy(content)
    place: Any = content
    *above, last = path.split(" > ")
    for name in above:
        place = place[int(name)] if isinstance(place, list) or name.isdecimal() else place[_key(place, name)]
    key = int(last) if isinstance(place, list) else _key(place, last)
    if value is DELETED:
        del place[key]
    else:
        place[key] = value(place[key]) if callable(value) else value
    return content


def _key(place: dict, name: str) -> str:
    return next((key for key in place if str(key).startswith(name)), name)


def other_shape(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(7)


STATE = "optimizer_states > 0 > state > 0"
RUN_CHECKPOINT = "callbacks > RunCheckpoint{'monitor': 'val/acc'"
JUNK: dict[tuple[str, str], tuple[Any, str]] = {
    ("history", "callbacks > History > rows"): (5, "History"),
    ("a history of texts", "callbacks > History > rows > 0"): ("x", "History"),
    ("a history without seconds", "callbacks > History > rows > 0"): ({"epoch": 1}, "History"),
    ("a history of lists", "callbacks > History > rows > 0 > lr"): ([1], "History"),
    ("the clock", "callbacks > History > elapsed"): ("x", "History"),
    ("no states", "callbacks"): (5, "callbacks"),
    ("early stopping", "callbacks > EpochEarlyStopping > best_score"): ("x", "EpochEarlyStopping"),
    ("its count", "callbacks > EpochEarlyStopping > wait_count"): (None, "EpochEarlyStopping"),
    ("the best", f"{RUN_CHECKPOINT} > best_model_score"): ("x", "RunCheckpoint"),
    ("the best files", f"{RUN_CHECKPOINT} > best_k_models"): ({"best.ckpt": "x"}, "RunCheckpoint"),
    ("no state of a callback", "callbacks > History"): (None, "History is a NoneType, expected a dict"),
    ("shape of a moment", f"{STATE} > exp_avg"): (other_shape, "exp_avg"),
    ("no moment", f"{STATE} > exp_avg"): (DELETED, "exp_avg"),
    ("a text for a moment", f"{STATE} > exp_avg"): ("x", "exp_avg"),
    ("the optimizer's groups", "optimizer_states > 0 > param_groups"): ([], "optimizer"),
    ("its rate", "optimizer_states > 0 > param_groups > 0 > lr"): ("x", "lr"),
    ("its moments' rates", "optimizer_states > 0 > param_groups > 0 > betas"): ([0.9], "betas"),
    ("an endless rate", "optimizer_states > 0 > param_groups > 0 > lr"): (float("inf"), "lr is inf"),
    ("no number for a rate", "optimizer_states > 0 > param_groups > 0 > lr"): (float("nan"), "lr is nan"),
    ("endless first rate", "optimizer_states > 0 > param_groups > 0 > initial_lr"): (float("inf"), "initial_lr is inf"),
    ("moments of one parameter", "optimizer_states > 0 > state"): ({0: {}}, "state is empty for some"),
    ("no moments", "optimizer_states > 0 > state"): ({}, "state is empty after 2 steps"),
    ("a schedule's last step", "lr_schedulers > 0 > last_epoch"): (10**30, "last_epoch is 1e+30"),
    ("no optimizer", "optimizer_states"): ([], "optimizer_states has 0 values, expected 1"),
    ("what it was", "optimizer"): (5, "optimizer"),
    ("no schedule", "lr_schedulers"): ([], "optimizer"),
    ("a schedule's rates", "lr_schedulers > 0 > base_lrs"): ("x", "base_lrs"),
    ("a schedule's step", "lr_schedulers > 0 > last_epoch"): ([], "last_epoch"),
    ("a schedule's optimizer", "lr_schedulers > 0 > optimizer"): (5, "lr_schedulers has optimizer"),
    ("a schedule's factors", "lr_schedulers > 0 > lr_lambdas"): ([5], "optimizer"),
    ("progress", "loops > fit_loop > epoch_loop.batch_progress > current > ready"): ("x", "ready"),
    ("half a progress", "loops > fit_loop > epoch_loop.batch_progress"): ({}, "batch_progress"),
    ("negative progress", "loops > fit_loop > epoch_progress > current > processed"): (-1, "no readable checkpoint"),
    ("the batches", "loops > fit_loop > state_dict > combined_loader"): ([5], "combined_loader"),
    ("metrics", "train_metrics > confusion"): (other_shape, "confusion"),
    ("other metrics", "train_metrics > unknown"): (torch.zeros(1), "train_metrics has unknown"),
    ("results", "results > val"): ("x", "results.val is a str, expected a dict"),
    ("version", "pytorch-lightning_version"): ("x", "no readable checkpoint"),
    ("an old version", "pytorch-lightning_version"): ("1.5.0", "Lightning 1.5.0 wrote it"),
    ("a pre-release", "pytorch-lightning_version"): ("1.2.3rc1", "Lightning 1.2.3rc1 wrote it"),
    ("a list for a version", "pytorch-lightning_version"): ([2], "no readable checkpoint"),
    ("sparse weights", "state_dict > net.1.weight"): (lambda weight: weight.to_sparse(), "layout"),
    ("weights without data", "state_dict > net.1.weight"): (lambda weight: weight.to("meta"), "without data"),
    ("complex weights", "state_dict > net.1.weight"): (lambda weight: weight.to(torch.complex64), "complex"),
    ("integer weights", "state_dict > net.1.weight"): (lambda weight: weight.to(torch.int64), "integer"),
    ("averaged weights", "current_model_state > net.1.weight"): (other_shape, "net.1.weight"),
    ("no averaged weights", "current_model_state"): (5, "weights of the model"),
    ("Lightning's average", "averaging_state"): ({"x": 5}, "weights of the model"),
    ("the average", "callbacks > EMA > updates"): ("x", "EMA"),
    ("its updates", "callbacks > EMA > updates"): (-1, "updates is -1, expected a count"),
    ("the model's arguments", "hyper_parameters > hidden_sizes"): ([10**5000], "no"),
}  # fmt: skip
LOOP = "loops > fit_loop"
OF_EPOCHS = f"{LOOP} > epoch_progress > current"
STEPS = f"{LOOP} > epoch_loop.automatic_optimization.optim_progress > optimizer > step > total"
VERSION = "pytorch-lightning_version"
HUGE, NAN = 10**30, float("nan")
UNREADABLE: list[tuple[str, Any, str]] = [
    *((VERSION, version, f"Lightning {version} wrote it") for version in ("1.5.0", "1.0.0", "0.9.0", "1.2.3rc1")),
    (VERSION, "x", "pytorch-lightning_version is the str 'x', expected a version"),
    (VERSION, None, "pytorch-lightning_version is a NoneType, expected a version"),
    ("global_step", HUGE, "global_step is a number of 100 bits, expected a count of 0 to"),
    ("global_step", "x", "global_step is the str 'x', expected a count"),
    (f"{OF_EPOCHS} > completed", HUGE, "loops.fit_loop.epoch_progress.current.completed is a number of 100 bits"),
    (f"{OF_EPOCHS} > completed", 2, "1 epochs ready, 1 started, 1 processed and 2 completed, which contradict"),
    (f"{OF_EPOCHS} > ready", 9, "9 epochs ready"),
    (f"{OF_EPOCHS} > processed", -1, "processed is -1, expected a count"),
    (f"{OF_EPOCHS} > processed", NAN, "processed is the float nan, expected a count"),
    (f"{OF_EPOCHS} > processed", DELETED, "it lacks 'processed'"),
    (OF_EPOCHS, None, "loops.fit_loop.epoch_progress.current is a NoneType, expected a count"),
    (f"{STEPS} > completed", HUGE, "optimizer.step.total.completed is a number of 100 bits"),
    (f"{STEPS} > ready", NAN, "optimizer.step.total.ready is the float nan"),
    (f"{LOOP} > epoch_loop.batch_progress > total > ready", NAN, "batch_progress.total.ready is the float nan"),
    (f"{LOOP} > epoch_loop.batch_progress > is_last_batch", 5, "is_last_batch is the int 5, expected a bool"),
    (f"{LOOP} > epoch_loop.scheduler_progress > total > ready", HUGE, "scheduler_progress.total.ready"),
    (f"{LOOP} > epoch_loop.val_loop.batch_progress > current > ready", HUGE, "val_loop.batch_progress.current.ready"),
    (f"{LOOP} > epoch_loop.state_dict > _batches_that_stepped", NAN, "_batches_that_stepped is the float nan"),
    ("loops", None, "loops is a NoneType, expected a dict"),
    (LOOP, 5, "loops.fit_loop is the int 5, expected a dict"),
    (f"{LOOP} > epoch_progress", {}, "it lacks 'current'"),
    ("hyper_parameters", None, "hyper_parameters is a NoneType, expected a dict"),
    ("hyper_parameters > hidden_sizes", [1] * 200_000, "hyper_parameters holds 200,005 values"),
    ("hyper_parameters > hidden_sizes", [[1] * 40] * 40, "a model takes at most 1,000"),
    ("state_dict > net.1.weight", 5, "state_dict.net.1.weight is the int 5, expected a Tensor"),
    ("state_dict > net.1.weight", lambda weight: weight.to_sparse(), "net.1.weight is a tensor of the layout"),
    ("state_dict > net.1.weight", lambda weight: weight.to_sparse_csr(), "net.1.weight is a tensor of the layout"),
]


@pytest.mark.parametrize(("place", "value", "message"), UNREADABLE, ids=[place for place, _, _ in UNREADABLE])
@pytest.mark.filterwarnings("ignore:Sparse CSR")  # of making it
def test_what_no_run_writes_is_named(content, place, value, message):
    torch.save(changed(content, place, value), "theirs.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            checkpoints.read(Path("theirs.ckpt"))
    assert str(caught.value).startswith("theirs.ckpt is no readable checkpoint of this project")
    assert message in str(caught.value)


EVALUATED = ("version", "sparse weights", "weights without data", "complex weights", "integer weights")


@pytest.mark.parametrize("case", JUNK, ids=lambda case: case[0])
def test_junk(content, case, capsys):
    value, word = JUNK[case]
    torch.save(changed(content, case[1], value), "theirs.ckpt")
    commands = [["fit", "--ckpt=theirs.ckpt", "--trainer.max_epochs=2", "--early_stopping=9", EMA]]
    commands += [["test", "--ckpt=theirs.ckpt"], ["predict", "--test_set", "--ckpt=theirs.ckpt"]] * (
        case[0] in EVALUATED
    )
    for command in commands:
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert word in error
        assert [path.name for path in Path().iterdir()] == ["theirs.ckpt"]


def test_nothing_is_lost_of_a_run_that_cannot_go_on(content, capsys):
    assert cli.main([*FIT, "--trainer.max_epochs=1"]) == 0
    (run,) = Path("runs").glob("*/*")
    path = run / "checkpoints/last.ckpt"
    torch.save(changed(torch.load(path, weights_only=True), "callbacks > History > rows", 5), path)
    before = contents(run)
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2"]) == 2
    assert "History cannot be restored" in capsys.readouterr().err
    assert contents(run) == before


def test_a_best_checkpoint_of_another_network_is_refused_in_one_line(content, capsys):
    assert cli.main([*FIT, "--trainer.max_epochs=1", "--optimizer.lr=0"]) == 0
    (run,) = Path("runs").glob("*/*")
    path = run / "checkpoints/best.ckpt"
    torch.save(changed(torch.load(path, weights_only=True), "state_dict > net.1.weight", other_shape), path)
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2"]) == 2
    assert "do not fit MLP: net.1.weight is (7,)" in capsys.readouterr().err


OPTIMIZERS = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "Adamax",
    "ASGD",
    "MuonSGD",
    "NAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sound_states_of_every_optimizer_are_taken(name):
    """This also holds with another learning rate, and before the first step."""
    cls = getattr(zoo.core.torch_optimizers if name == "MuonSGD" else torch.optim, name)
    model = MLP([4])
    for steps in (0, 2):
        model.make_optimizer = lambda parameters: cls(parameters, lr=0.01)
        content: dict = {}
        optimizer = model.build_optimizer()
        schedule = EveryStepLR(optimizer, [partial(float) for _ in optimizer.param_groups])
        content["optimizer"] = optimizer_state.describe(model)
        for _ in range(steps):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            schedule.step()
        content |= {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
        restoring.check_optimizer(content, model)
        model.make_optimizer = lambda parameters: cls(parameters, lr=0.02)
        restoring.check_optimizer(content, model)


@pytest.mark.parametrize(("name", "junk"), [("old_dirs", 5), ("func_evals", "x"), ("d", torch.zeros(3))])
def test_junk_of_lbfgs(name, junk):
    """Whose steps need a closure."""
    model = MLP([4])
    model.make_optimizer = torch.optim.LBFGS
    optimizer = model.build_optimizer()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(lambda: model.net[1].weight.sum())
    schedule = EveryStepLR(optimizer, [partial(float)])
    content = {"optimizer": optimizer_state.describe(model), "optimizer_states": [optimizer.state_dict()]}
    content["lr_schedulers"] = [schedule.state_dict()]
    restoring.check_optimizer(content, model)
    content["optimizer_states"][0]["state"][0][name] = junk
    with pytest.raises((TypeError, RuntimeError, AttributeError)):
        restoring.check_optimizer(content, model)


def test_a_checkpoint_of_an_earlier_version_goes_on(content):
    """Its training metrics had no soft labels."""
    torch.save(changed(content, "train_metrics > soft_hits", DELETED), "earlier.ckpt")
    assert cli.main([*FIT, "--ckpt=earlier.ckpt", "--trainer.max_epochs=2"]) == 0


def test_an_optimizer_that_kept_nothing_may_be_given_momentum():
    """Another optimizer, with more state, may also replace it."""
    model = MLP([4])
    model.make_optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.01)
    optimizer = model.make_optimizer(model.parameter_groups())
    schedule = EveryStepLR(optimizer, [partial(float)])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {"optimizer": optimizer_state.describe(model), "global_step": 1}
    content |= {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
    restoring.check_optimizer(content, model)
    for now in (partial(torch.optim.SGD, lr=0.01, momentum=0.9), partial(torch.optim.AdamW, lr=0.01)):
        model.make_optimizer = now
        restoring.check_optimizer(content, model)


@pytest.mark.parametrize(
    ("expected", "found", "problem"),
    [
        ({"a": 1}, {"a": 2.5, "b": "x"}, None),
        ({"a": 1}, {"a": torch.tensor(3)}, None),
        ({"a": {}}, {"a": {"x": 5}}, None),
        ({"a": {}}, {"a": [5]}, "x.a is a list, expected a dict"),
        ({"a": None}, {"a": [5]}, None),
        ({"a": [1, 2]}, {"a": (3, 4)}, None),
        ({"a": [1, 2]}, {"a": [3]}, "x.a has 1 values, expected 2"),
        ({"a": 1}, {}, "x lacks a"),
        ({"a": "x"}, {"a": 1}, "x.a is a int, expected a str"),
        (
            {"a": torch.zeros(2)},
            {"a": torch.zeros(3)},
            "x.a is a tensor of shape (3,), expected a tensor of shape (2,)",
        ),
    ],
)
def test_check_like(expected, found, problem):
    check: Callable = restoring.check_like
    if problem is None:
        check(expected, found, "x")
    else:
        with pytest.raises(TypeError) as caught:
            check(expected, found, "x")
        assert str(caught.value) == problem
