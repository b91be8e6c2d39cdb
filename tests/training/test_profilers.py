"""Profilers: what they write lies in the run."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

import cli

MLP = [
    "fit", "--model=MLP", "--model.hidden_sizes=[4]", "--data.source=synthetic", "--data.train_size=16",
    "--data.val_size=8", "--data.test_size=8", "--data.batch_size=4", "--trainer.enable_model_summary=false",
    "--trainer.max_epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of one epoch that was profiled. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        assert cli.main([*MLP, "--trainer.profiler=pytorch"]) == 0
        assert os.listdir() == ["runs"]
        (run,) = Path("runs").glob("*/*")
        return run.resolve()


def traces(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in (folder / "profile").iterdir())


def test_traces_lie_in_the_run(whole):
    assert set(traces(whole)) == {"fit", "test"}


def test_so_do_those_of_a_run_that_goes_on(whole):
    """The config of a run, which may be a stranger's, can ask for them."""
    shutil.copytree(whole, "theirs")
    Path("elsewhere").mkdir()
    Path(".no_run_yet").symlink_to("elsewhere")
    before = len(traces(Path("theirs")))
    assert cli.main(["fit", "--resume=theirs", "--trainer.max_epochs=2"]) == 0
    assert yaml.safe_load(Path("theirs/config.yaml").read_text())["trainer"]["profiler"] == "pytorch"
    assert len(traces(Path("theirs"))) > before
    assert os.listdir("elsewhere") == []


@pytest.mark.parametrize(("command", "stage"), [("test", "test"), ("validate", "validate")])
def test_and_those_of_an_evaluation(whole, command, stage):
    shutil.copytree(whole, "run")
    shutil.rmtree("run/profile")
    assert cli.main([command, "--ckpt=run", "--trainer.profiler=pytorch"]) == 0
    assert os.listdir() == ["run"]
    assert set(traces(Path("run"))) == {stage}


@pytest.mark.parametrize("profiler", ["simple", "advanced"])
def test_a_profiler_that_names_a_file(profiler):
    name = f"lightning.pytorch.profilers.{profiler.capitalize()}Profiler"
    assert cli.main([*MLP, f"--trainer.profiler={name}", "--trainer.profiler.filename=report"]) == 0
    assert os.listdir() == ["runs"]
    (run,) = Path("runs").glob("*/*")
    assert traces(run) == ["fit", "test"]


def test_a_trial_run_prints_its_profile(capfd):
    assert cli.main([*MLP, "--trainer.profiler=pytorch", "--trainer.fast_dev_run=true"]) == 0
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trainer.profiler=xla"], "--trainer.profiler=xla needs the package torch_xla"),
        (["--trainer.profiler=lightning.pytorch.profilers.XLAProfiler"], "needs the package torch_xla"),
        (["--trainer.profiler=simpel"], "simpel"),
        (
            [
                "--trainer.profiler=lightning.pytorch.profilers.AdvancedProfiler", "--trainer.profiler.dump_stats=true",
                "--trainer.fast_dev_run=true",
            ],
            "dump_stats",
        ),
    ],
)  # fmt: skip
def test_a_profiler_that_cannot_work(options, words, capfd):
    assert cli.main([*MLP, *options]) == 2
    error = capfd.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert os.listdir() == []
