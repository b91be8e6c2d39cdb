"""`fit --compile true`: which code is compiled, and what happens if compilation fails."""

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from torch import nn
from torch._dynamo.utils import counters

import cli
from datamodules.errors import InputError
from tests import forked
from tests.helpers import quiet_trainer, tiny_data
from zoo.core.torch_classifier import TorchClassifier
from zoo.training import compilation

ROOT = Path(cli.__file__).parent
MODEL = ["--model", "tests.training.test_compilation.Net"]
DATA = ["--data.source=synthetic", "--data.train_size=40", "--data.val_size=20", "--data.test_size=30"]
FIT = ["fit", *MODEL, *DATA, "--data.batch_size=16", "--trainer.max_epochs=2", "--trainer.accelerator=cpu"]
FIT += ["--data.mixup=0.4", "--data.cutmix=1"]
CALLBACKS = ("zoo.training.callbacks.dead_units.DeadUnits", "tests.training.test_compilation.CountGraphs")
WATCHED = [f"--trainer.callbacks={json.dumps([{'class_path': name} for name in CALLBACKS])}"]

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))), reason="there is no C++ compiler"
)


class Passes(nn.Module):
    """Counts the passes of a network by whether they are compiled.

    Attributes:
        counts: int64 (2,), plain and compiled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))

    def forward(self, x):
        self.counts[int(torch.compiler.is_compiling())] += 1
        return x


class Net(TorchClassifier):
    """A convolution and dropout."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Dropout(), Passes(), nn.Linear(256, 10)
        )


class Bare(TorchClassifier):
    """A model that calls its network in another way."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.dense = nn.Linear(3072, self.num_outputs)

    def forward(self, images):
        return self.dense(self.normalize(images).flatten(1))

    def configure_model(self):
        pass


class ByLayers(TorchClassifier):
    """Another one, which calls the layers of its `net`, but not the `net`."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs))

    def forward(self, images):
        return self.net[1](self.net[0](self.normalize(images)))


class CountGraphs(L.Callback):
    """Records how many graphs PyTorch has compiled at the start of the first epoch and at the end of the last."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    @property
    def state_key(self) -> str:
        return "CountGraphs"

    def on_train_epoch_start(self, *args):
        self.counts.setdefault("at_start", counters["stats"]["unique_graphs"])

    def on_train_epoch_end(self, *args):
        self.counts["at_end"] = counters["stats"]["unique_graphs"]

    def state_dict(self):
        return self.counts


# The compiler that torch would take from the environment, were it imported anew.
WITH_COMPILER = """
import os, sys, cli
from torch._inductor import config
config.cpp.cxx = (None, os.environ.get("CXX", config.cpp.cxx[1]))
sys.exit(cli.main(sys.argv[1:]))
"""


def command(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a command in a new process, without the compiled code of another one."""
    environment = {"PYTHONPATH": str(ROOT), "TORCHINDUCTOR_CACHE_DIR": "cache"} | environment
    return forked.run(*words, code=WITH_COMPILER, **environment)


def state(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / f"checkpoints/{which}.ckpt", weights_only=True)["state_dict"]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A compiled run, and what it printed."""
    folder = tmp_path_factory.mktemp("compiled")
    cache = str(folder / "cache")
    done = command(*FIT, *WATCHED, "--compile=true", f"--runs_dir={folder}/runs", TORCHINDUCTOR_CACHE_DIR=cache)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").glob("*/*")
    return run, done.stdout, done.stderr


@pytest.fixture
def plain(monkeypatch):
    """The same run without compilation."""
    monkeypatch.syspath_prepend(ROOT)
    assert cli.main([*FIT, *WATCHED, "--runs_dir=plain"]) == 0
    (run,) = Path("plain").glob("*/*")
    return run


@needs_compiler
class TestCompiled:
    def test_training_steps_are_compiled_and_nothing_else_is(self, compiled):
        plain, steps = state(compiled[0])["net.4.counts"].tolist()
        assert steps == 2 * 3
        assert plain > 2  # two validations and pictures

    def test_it_learns_what_it_learns_without(self, compiled, plain):
        run, _, _ = compiled
        assert state(run).keys() == state(plain).keys()
        for name, value in state(plain).items():
            if "counts" not in name:
                torch.testing.assert_close(state(run)[name], value, rtol=1e-4, atol=1e-5)
        for row, expected in zip(rows(run), rows(plain), strict=True):
            for name in ("train/loss", "val/loss", "val/acc", "val/dead_units"):
                assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-4)

    def test_callbacks_see_the_layers(self, compiled):
        assert all(0 <= float(row["val/dead_units"]) <= 1 for row in rows(compiled[0]))

    def test_it_says_that_it_takes_time_and_warns_of_nothing(self, compiled):
        _, out, err = compiled
        said = r"Compiling: it can take minutes, the first time\nCompiled in \d+ s\nRun: .*\nepoch 1/2 "
        assert len(re.findall(said, out)) == 1
        assert "torch" not in err, "as of a limit of compilations that is reached"

    def test_nothing_is_compiled_within_an_epoch(self, compiled):
        """This includes the smaller last batch, in the first epoch as in the second."""
        counts = torch.load(compiled[0] / "checkpoints/last.ckpt", weights_only=True)["callbacks"]["CountGraphs"]
        assert counts == {"at_start": 3, "at_end": 3}, "two sizes of batch, and what says that a compiler works"

    def test_its_checkpoint_needs_no_compiler(self, compiled, capsys, monkeypatch):
        run, out, _ = compiled
        monkeypatch.syspath_prepend(ROOT)
        assert cli.main(["test", *MODEL, "--ckpt", str(run)]) == 0
        (accuracy,) = [line for line in out.splitlines() if "accuracy  " in line][:1]
        assert accuracy in capsys.readouterr().out

    def test_a_resumed_run_is_compiled_unless_told_otherwise(self, compiled, capsys, monkeypatch):
        monkeypatch.syspath_prepend(ROOT)
        run = Path(shutil.copytree(compiled[0], "runs/Net/1"))
        named_again = f"--config={run}/config.yaml"  # its callback is not one of the project's
        resume = ["fit", "--resume", str(run), named_again, *MODEL, "--trainer.max_epochs=3"]
        with monkeypatch.context() as patch:
            patch.setattr(compilation, "check_compiler", _refuse)
            assert cli.main(resume) == 2
            assert "would be compiled" in capsys.readouterr().err
        assert cli.main([*resume, "--compile=false"]) == 0
        assert yaml.safe_load((run / "config.yaml").read_text())["compile"] is False
        assert state(run)["net.4.counts"][1] == 2 * 3, "the third epoch is not compiled"


def _refuse(device: torch.device) -> None:
    raise InputError("would be compiled")


# A compiler that is there, and that fails as where Python's headers are missing.
FAILING = """\
#!/bin/sh
[ "$1" = --version ] && echo 99 && exit 0
echo "x.h:1: fatal error: Python.h: not there" >&2
exit 1
"""


@pytest.mark.parametrize("broken", ["none", "headers"])
def test_without_a_compiler_there_is_one_line(broken):
    Path("bin").mkdir()
    if broken == "headers":
        Path("bin/g++").write_text(FAILING)
        Path("bin/g++").chmod(0o755)
    path = f"{Path('bin').resolve()}" + (f":{os.environ['PATH']}" if broken == "headers" else "")
    done = command(*FIT, "--compile=true", PATH=path, CXX="g++")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --compile=true: torch.compile does not work here: ")
    assert {"none": "No working C++ compiler", "headers": "Python.h: not there"}[broken] in done.stderr
    assert "apt install g++" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("Bare", "Bare has no PyTorch network `net`"),
        ("ByLayers", "ByLayers's forward does not call its `net` as a whole"),
    ],
)
def test_a_model_of_which_nothing_would_be_compiled(model, problem, capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    assert cli.main(["fit", "--model", f"tests.training.test_compilation.{model}", *DATA, "--compile=true"]) == 2
    assert capsys.readouterr().err == f"error: --compile=true: {problem}: leave --compile out\n"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "trainer_options", "sizes"),
    [
        ({"batch_size": 16}, {}, [16, 8]),
        ({"batch_size": 20}, {}, [20]),
        ({"batch_size": 16, "drop_last": True}, {}, [16]),
        ({"batch_size": 16}, {"limit_train_batches": 2}, [16]),
        ({"batch_size": 16}, {"overfit_batches": 1}, [16]),
        ({"batch_size": 100}, {}, [40]),
    ],
)
def test_what_is_compiled_for(options, trainer_options, sizes):
    """Every size of batch that an epoch has, and no other."""
    seen = []

    class Sizes(L.Callback):
        def on_train_start(self, trainer, model):
            self.expected = compilation.batch_sizes(trainer)

        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            seen.append(len(batch.labels))

    callback = Sizes()
    quiet_trainer(callbacks=[callback], **trainer_options).fit(Net(), tiny_data(train_size=40, **options))
    assert callback.expected == sizes == list(dict.fromkeys(seen))


class Noisy(TorchClassifier):
    """Running statistics and the generator stay the same, in both training states."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        layers = [nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), Passes()]
        self.net = nn.Sequential(*layers, nn.Linear(256, self.num_outputs))
        self.states = []

    def training_states(self):
        for state in ("warm", "cold"):
            self.states.append(state)
            yield


def test_a_step_that_is_only_compiled_leaves_no_trace():
    model, seen = Noisy(), []
    model.net[-1].register_forward_hook(lambda layer, inputs, output: seen.append(len(output)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    compilation.take_step(model, 6, quiet_trainer())
    assert (seen, model.states) == ([6, 6], ["warm", "cold"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.metrics["train_metrics"].confusion.sum() == 0


class TwoHeads(Noisy):
    """Returns a tuple in training, for its own training step."""

    def forward(self, images):
        logits = super().forward(images)
        return (logits, [logits.detach(), None, logits[:, :1]]) if self.training else logits


def test_the_step_of_a_network_with_two_heads_goes_through_both():
    model = TwoHeads()
    gradients = []
    model.net[-1].register_full_backward_hook(lambda layer, inputs, outputs: gradients.append(outputs[0]))
    compilation.take_step(model, 6, quiet_trainer())
    expected = torch.ones(6, 10)
    expected[:, 0] = 2
    assert len(gradients) == 2
    assert all(torch.equal(gradient, expected) for gradient in gradients)


def test_pytorch_is_left_as_it_was():
    is_compiled = torch.compile(lambda x: x + torch.compiler.is_compiling(), backend="eager")
    callback, module, nothing = compilation.CompiledSteps(), Net(), torch.zeros(1)
    for leave in (lambda: callback.teardown(None, module, "fit"), lambda: callback.on_exception(None, module, None)):
        callback.setup(None, module, "fit")
        assert is_compiled(nothing) == 0
        callback.on_train_batch_start()
        assert is_compiled(nothing) == 1
        callback.on_train_batch_end()
        assert is_compiled(nothing) == 0
        leave()
        assert is_compiled(nothing) == 1
