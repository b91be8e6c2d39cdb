"""Which device trains, evaluates, exports; and what is asked of devices of every kind. tests/second_device has one."""

import platform
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator, CUDAAccelerator
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, SingleDeviceStrategy

import cli
from datamodules.errors import InputError
from tests.helpers import refusal
from zoo.core import devices
from zoo.models.mlp import MLP
from zoo.models.numpy_mlp import NumPyMLP
from zoo.runs.command_line import CommandLine
from zoo.training import option_checks, stage_results
from zoo.training.fit_command import Fit

FIT = [
    "fit", "--model=MLP", "--model.hidden_sizes=[4]", "--data.source=synthetic", "--data.train_size=64",
    "--data.val_size=32", "--data.test_size=40", "--trainer.max_epochs=1", "--trainer.accelerator=four",
]  # fmt: skip


class Four(CPUAccelerator):
    """Four devices, which are the CPU."""

    @staticmethod
    def auto_device_count() -> int:
        return 4


@pytest.fixture
def four(monkeypatch):
    """A machine with an accelerator "four", and no launcher."""
    AcceleratorRegistry.register("four", Four)
    yield
    AcceleratorRegistry.remove("four")


@pytest.fixture
def trainers(four, monkeypatch) -> list[L.Trainer]:
    """The trainers of the runs, which do not run."""
    found: list[L.Trainer] = []

    monkeypatch.setattr(Fit, "run", lambda self: found.append(self.trainer))
    return found


class TestHowMany:
    def test_one_by_default_and_a_line_says_so(self, four, capsys):
        assert cli.main(FIT) == 0
        out = capsys.readouterr().out
        (line,) = [line for line in out.splitlines() if "4 GPUs" in line]
        assert line == "1 of 4 GPUs is used; add --config ddp to use all of them"
        (run,) = Path("runs").glob("*/*")
        assert "  devices: 1\n" in (run / "config.yaml").read_text()
        for command in ("test", "validate"):
            assert cli.main([command, "--ckpt=best", "--trainer.accelerator=four"]) == 0
            assert line in capsys.readouterr().out.splitlines()

    @pytest.mark.parametrize(
        ("options", "processes"),
        [
            ("--trainer.devices=1", 1),
            ("--trainer.devices 2", 2),
            ("--trainer.devices=auto", 4),
            ("--config=ddp --trainer.accelerator=four", 4),
            ("--config=ddp --trainer.devices=3 --trainer.accelerator=four", 3),
            ("--config=mine.yaml", 2),
        ],
    )
    def test_what_is_asked_for_is_taken(self, options, processes, trainers, capsys):
        Path("mine.yaml").write_text("trainer: {devices: 2}\n")
        assert cli.main([*FIT, *options.split()]) == 0
        assert trainers[0].world_size == processes
        assert "4 GPUs" not in capsys.readouterr().out

    @pytest.mark.parametrize(("launched", "wanted"), [(1, 1), (8, "auto")])
    def test_a_launcher_has_decided(self, launched, wanted, four, monkeypatch):
        """Each of its processes has a device; of a single one, the machine's other devices are none of its business."""
        environment = type("Launcher", (), {"detect": lambda: True, "world_size": lambda self: launched})
        monkeypatch.setattr(option_checks, "LAUNCHERS", (environment,))
        trainer = SimpleNamespace(accelerator="four", devices=1)
        line = option_checks.choose_devices(CommandLine(["fit"]), SimpleNamespace(cpu_only=False), trainer)
        assert (trainer.devices, line is None) == (wanted, launched > 1)


COMMANDS = ["predict --test_set", "explain --images 1 --method saliency", "evaluate", "export --format safetensors"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder of two runs, MLP and NumPyMLP."""
    folder = tmp_path_factory.mktemp("runs")
    for model in ("MLP", "NumPyMLP"):
        command = [*FIT, f"--model={model}", "--trainer.accelerator=cpu", f"--runs_dir={folder}"]
        assert cli.main(command) == 0
    return folder


class TestTrainedModels:
    """`--accelerator` of the commands that use a checkpoint."""

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize(
        ("model", "accelerator", "words"),
        [
            ("MLP", "cuad", ["--accelerator cuad is unknown.", "Did you mean 'cuda'?", "four"]),
            ("MLP", "gpu", ["--accelerator gpu: there is none", "doctor"]),
            ("MLP", "mps", ["--accelerator mps: there is none", "doctor"]),
            ("NumPyMLP", "four", ["--accelerator four: NumPyMLP computes on the CPU: leave it out"]),
        ],
    )
    def test_bad_input(self, command, model, accelerator, words, runs, four, capsys):
        (run,) = runs.glob(f"{model}-*/*")
        before = sorted(run.rglob("*"))
        error = refusal(capsys, *command.split(), f"--ckpt={run}", f"--accelerator={accelerator}")
        for word in words:
            assert word in error
        assert sorted(run.rglob("*")) == before

    def test_a_gpu_that_is_not_used(self, runs, monkeypatch, capsys):
        monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
        (run,) = runs.glob("NumPyMLP-*/*")
        line = "note: NumPyMLP computes on the CPU; the GPU that is here has nothing to do."
        for options, is_said in (([], True), (["--accelerator=cpu"], False)):
            assert cli.main(["predict", "--test_set", f"--ckpt={run}", *options]) == 0
            assert (line in capsys.readouterr().err.splitlines()) == is_said

    def test_a_device_without_room(self, runs, monkeypatch, capsys):
        def full(self, device):
            raise torch.OutOfMemoryError("out of memory.\nTried to allocate 2 GiB")

        monkeypatch.setattr(MLP, "to", full)
        (run,) = runs.glob("MLP-*/*")
        assert cli.main(["predict", "--test_set", f"--ckpt={run}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "out of memory" in error
        assert "--accelerator cpu" in error


def test_processes_of_a_numpy_model_stay_off_gpus():
    """From Python; DistributedDataParallel would say that it expects modules on the devices of its processes."""
    strategy = DDPStrategy(accelerator=CUDAAccelerator(), parallel_devices=[torch.device("cuda", 0)])
    model = NumPyMLP([4])
    model.trainer = SimpleNamespace(strategy=strategy)
    for stage in ("fit", "test"):
        with pytest.raises(InputError, match=r"NumPyMLP computes on the CPU.*Trainer\(accelerator='cpu', devices="):
            model.setup(stage)


class TestAllKinds:
    """PyTorch asks its module for the kind of device; none of these is on this machine."""

    @pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
    def test_seed(self, kind, monkeypatch):
        seeds: list[int] = []
        monkeypatch.setattr(f"torch.{kind}.manual_seed", seeds.append)
        drawn = []
        for number in (7, 8, 7):
            devices.seed(torch.device(kind, 0), number)
            drawn.append(torch.rand(()).item())
        assert seeds == [7, 8, 7]
        assert drawn[0] == drawn[2] != drawn[1], "the CPU's generator"

    def test_hardware(self, monkeypatch):
        monkeypatch.setattr("torch.xpu.get_device_name", lambda device: f"Arc {device.index}")
        monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"H200 {device.index}")

        def hardware(device: str, processes: int = 1) -> str:
            strategy = SimpleNamespace(root_device=torch.device(device))
            return stage_results.hardware(SimpleNamespace(strategy=strategy, world_size=processes))

        found = [hardware("cuda:1", 4), hardware("xpu:0"), hardware("mps:0")]
        assert found == ["4 x H200 1", "1 x Arc 0", "1 x Apple GPU"]
        threads = torch.get_num_threads()
        of_cpu = f"{platform.machine()} CPU, 2 processes, {threads} thread{'s' * (threads > 1)}"
        assert hardware("cpu", 2) == of_cpu


@pytest.mark.parametrize(
    ("strategy", "whole"),
    [(SingleDeviceStrategy, True), (DDPStrategy, True), (FSDPStrategy, False), (DeepSpeedStrategy, False)],
)
def test_strategies_that_divide_the_weights(strategy, whole):
    """They are made without their packages and devices."""
    trainer = SimpleNamespace(strategy=strategy.__new__(strategy))
    assert devices.has_whole_weights(trainer) == whole
