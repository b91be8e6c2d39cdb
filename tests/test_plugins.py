"""A package outside the zoo adds models: the example of tests/plugin, really installed, and used by real commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import registry
from zoo.testing import check_model, check_two_processes

ROOT = Path(__file__).parents[1]
TINY = ["--data.train_size=64", "--data.val_size=32", "--data.test_size=40", "--data.batch_size=16"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that pip installed the example into, from a copy: building leaves files beside the source."""
    folder = tmp_path_factory.mktemp("plugin")
    source = folder / "source"
    source.mkdir()
    for path in (ROOT / "tests" / "plugin").iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(folder / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=300)
    return folder / "site"


def run(arguments: list[str], *path: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *path))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_real_commands_know_it(installed):
    listed = run(["list"], installed)
    assert "PatchNet" in listed.stdout
    assert "from the package cifar10-zoo-example" in listed.stdout

    Path("patch.yaml").write_text("model: {class_path: PatchNet, init_args: {width: 8}}\n")
    options = ["--config", "synthetic", *TINY, "--trainer.max_epochs=1"]
    fitted = run(["fit", "--config", "patch.yaml", *options], installed)
    assert fitted.returncode == 0, fitted.stderr
    (checkpoint,) = Path("runs").glob("PatchNet-synthetic/*/checkpoints/best.ckpt")

    again = run(["test", "--ckpt_path", str(checkpoint)], installed)
    assert again.returncode == 0, again.stderr

    without = run(["test", "--ckpt_path", str(checkpoint)])
    assert without.returncode == 2
    assert len(without.stderr.splitlines()) == 1
    assert "it came with the package 'cifar10-zoo-example'" in without.stderr
    assert "pip install cifar10-zoo-example" in without.stderr


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_the_zoos_own_models_keep_the_contract(name):
    check_model(registry.load(name))


def test_they_do_so_in_two_processes():
    check_two_processes(*map(registry.load, registry.BUILT_IN))


def broken(change: str):
    """A model that breaks the contract in one way."""
    import torch
    from torch import nn

    from zoo.torch_classifier import TorchClassifier

    class Net(TorchClassifier):
        def __init__(self, num_classes: int = 10) -> None:
            super().__init__(num_classes)
            outputs = self.num_outputs + (change == "another shape")
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, outputs))
            if change == "an idle parameter":
                self.idle = nn.Parameter(torch.zeros(3))
            if change == "lost state":
                self.offset = torch.randn(1)

        def forward(self, images):
            logits = super().forward(images)
            if change == "not finite":
                return logits / 0
            if change == "the rest of the batch":
                return logits - logits.mean(0)
            return logits + self.offset if change == "lost state" else logits

    return Net


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("another shape", "end the network in self.num_outputs logits"),
        ("an idle parameter", "parameter idle gets no gradient"),
        ("not finite", "not finite before any training"),
        ("the rest of the batch", "depend on the other images of the batch"),
        ("lost state", "once it is read back from a checkpoint"),
    ],
)
def test_what_breaks_the_contract_is_told(change, told):
    with pytest.raises(AssertionError, match=told):
        check_model(broken(change))


def test_the_example_of_the_contract_runs():
    """That of `Classifier`'s docstring: a whole file."""
    from zoo.classifier import Classifier

    text = (Classifier.__doc__ or "").split("my_net.py:\n", 1)[1].split("\n    `python my_net.py`", 1)[0]
    Path("my_net.py").write_text("\n".join(line[8:] for line in text.splitlines()))
    done = subprocess.run(
        [sys.executable, "my_net.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
