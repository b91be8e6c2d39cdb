"""The benchmark of start-up and memory: that it measures what it says. No time is asserted."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import lightning as L
import pytest
import torch
import torchvision
import yaml

import cli
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from datamodules.errors import RunError
from tests.benchmarks import process, start, start_programs
from tests.benchmarks.command import main as benchmark
from zoo.models.cnn import CNN
from zoo.runs import metrics_json


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def ours(*contestants: str) -> start.Commands:
    return {name: command for name, command in start.start_up().items() if name in contestants}


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    start.write_noise(folder)
    return folder


def test_the_command_shows_seconds_and_megabytes(monkeypatch, capsys):
    light = ours(start.HELP, start.FIT_HELP)
    monkeypatch.setattr(start, "start_up", lambda: light)
    monkeypatch.setattr(start, "COMPARISONS", [(start.FIT_HELP, start.HELP)])
    monkeypatch.setattr(start, "memory", lambda folder, images: {f"{images} in {folder.name}": python("pass")})
    monkeypatch.setattr(start, "write_noise", lambda folder: None)
    assert cli.reporting_errors(benchmark, ["start", "--rounds=2", "--images=600", "--json=start.json"]) == 0
    content = json.loads(Path("start.json").read_text())
    (of_memory,) = (name for name in content["seconds"] if name.startswith("600 in "))
    turns = {start.HELP: 2, start.FIT_HELP: 2, of_memory: 1}
    assert {name: len(seconds) for name, seconds in content["seconds"].items()} == turns
    if sys.platform != "win32":
        assert {name: len(megabytes) for name, megabytes in content["megabytes"].items()} == turns
        assert "MB at most" in capsys.readouterr().out


def test_the_first_turns_do_not_count(monkeypatch):
    """Those whose memory is the point have one turn, which does."""
    usages = iter([9, 9, 1, 2, 3, 4, 5])
    monkeypatch.setattr(start.process, "run", lambda *args: process.Usage(n := next(usages), 10 * n))
    monkeypatch.setattr(start, "start_up", lambda: {"a": [], "b": []})
    monkeypatch.setattr(start, "memory", lambda folder, images: {"c": []})
    monkeypatch.setattr(start, "write_noise", lambda folder: None)
    stopwatch = start.measure(rounds=2, images=600)
    assert stopwatch.seconds == {"a": [2, 3], "b": [1, 4], "c": [5]}
    assert stopwatch.megabytes == {"a": [20, 30], "b": [10, 40], "c": [50]}


def test_comparisons_are_of_contestants():
    assert {name for pair in start.COMPARISONS for name in pair} <= start.start_up().keys()


def test_the_first_steps_have_the_same_options():
    """No sanity check among them, which a LightningCLI has and `fit` has not."""
    commands = start.start_up()
    ours_has, plain_has = (
        {word for word in commands[name] if word.startswith(("--data.", "--trainer."))}
        for name in (start.FIRST_STEP, start.PLAIN_FIRST_STEP)
    )
    assert ours_has == plain_has
    assert "--trainer.num_sanity_val_steps=0" in ours_has


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_an_interruption_ends_what_was_started(tmp_path):
    """Not only the process in between, but that which it started."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job of a shell ignores

    def interrupt():
        with pipe.open() as lines:
            said.append(lines.readline())
            os.kill(os.getpid(), signal.SIGINT)
            said.append(lines.read())  # until the process has ended

    code = (
        f"import time; pipe = open({str(pipe)!r}, 'w', 1); print('here', file=pipe); time.sleep(60); pipe.write('on')"
    )
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            process.run("asleep", python(code), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert said == ["here\n", ""]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_memory_is_that_of_the_process_alone(tmp_path):
    """Not that of this one, which has imported PyTorch; and all that it ever had."""
    without = process.run("without", python("b''"), tmp_path).megabytes
    with_300 = process.run("with", python("b'1' * 300_000_000; b''"), tmp_path).megabytes
    assert 3 < without < 60
    assert with_300 - without == pytest.approx(300, abs=10)


def test_seconds_are_those_of_the_process(tmp_path):
    assert process.run("asleep", python("import time; time.sleep(0.3)"), tmp_path).seconds >= 0.3


def test_a_process_that_fails_is_named_with_its_last_line(tmp_path):
    with pytest.raises(RunError, match=r"^'mine' ended with exit code 3: the last$"):
        process.run("mine", python("import sys; print('the first\\nthe last'); sys.exit(3)"), tmp_path)
    with pytest.raises(RunError, match=r"exit code 2: error: unknown command 'fti'"):
        process.run("mistyped", [sys.executable, cli.__file__, "fti"], tmp_path)
    with pytest.raises(RunError, match=r"it printed nothing"):
        process.run("silent", python("raise SystemExit(1)"), tmp_path)


def test_a_process_runs_in_its_folder_and_imports_the_project(tmp_path):
    code = "import pathlib, datamodules; pathlib.Path('it-ran').write_text(datamodules.__file__)"
    process.run("mine", python(code), tmp_path)
    assert Path((tmp_path / "it-ran").read_text()).parents[1] == Path(cli.__file__).parent == process.ROOT


def test_the_process_ends_after_one_step(monkeypatch):
    """And not before: `_exit` is replaced by what Lightning hands on."""

    class Ended(Exception):
        pass

    def end(code):
        raise Ended(code)

    monkeypatch.setattr("os._exit", end)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[start_programs.EndAtFirstStep()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = CIFAR10DataModule(source="synthetic", train_size=24, val_size=10, batch_size=8)
    with pytest.raises(Ended, match=r"^0$"):
        trainer.fit(CNN(), data)
    assert trainer.global_step == 1


@pytest.mark.parametrize("name", [start.FIRST_STEP, start.PLAIN_FIRST_STEP])
def test_both_get_to_their_first_step(name, tmp_path):
    """A fit of any other end would have written what comes after an epoch."""
    process.run(name, ours(name)[name], tmp_path)
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert any(file.startswith("events.out.tfevents") for file in written)
    assert not any(file.endswith(".ckpt") for file in written)


def test_noise_is_in_the_official_layout(noise):
    images, labels, official = CIFAR10.read(noise, "test", verify_checksums=False)
    assert images.shape == (10_000, 3, 32, 32)
    assert images.mean() == pytest.approx(127.5, abs=0.5)
    assert set(labels) == set(range(10))
    assert not official


def test_a_fit_and_the_plain_script_learn_alike(noise, tmp_path, monkeypatch):
    """From as many images of the same files, in batches and crops as the shipped config has them."""
    monkeypatch.setattr(start, "STEPS", 2)
    commands = start.memory(noise, 500)
    process.run("fit", commands["fit of CNN, 500 images"], tmp_path)
    (run,) = tmp_path.glob("runs/*/*")
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert (data["batch_size"], data["crop_padding"], data["train_size"], data["val_size"]) == (128, 4, 450, 50)
    assert data["drop_last"], "a last batch of one would be none to train on"
    assert "CIFAR-10 copy" in (run / metrics_json.FILE).read_text()
    assert len((run / "metrics.csv").read_text().splitlines()) == 2
    assert f"run(*('CNN', '{noise}', 500, 2, 128, 4, 250))" in commands["plain script of CNN, 500 of 50,000 images"][-1]


def test_the_plain_script_takes_its_steps_and_evaluates(noise, monkeypatch):
    """Whole batches, of images that are cropped and mirrored anew; each step changes the weights."""
    seen = []

    class Spy(torch.nn.Flatten):
        def forward(self, images):
            seen.append((self.training, torch.is_grad_enabled(), images, model.net[1].weight.detach().clone()))
            return super().forward(images)

    class Model:
        def __init__(self):
            nonlocal model
            self.net, model = torch.nn.Sequential(Spy(), torch.nn.Linear(3072, 10)), self

    model = None
    monkeypatch.setattr("zoo.models.cnn.Tiny", Model, raising=False)
    done = []
    transforms = torchvision.transforms
    for name in ("RandomCrop", "RandomHorizontalFlip"):
        original = getattr(transforms, name)

        class Counted(original):
            def forward(self, image, name=name):
                done.append((name, getattr(self, "padding", None)))
                return super().forward(image)

        monkeypatch.setattr(transforms, name, Counted)
    start_programs.plain_script("Tiny", str(noise), 21, 3, 8, 4, 12)
    assert [entry[:2] for entry in seen] == [(True, True), (True, True), (False, False)]
    assert [len(images) for _, _, images, _ in seen] == [8, 8, 12], "21 images have two whole batches of 8"
    weights = [entry[3] for entry in seen]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert done.count(("RandomCrop", 4)) == done.count(("RandomHorizontalFlip", None)) == 28
