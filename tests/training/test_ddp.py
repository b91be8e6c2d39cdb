"""Two processes on the CPU."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
import torch

import cli
from tests.forked import launch, run
from tests.helpers import rows, weights
from zoo.training.tensorboard import run_summary

DDP = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
DATA = ["--data.source=synthetic", "--data.train_size=128", "--data.val_size=33", "--data.test_size=41"]
DATA += ["--data.crop_padding=2", "--data.horizontal_flip=true", "--data.mixup=0.4", "--data.cutmix=1"]
FIT = ["fit", *DATA, "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1", "--trainer.enable_model_summary=false"]
# SGD, because its steps are proportional to the gradient. The first steps of Adam have the size of the learning rate,
# however small the gradient is: where rounding flips the sign of a tiny gradient, the weight moves the other way.
CNN = ["--model=CNN", "--optimizer=SGD", "--optimizer.lr=0.01", "--optimizer.momentum=0.9"]


def numbers(run_dir: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv` without texts."""
    return [{name: float(value) for name, value in row.items() if name != "data"} for row in rows(run_dir)]


def results(run_dir: Path) -> dict:
    return json.loads((run_dir / "metrics.json").read_text())


def assert_learnt_the_same(found: Path, expected: Path, rel: float, **tolerance: float) -> None:
    """Two runs have the same weights and figures, as far as sums in another order allow."""
    torch.testing.assert_close(weights(found), weights(expected), **tolerance)
    for row, expected_row in zip(numbers(found), numbers(expected), strict=True):
        assert row == pytest.approx(expected_row, rel=rel)
    assert results(found)["test/confusion"] == results(expected)["test/confusion"]
    assert results(found)["test/loss"] == pytest.approx(results(expected)["test/loss"], rel=rel)
    assert results(found).get("test/acc_tta") == results(expected).get("test/acc_tta")


def stop_and_resume(command: list[str], callback: str, stopped: str) -> subprocess.CompletedProcess:
    """Run a command to its end, and again with a callback that stops it, and go on: the same weights, bit for bit.

    Args:
        command: of two processes.
        callback: as JSON.
        stopped: what the run says where it stops.

    Returns:
        The run that was stopped.
    """
    whole, cut = run(*command, "--runs_dir=whole"), run(*command, f"--trainer.callbacks=[{callback}]", "--runs_dir=cut")
    assert whole.returncode == 0, whole.stderr
    assert cut.returncode == 143, cut.stderr
    assert stopped in cut.stderr
    (config,) = Path("cut").glob("*/*/config.yaml")  # which names a callback that no folder of a run may name
    done = run("fit", "--resume", f"--config={config}")
    assert done.returncode == 0, done.stderr
    (a,), (b,) = Path("whole").glob("*/*"), Path("cut").glob("*/*")
    for row, expected in zip(numbers(b), numbers(a), strict=True):  # the losses are summed in another order
        assert row == pytest.approx(expected, rel=1e-5)
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name]), name
    return cut


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of CNN with two processes, and what it printed."""
    folder = tmp_path_factory.mktemp("two")
    cpu = ["--config=ddp", "--trainer.accelerator=cpu", "--trainer.devices=2"]
    done = run(*FIT, *CNN, "--data.batch_size=8", "--tta=both", f"--runs_dir={folder}", *cpu)
    assert done.returncode == 0, done.stderr
    (run_dir,) = folder.glob("*/*")  # one, not one for each process
    return run_dir, done


def test_learns_the_same_as_one_process_with_twice_the_batch(two):
    run_dir, _ = two
    assert cli.main([*FIT, *CNN, "--data.batch_size=16", "--tta=both"]) == 0
    (one,) = Path("runs").glob("*/*")
    assert "test/acc_tta" in results(one)
    assert_learnt_the_same(run_dir, one, rel=1e-5, atol=1e-6, rtol=1e-4)


def test_a_numpy_model_learns_the_same_as_one_process_with_twice_the_batch():
    """Several steps in a call; a last batch of half the size; the mean of the processes' gradients is clipped."""
    command = [*FIT, "--model=NumPyMLP", "--model.hidden_sizes=[8]", "--optimizer=NumPyMomentum", "--optimizer.lr=1e-3"]
    command += ["--data.train_size=120", "--trainer.log_every_n_steps=5"]
    command += ["--trainer.gradient_clip_algorithm=value", "--trainer.gradient_clip_val=0.05"]
    done = run(*command, "--data.batch_size=8", "--runs_dir=two", *DDP)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert cli.main([*command, "--data.batch_size=16", "--runs_dir=one"]) == 0
    (both,), (one,) = Path("two").glob("*/*"), Path("one").glob("*/*")
    assert_learnt_the_same(both, one, rel=1e-5, atol=1e-5, rtol=1e-5)


def test_a_numpy_model_is_stopped_in_both_processes_and_goes_on():
    """They agree at the end of the call that reaches the next tenth step."""
    stop = '{"class_path": "tests.callbacks.SignalAfter", "init_args": {"step": 16, "rank": 1, "every_n_steps": 4}}'
    command = [*FIT, "--model=NumPyMLP", "--model.hidden_sizes=[8]", "--optimizer.lr=1e-3", "--data.batch_size=2", *DDP]
    command += ["--trainer.log_every_n_steps=50"]
    stop_and_resume(command, stop, "stopped by SIGTERM after step 20: go on with")


NUMPY_CNN = ["--model=NumPyCNN", "--model.kernels=[4]", "--model.hidden_size=8", "--optimizer.lr=1e-3"]
NORMALIZED = ["--model.batch_norm=true", "--model.dropout=0.3"]


def test_a_numpy_convolution_learns_the_same_as_one_process_with_twice_the_batch():
    command = [*FIT, *NUMPY_CNN, "--optimizer=NumPyMomentum", "--optimizer.lr=1e-3"]
    done = run(*command, "--data.batch_size=8", "--runs_dir=two", *DDP)
    assert done.returncode == 0, done.stderr
    assert cli.main([*command, "--data.batch_size=16", "--runs_dir=one"]) == 0
    (both,), (one,) = Path("two").glob("*/*"), Path("one").glob("*/*")
    assert_learnt_the_same(both, one, rel=1e-4, atol=1e-5, rtol=1e-4)


def test_a_numpy_network_with_batch_norm_and_dropout_is_stopped_and_goes_on():
    """Both processes have the random numbers of the step again."""
    stop = '{"class_path": "tests.callbacks.SignalAfter", "init_args": {"step": 22, "rank": 1}}'
    command = [*FIT, *NUMPY_CNN, *NORMALIZED, "--data.batch_size=4", "--sam=0.05", *DDP]
    stop_and_resume(command, stop, "stopped by SIGTERM after step 30: go on with")


def test_all_processes_have_the_running_statistics_of_the_first():
    """Each has normalized its own batches; the checkpoint has what validation used."""
    keep = '{"class_path": "tests.callbacks.KeepsBuffers", "init_args": {"folder": "."}}'
    done = run(*FIT, *NUMPY_CNN, *NORMALIZED, "--data.batch_size=8", f"--trainer.callbacks=[{keep}]", *DDP)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(f"{rank}.pt", weights_only=True) for rank in (0, 1))
    (run_dir,) = Path("runs").glob("*/*")
    saved = weights(run_dir)
    names = [name for name in first if "running" in name]
    assert len(names) == 4
    for name in names:
        assert torch.equal(first[name], second[name]), name
        assert torch.equal(first[name], saved[name]), name
    assert saved["layers.1.running_var"].ne(1).all()


@pytest.mark.parametrize(
    "options",
    [[*CNN, "--optimizer.weight_decay=0.1"], ["--model=NumPyMLP", "--model.hidden_sizes=[8]", "--optimizer.lr=1e-3"]],
    ids=["torch", "numpy"],
)
def test_frozen_weights_stay_and_rates_fall_by_layer(options):
    """As in one process with twice the batch. After the frozen epoch, all but the head is the same bit for bit."""
    keep = {"filename": "{epoch}", "save_top_k": -1}
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": keep}
    command = [*FIT, *options, "--freeze=1", "--layer_decay=0.5", f"--trainer.callbacks={json.dumps([callback])}"]
    done = run(*command, "--data.batch_size=8", "--runs_dir=two", *DDP)
    assert done.returncode == 0, done.stderr
    assert cli.main([*command, "--data.batch_size=16", "--runs_dir=one"]) == 0
    (both,), (one,) = Path("two").glob("*/*"), Path("one").glob("*/*")
    assert_learnt_the_same(both, one, rel=1e-5, atol=1e-6, rtol=1e-4)
    found, expected = weights(both, "epoch=0"), weights(one, "epoch=0")
    changed = {name for name in found if not torch.equal(found[name], weights(both)[name])}
    below = {name for name in changed if not name.startswith(("net.9.", "layers.3."))}
    assert below
    assert all(torch.equal(found[name], expected[name]) for name in below)


@pytest.mark.parametrize(
    "options",
    [
        [*CNN, "--optimizer.weight_decay=0.1", "--ema=0.8"],
        ["--model=NumPyMLP", "--model.hidden_sizes=[8]", "--optimizer.lr=1e-3", "--swa=0.9"],
    ],
    ids=["torch", "numpy"],
)
def test_penalties_sharpness_aware_steps_and_averages(options):
    """As in one process with twice the batch: of whole gradients, before they are clipped."""
    command = [*FIT, *options, "--sam=0.1", "--l1=1e-3", "--l2=0.01", "--trainer.gradient_clip_val=0.5"]
    done = run(*command, "--data.batch_size=4", "--runs_dir=two", *DDP)
    assert done.returncode == 0, done.stderr
    assert cli.main([*command, "--data.batch_size=8", "--runs_dir=one"]) == 0
    (both,), (one,) = Path("two").glob("*/*"), Path("one").glob("*/*")
    assert_learnt_the_same(both, one, rel=1e-4, atol=1e-5, rtol=1e-3)


def test_speaks_once(two):
    _, done = two
    assert done.stdout.count("epoch 1/2") == done.stdout.count("Data: ") == done.stdout.count("accuracy   ") == 1
    assert done.stderr == ""


def test_one_process_writes_the_curves(two):
    run_dir, _ = two
    for folder in (run_dir / "tensorboard", run_dir / "tensorboard" / "steps"):
        files = {path.name for path in folder.glob("events*")} - {run_summary.FILE}
        assert len({name.split(".")[-2] for name in files}) == 1, "the number of the process"


@pytest.mark.parametrize("images", [101, 200])
def test_every_image_is_counted_once(two, images):
    """101 do not share evenly; Lightning's own sampler would count one of them twice."""
    run_dir, _ = two
    command = ["test", f"--ckpt_path={run_dir}/checkpoints/best.ckpt", f"--data.test_size={images}"]
    command += ["--data.eval_batch_size=8"]
    found = []
    for options in ([], DDP):
        before = set(run_dir.glob("test/*/metrics.json"))
        if options:
            done = run(*command, *options)
            assert done.returncode == 0, done.stderr
        else:
            assert cli.main(command) == 0
        (written,) = set(run_dir.glob("test/*/metrics.json")) - before
        found.append(json.loads(written.read_text()))
    one, both = found
    assert both["test/images"] == one["test/images"] == images
    assert both["test/confusion"] == one["test/confusion"]
    assert both["test/loss"] == pytest.approx(one["test/loss"], rel=1e-5)


def test_a_signal_to_one_process_stops_both_and_the_run_goes_on(two):
    """With dropout, batch norm, every augmentation, an average, SAM and three loggers, in the middle of an epoch.

    The processes agree on the step to stop after, the next of ten.
    """
    loggers = [{"class_path": name, "init_args": {"save_dir": name}} for name in ("CSVLogger", "TensorBoardLogger")]
    stop = '{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 22, "rank": 1}}'
    command = [*FIT, "--model=ImprovedCNN", "--data.batch_size=4", "--ema=0.9", "--sam=0.05", *DDP]
    command += ["--data.policy=randaugment", "--data.color_jitter=0.4", "--data.random_erasing=0.5"]
    command += [f"--trainer.logger+={json.dumps(logger)}" for logger in loggers]
    cut = stop_and_resume(command, stop, "stopped by SIGTERM after step 30: go on with")
    assert cut.stderr.count("\n") == 1


def test_a_diverged_run_ends_in_both():
    done = run(*FIT, "--model=MLP", "--optimizer=SGD", "--optimizer.lr=1e30", *DDP)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "diverged" in done.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_takes_the_other_one_with_it(rank):
    """The call returns once both have closed their outputs."""
    callback = f'[{{"class_path": "tests.callbacks.KilledAtStart", "init_args": {{"rank": {rank}}}}}]'
    done = launch(*FIT, "--model=MLP", "--data.batch_size=8", f"--trainer.callbacks={callback}", *DDP)
    (run_dir,) = Path("runs").glob("*/*")
    if rank == 0:
        assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
        return
    left = f"no checkpoint was saved yet; start the run again with: fit --resume {run_dir}"
    assert done.stderr == f"error: process 2 of 2 was ended by SIGKILL: {left}\n"
    assert done.returncode == 1


def test_processes_of_another_launcher_share_a_directory():
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node=2")
    done = launch(*FIT, "--model=MLP", *DDP, launcher=launcher)
    assert done.returncode == 0, done.stderr
    assert len(list(Path("runs").glob("*/*"))) == 1
    assert done.stdout.count("accuracy   ") == 1


def test_too_few_images_for_the_processes(capsys):
    assert cli.main([*FIT, "--model=MLP", "--data.val_size=1", *DDP]) == 2
    assert "--data.val_size=1" in capsys.readouterr().err
