"""A package outside the zoo adds models: the example of tests/plugin, really installed, and used by real commands."""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch import nn

import cli
from tests import forked, plugins
from tests.helpers import contents
from zoo.catalogue import registry
from zoo.core.torch_classifier import TorchClassifier
from zoo.runs import checkpoints
from zoo.testing import check_model, check_two_processes

ROOT = Path(__file__).parents[2]
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
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return folder / "site"


def run(arguments: list[str], *path: Path) -> subprocess.CompletedProcess:
    return forked.run(*arguments, PYTHONPATH=os.pathsep.join(map(str, path)))


def test_real_commands_know_it(installed):
    listed = run(["list"], installed)
    assert "PatchNet" in listed.stdout
    assert "from the package cifar10-zoo-example" in " ".join(listed.stdout.split())

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


def test_real_commands_know_its_data_set(installed):
    listed = run(["list", "--data"], installed)
    assert "from the package cifar10-zoo-example" in listed.stdout

    fitted = run(["fit", "--model", "CNN", "--data", "StripesData", *TINY, "--trainer.max_epochs=1"], installed)
    assert fitted.returncode == 0, fitted.stderr
    assert "CNN on stripes, 40 test images" in fitted.stdout
    (checkpoint,) = Path("runs").glob("CNN-stripes/*/checkpoints/best.ckpt")
    assert run(["test", "--ckpt", str(checkpoint)], installed).returncode == 0
    assert run(["fit", "--resume", "--trainer.max_epochs=2"], installed).returncode == 0

    without = run(["test", "--ckpt", str(checkpoint)])
    assert without.returncode == 2
    (line,) = without.stderr.splitlines()
    assert "StripesData" in line


@pytest.fixture
def beside_us(installed, monkeypatch) -> Path:
    """The installed example, for this process; where it is taken off the path, it is missing."""
    monkeypatch.syspath_prepend(installed)
    registry.entries.cache_clear()
    return installed


def test_its_numpy_model_goes_on_and_says_what_it_needs(beside_us, monkeypatch, capsys):
    fit = ["fit", "--model=NumPySoftmax", "--config=synthetic", *TINY, "--trainer.max_epochs=1"]
    assert cli.main([*fit, "--trainer.enable_model_summary=false"]) == 0
    (run,) = Path("runs").glob("NumPySoftmax-synthetic/*")
    assert checkpoints.read(run / "checkpoints/last.ckpt")["package"] == "cifar10-zoo-example"
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2"]) == 0

    before = contents(run)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(beside_us)])
    registry.entries.cache_clear()
    capsys.readouterr()
    for command in (
        ["fit", "--resume", "--trainer.max_epochs=3"],
        ["fit", "--ckpt_path=last"],
        ["test", "--ckpt_path=best"],
    ):
        assert cli.main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "it came with the package 'cifar10-zoo-example'" in line
    assert contents(run) == before


def test_a_class_that_its_package_hands_on_is_found_again(tmp_path, monkeypatch):
    """Checkpoints call it what the registry does, not by the module that it was written in.

    It has an argument of an enumeration, which a checkpoint and a config hold by its name.
    """
    plugins.install(monkeypatch, tmp_path, code="from hidden_module import TinyNet")
    (tmp_path / "hidden_module.py").write_text(plugins.TINY)
    fit = ["fit", "--model=TinyNet", "--config=synthetic", *TINY, "--trainer.max_epochs=1"]
    assert cli.main([*fit, "--trainer.enable_model_summary=false"]) == 0
    assert cli.main(["test", "--ckpt_path=best"]) == 0
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2"]) == 0


def test_a_model_that_no_package_brings(monkeypatch, capsys):
    """It is a file where one stands. A checkpoint alone is not trusted to name its class: the command line does."""
    Path("its_own.py").write_text(plugins.TINY)
    name = "its_own.TinyNet"
    fit = ["fit", f"--model={name}", "--config=synthetic", *TINY, "--trainer.max_epochs=1"]
    try:
        assert cli.main([*fit, "--trainer.enable_model_summary=false"]) == 0
        Image.new("RGB", (40, 30), "orange").save("fish.png")
        capsys.readouterr()
        for command in (["test"], ["predict", "fish.png"], ["export", "--format=safetensors"]):
            assert cli.main([*command, "--ckpt=best"]) == 2
            assert f"name it by --model {name}" in capsys.readouterr().err
            assert cli.main([*command, "--ckpt=best", "--model=CNN"]) == 2
            assert "CNN" in capsys.readouterr().err
            assert cli.main([*command, "--ckpt=best", f"--model={name}"]) == 0
        (run,) = Path("runs").glob("TinyNet-synthetic/*")
        assert f"class: `{name}`, which is of no package" in (run / "export/TinyNet.safetensors.md").read_text()
        capsys.readouterr()

        assert cli.main(["info", name]) == 0
        assert f"{plugins.TINY_PARAMETERS:,}" in capsys.readouterr().out
        assert cli.main(["config", name, "--out=own.yaml"]) == 0
        assert cli.main(["fit", "--config=own.yaml", "--config=synthetic", "--trainer.fast_dev_run=true"]) == 0
    finally:
        sys.modules.pop("its_own", None)


@pytest.mark.parametrize("command", ["info", "config", "fit --model"])
def test_there_is_no_such_class(command, capsys):
    assert cli.main([*command.split(), "no_module.MyNet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model 'no_module.MyNet' cannot be loaded: ModuleNotFoundError: No module named 'no_module'" in line


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        (
            "import pytorch_lightning as pl\nclass TinyNet(pl.LightningModule): pass",
            "import lightning, not pytorch_lightning",
        ),
    ],
)
@pytest.mark.parametrize("where", ["--model=TinyNet", "--config=tiny.yaml"])
def test_choosing_a_broken_one_tells_the_cause(tmp_path, monkeypatch, capsys, code, cause, where):
    Path("tiny.yaml").write_text("model: {class_path: TinyNet}\n")
    plugins.install(monkeypatch, tmp_path / "site", code=code)
    assert cli.main(["fit", where, "--config=synthetic"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "of the package 'tiny-zoo'" in line
    assert cause in line
    assert not Path("runs").exists()


def test_a_broken_one_does_no_harm_to_a_real_command(installed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        plugins.install(patch, tmp_path / "site", models=["CNN"])
    listed = run(["list"], installed, tmp_path / "site")
    assert listed.returncode == 0
    (line,) = listed.stderr.splitlines()
    assert line.startswith(
        "warning: model 'CNN' of the package 'tiny-zoo' is left out: 'cifar10-zoo' has a model of that name"
    )
    assert "PatchNet" in listed.stdout


class Net(TorchClassifier):
    """A linear classifier; below are models that break the contract in one way each."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs))


class NoNumClasses(TorchClassifier):
    def __init__(self) -> None:
        super().__init__()


class DropsNumClasses(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()


class NoDefault(Net):
    def __init__(self, width: int, num_classes: int = 10) -> None:
        super().__init__(num_classes)


class ArgumentIsCode(Net):
    def __init__(self, bend: type = nn.ReLU, num_classes: int = 10) -> None:
        super().__init__(num_classes)


class Forgets(Net):
    def __init__(self, width: int = 8, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        del self.hparams["width"]


class ChangesAnArgument(Net):
    def __init__(self, width: int = 8, num_classes: int = 10) -> None:
        width *= 2
        super().__init__(num_classes)


class AnotherShape(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 7))


class Lazy(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(self.num_outputs))


class IdleParameter(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.idle = nn.Parameter(torch.zeros(3))


class LostState(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.offset = torch.randn(1)

    def forward(self, images):
        return super().forward(images) + self.offset


class Classes(Net):
    def forward(self, images):
        return super().forward(images).long()


class NotFinite(Net):
    def forward(self, images):
        return super().forward(images) / 0


class ChangesTheImages(Net):
    def forward(self, images):
        return super().forward(images.sub_(1))


class LooksAtTheBatch(Net):
    def forward(self, images):
        logits = super().forward(images)
        return logits - logits.mean(0)


class DropsInEvaluation(Net):
    def forward(self, images):
        return nn.functional.dropout(super().forward(images))


class SharesWeights(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        net = self.net
        self.compute = lambda images: net(images)

    def forward(self, images):
        return self.compute(self.normalize(images))


class CannotBeCopied(Net):
    def __deepcopy__(self, memo):
        raise TypeError("not me")


class OptimizesAPart(Net):
    def configure_optimizers(self):
        return torch.optim.SGD([self.net[1].bias], lr=0.1)


class LearnsNothing(Net):
    default_optimizer: ClassVar = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}


class Diverges(Net):
    default_optimizer: ClassVar = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e38}}


class CountsNothing(Net):
    def training_step(self, batch, batch_idx):
        return self.loss(self(batch.images), batch.labels)


class ValidatesNothing(Net):
    def validation_step(self, batch, batch_idx):
        pass


class CannotBeTrained(Net):
    def training_step(self, batch, batch_idx):
        raise RuntimeError("not me")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Linear, "not a subclass of zoo.core.classifier.Classifier: derive it"),
        (TorchClassifier, "cannot compute the logits of uint8 images"),
        (NoNumClasses, "takes no argument num_classes"),
        (DropsNumClasses, "hand it on"),
        (NoDefault, "width has no default"),
        (ArgumentIsCode, "argument bend is a type: take numbers"),
        (Forgets, "does not keep its argument width"),
        (Lazy, r"has layers whose sizes are not known \(net.1\): give them"),
        (AnotherShape, r"returns \(6, 7\) .* expected \(6, 10\): end the network in self.num_outputs"),
        (Classes, "returns torch.int64"),
        (NotFinite, "not finite before any training"),
        (ChangesTheImages, "changes the images"),
        (LooksAtTheBatch, "depend on the other images of the batch"),
        (DropsInEvaluation, "or on chance"),
        (CannotBeCopied, "cannot be copied by copy.deepcopy: TypeError: not me"),
        (SharesWeights, "share weights"),
        (CannotBeTrained, "cannot be trained: RuntimeError: not me"),
        (IdleParameter, "parameter idle gets no gradient"),
        (OptimizesAPart, "optimizer lacks net.1.weight"),
        (LearnsNothing, "weights are the same after 4 steps"),
        (Diverges, "lower learning rate"),
        (CountsNothing, r"counted 0 of 32 images \(train\)"),
        (ValidatesNothing, r"counted 0 of 16 images \(val\)"),
        (LostState, "once it is read back from a checkpoint"),
    ],
)
def test_what_breaks_the_contract_is_told(model, told):
    with pytest.raises(AssertionError, match=told) as caught:
        check_model(model)
    assert "\n" not in str(caught.value)


def test_an_argument_that_is_kept_otherwise_than_given_is_told():
    with pytest.raises(AssertionError, match="keeps width=6 where it was given 3"):
        check_model(ChangesAnArgument, width=3)


def test_what_keeps_the_contract_is_not_told(capfd):
    """And the check leaves no trace: nothing printed, nothing written, the random numbers as they were."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_model(Net)
    assert torch.rand(1) == expected
    assert capfd.readouterr() == ("", "")
    assert not list(Path().iterdir())


def test_a_class_that_no_other_process_can_import_is_told():
    class Local(Net):
        pass

    with pytest.raises(AssertionError, match="Local cannot be imported by another process"):
        check_two_processes(Local)


def test_the_example_of_the_contract_runs():
    """That of `Classifier`'s docstring: a whole file."""
    from zoo.core.classifier import Classifier

    text = (Classifier.__doc__ or "").split("my_net.py:\n", 1)[1].split("\n    `python my_net.py`", 1)[0]
    Path("my_net.py").write_text("\n".join(line[8:] for line in text.splitlines()))
    done = forked.run(code="import runpy; runpy.run_path('my_net.py', run_name='__main__')")
    assert done.returncode == 0, done.stderr
