"""Jobs of SLURM, whose `scontrol` is a script here."""

from pathlib import Path

import pytest
import torch

import cli
from tests.helpers import weights
from zoo.training import slurm

FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", "--data.source=synthetic", "--data.train_size=32"]
FIT += ["--data.val_size=20", "--data.test_size=20", "--data.batch_size=8", "--trainer.max_epochs=2", "--name=mine"]
FIT += ["--trainer.enable_model_summary=false"]
CALLBACK = '{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 5, "name": "SIGUSR1"}}'
STOPPED = [*FIT, f"--trainer.callbacks=[{CALLBACK}]"]
JOB = {"JOB_ID": "77", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "train"}


@pytest.fixture
def job(monkeypatch, tmp_path):
    """This process is that of job 77; what `scontrol` was asked for lies in the file "asked"."""
    for name, value in (JOB | {"NODELIST": "n1"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=":")
    return scontrol


def test_a_job_that_is_queued_again_goes_on_with_its_run(job, monkeypatch, capsys):
    Path("hpc_ckpt_1.ckpt").write_text("of a job of plain Lightning; it is not read")
    assert cli.main([*FIT, "--runs_dir=whole"]) == 0
    assert cli.main(STOPPED) == 138
    (run,) = Path("runs").glob("*/*")
    said = capsys.readouterr().err
    assert said == f"error: stopped by SIGUSR1 after step 6: job 77 is queued again, and will go on with {run}\n"
    assert Path("asked").read_text() == "requeue 77\n"
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 6

    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert cli.main(STOPPED) == 0
    said = capsys.readouterr().out
    assert "Job 77 was queued again, and goes on with its run.\n" in said
    assert f"Run: {run}, from {run}/checkpoints/last.ckpt" in said
    (whole,) = Path("whole").glob("*/*")
    for name, value in weights(whole).items():
        assert torch.equal(weights(run)[name], value), name

    assert cli.main(STOPPED) == 0, "a script of several runs goes on after it"
    assert f"Job 77 was queued again, and has finished its run: {run}\n" in capsys.readouterr().out
    assert cli.main([*FIT, "--seed_everything=1"]) == 0, "another one of the script"
    assert len(list(Path("runs").glob("*/*"))) == 2
    left = {path.name for path in Path().iterdir()}
    assert left == {"hpc_ckpt_1.ckpt", "whole", "runs", "bin", "asked"}


def test_a_signal_in_the_test(job, monkeypatch, capsys):
    import signal

    from zoo.models.mlp import MLP

    with monkeypatch.context() as patch:
        patch.setattr(MLP, "on_test_batch_start", lambda *args: signal.raise_signal(signal.SIGUSR1))
        assert cli.main(FIT) == 138
    assert Path("asked").read_text() == "requeue 77\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert cli.main(FIT) == 0
    (run,) = Path("runs").glob("*/*")
    assert (run / "metrics.json").is_file()


def test_scontrol_fails(job, capsys):
    job.write_text("#!/bin/sh\necho slurm_update error: Requested operation is presently disabled >&2\nexit 1\n")
    assert cli.main(STOPPED) == 138
    (run,) = Path("runs").glob("*/*")
    why = "job 77 could not be queued again (slurm_update error: Requested operation is presently disabled)"
    assert capsys.readouterr().err.endswith(f"step 6, and {why}: go on with: fit --resume {run}\n")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "77"}, "77"),
        ({"SLURM_JOB_ID": "79", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "2"}, "77_2"),
        ({"SLURM_JOB_ID": "77; touch it-ran"}, None),
    ],
)
def test_the_number_of_a_job(variables, expected, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert slurm.job() == expected


def test_lightning_does_not_queue_again_by_itself(job):
    from lightning.fabric.plugins.environments import SLURMEnvironment

    found = slurm.take_environment([])
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue
    chosen = SLURMEnvironment()
    assert slurm.take_environment([chosen]) is chosen
    assert not chosen.auto_requeue
