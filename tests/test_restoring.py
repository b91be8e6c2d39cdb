"""Junk in a checkpoint: one line, nothing written, and nothing lost."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import cli
import zoo.optimizers
from zoo import restoring
from zoo.classifier import EveryStepLR
from zoo.classifier import _describe as describe
from zoo.mlp import MLP

TINY = ["--data.source=synthetic", "--data.train_size=16", "--data.val_size=8", "--data.test_size=8"]
EMA = '--trainer.callbacks=[{"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging"}]'
FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", "--early_stopping=9", "--lr_schedule=Cosine", EMA, *TINY]
FIT += ["--trainer.enable_model_summary=false", "--data.batch_size=8"]
DELETED = object()


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> dict:
    """What a checkpoint holds of a run with early stopping and averaged weights."""
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
    ("no state of a callback", "callbacks > History"): (None, "History"),
    ("shape of a moment", f"{STATE} > exp_avg"): (other_shape, "exp_avg"),
    ("no moment", f"{STATE} > exp_avg"): (DELETED, "exp_avg"),
    ("a text for a moment", f"{STATE} > exp_avg"): ("x", "exp_avg"),
    ("the optimizer's groups", "optimizer_states > 0 > param_groups"): ([], "optimizer"),
    ("its rate", "optimizer_states > 0 > param_groups > 0 > lr"): ("x", "lr"),
    ("its moments' rates", "optimizer_states > 0 > param_groups > 0 > betas"): ([0.9], "betas"),
    ("no optimizer", "optimizer_states"): ([], "optimizer"),
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
    ("results", "results > val"): ("x", "metrics"),
    ("version", "pytorch-lightning_version"): ("x", "no readable checkpoint"),
    ("a list for a version", "pytorch-lightning_version"): ([2], "no readable checkpoint"),
    ("sparse weights", "state_dict > net.1.weight"): (lambda weight: weight.to_sparse(), "layout"),
    ("weights without data", "state_dict > net.1.weight"): (lambda weight: weight.to("meta"), "without data"),
    ("complex weights", "state_dict > net.1.weight"): (lambda weight: weight.to(torch.complex64), "complex"),
    ("integer weights", "state_dict > net.1.weight"): (lambda weight: weight.to(torch.int64), "integer"),
    ("averaged weights", "current_model_state > net.1.weight"): (other_shape, "net.1.weight"),
    ("no averaged weights", "current_model_state"): (5, "weights of the model"),
    ("the average", "averaging_state"): ({"x": 5}, "weights of the model"),
    ("the model's arguments", "hyper_parameters > hidden_sizes"): ([10**5000], "no"),
}  # fmt: skip
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
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2"]) == 2
    assert "History cannot be restored" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


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
    """Also where another learning rate is asked for now, and where no step was made."""
    cls = getattr(zoo.optimizers if name == "MuonSGD" else torch.optim, name)
    model = MLP([4])
    for steps in (0, 2):
        model.make_optimizer = lambda parameters: cls(parameters, lr=0.01)
        content: dict = {}
        optimizer = model.make_optimizer(model.parameter_groups())
        schedule = EveryStepLR(optimizer, [partial(float) for _ in optimizer.param_groups])
        content["optimizer"] = describe(optimizer)
        for _ in range(steps):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            schedule.step()
        content |= {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
        restoring.check_optimizer(content, model)
        model.make_optimizer = lambda parameters: cls(parameters, lr=0.02)
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
