"""What is left of a run that ends before its time, and what a run leaves behind in its process."""

import errno
import json
import os
import shutil
import signal
import threading
import warnings
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

import cli
from zoo.core import files
from zoo.models.mlp import MLP
from zoo.runs import metrics_json
from zoo.training import stage_results
from zoo.training.tensorboard.embeddings import Embeddings
from zoo.training.tensorboard.pr_curves import PRCurves

pytestmark = pytest.mark.pictures

FIT = ["fit", "--model=MLP", "--model.hidden_sizes=[4]", "--data.source=synthetic", "--data.train_size=32"]
FIT += ["--data.val_size=20", "--data.test_size=20", "--data.batch_size=16", "--trainer.max_epochs=2"]
FIT += ["--trainer.enable_model_summary=false"]
PICTURES = ("confusion_matrix.png", "learning_curves.png")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing cut short, and the files that it wrote whole, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        written: list[str] = []
        write = files.write
        patch.setattr(files, "write", lambda path, content: (written.append(path.name), write(path, content)))
        assert cli.main(FIT) == 0
        return the_run().resolve(), written


@pytest.fixture
def finished(whole) -> Path:
    """A copy of the run, in `runs` of the test's folder."""
    run = Path("runs") / whole[0].relative_to(whole[0].parent.parent)
    shutil.copytree(whole[0], run)
    return run


def the_run() -> Path:
    (run,) = Path("runs").glob("*/*")
    return run


def points(run: Path) -> Counter:
    """How often each point stands in TensorBoard: (folder, tag, step)."""
    found: Counter = Counter()
    for folder in ("tensorboard", "tensorboard/steps"):
        log = EventAccumulator(str(run / folder), dict.fromkeys(("scalars", "images", "tensors"), 0)).Reload()
        for tag in log.Tags()["scalars"]:
            found.update((folder, tag, event.step) for event in log.Scalars(tag))
        for tag in log.Tags()["images"]:
            found.update((folder, tag, event.step) for event in log.Images(tag))
        for tag in log.Tags()["tensors"]:
            found.update((folder, tag, event.step) for event in log.Tensors(tag))
    return found


def of_test(found: Counter) -> Counter:
    return Counter(
        {point: n for point, n in found.items() if point[1].startswith(("test", "pr/")) or point[1] == "hp/test_acc"}
    )


HALF_WRITTEN = {"learning curves half written": "learning_curves.png", "points half written": "events.out"}
PLACES = {
    "first batch": (MLP, "on_test_batch_start"),
    "curves": (PRCurves, "on_test_end"),
    "projector": (Embeddings, "on_test_end"),
    "pictures": (stage_results, "_draw"),
    "everything but what means finished": (metrics_json, "write_json"),
}
# The last one twice: the points of a test that were written are written once more.
STAGES = (*PLACES, *HALF_WRITTEN, "everything but what means finished")


def kill_at(monkeypatch, stage: str) -> None:
    """Let the next run end at a stage of its test."""

    def killed(*args, **options):
        raise Killed

    def killed_in(path: Path, content: bytes) -> None:
        if path.name.startswith(HALF_WRITTEN[stage]):
            files.part(path, "00000000").write_bytes(content)
            raise Killed
        write(path, content)

    write = files.write
    if stage in HALF_WRITTEN:
        monkeypatch.setattr(files, "write", killed_in)
    else:
        monkeypatch.setattr(*PLACES[stage], killed)


def test_a_test_that_was_killed_at_any_stage_is_made_up_for(whole, monkeypatch):
    """One run is killed again and again, and then ends; and is lengthened after that."""
    whole, _ = whole
    for stage in STAGES:
        command = ["fit", "--resume"] if Path("runs").exists() else FIT
        with monkeypatch.context() as patch:
            kill_at(patch, stage)
            with pytest.raises(Killed):
                cli.main(command)
        assert not (the_run() / "metrics.json").exists(), stage
    assert cli.main(["fit", "--resume"]) == 0
    run, expected = the_run(), points(whole)
    assert set(of_test(expected).values()) == {1}
    assert {point[1] for point in of_test(expected)} >= {"test/acc", "test/confusion_matrix", "pr/disc", "hp/test_acc"}
    assert points(run) == expected
    for name in PICTURES:
        assert Image.open(run / name).size == Image.open(whole / name).size
    test_results = [json.loads((folder / "metrics.json").read_text())["test/loss"] for folder in (run, whole)]
    assert test_results[0] == test_results[1]
    assert cli.main(["fit", "--resume"]) == 2, "nothing is left to do"

    assert cli.main(["fit", "--resume", "--trainer.max_epochs=3"]) == 0
    longer = of_test(points(run))
    assert {point[2] for point in longer} == {2, 3}, "the earlier test stays"
    assert set(longer.values()) == {1}


def test_pictures_come_before_what_means_finished(whole):
    _, written = whole
    assert written[-1] == "metrics.json"
    assert set(PICTURES) <= set(written), "each is written whole"


@pytest.mark.parametrize(
    ("name", "place"), [("SIGINT", (MLP, "on_test_batch_start")), ("SIGTERM", (stage_results, "_draw"))]
)
def test_a_signal_in_the_test(name, place, monkeypatch, capsys):
    number = signal.Signals[name]
    with monkeypatch.context() as patch:
        patch.setattr(*place, lambda *args: signal.raise_signal(number))
        assert cli.main(FIT) == 128 + number
    run = the_run()
    assert capsys.readouterr().err == f"error: stopped by {name}: go on with: fit --resume {run}\n"
    assert not (run / "metrics.json").exists()
    assert not list(run.rglob("*-test-*"))
    assert cli.main(["fit", "--resume"]) == 0
    assert set(of_test(points(run)).values()) == {1}


@pytest.mark.parametrize(("command", "batch"), [("test", "test_batch"), ("validate", "validation_batch")])
def test_a_signal_in_an_evaluation(finished, command, batch, monkeypatch, capsys):
    before = {path: path.is_file() and path.read_bytes() for path in Path("runs").rglob("*")}
    for number, place in ((signal.SIGINT, (MLP, f"on_{batch}_start")), (signal.SIGTERM, (stage_results, "_draw"))):
        with monkeypatch.context() as patch:
            patch.setattr(*place, lambda *args, number=number: signal.raise_signal(number))
            assert cli.main([command, "--ckpt=best"]) == 128 + number
        assert capsys.readouterr().err == f"error: stopped by {number.name}: nothing was written\n"
        assert {path: path.is_file() and path.read_bytes() for path in Path("runs").rglob("*")} == before


def test_a_signal_ends_the_projects_own_commands(monkeypatch, capsys):
    for number in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr("zoo.commands.list.main", lambda argv, number=number: signal.raise_signal(number))
        assert cli.main(["list"]) == 128 + number
        assert capsys.readouterr().err == f"error: stopped by {number.name}\n"


def test_a_folder_that_is_deleted_during_its_run(monkeypatch, capsys):
    def delete(*args) -> None:
        run = the_run()
        while run.exists():  # TensorBoard's thread may write a file while the folder is being emptied
            shutil.rmtree(run, ignore_errors=True)

    monkeypatch.setattr(MLP, "on_train_epoch_start", delete)
    assert cli.main(FIT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: runs/MLP-synthetic/2")
    assert line.endswith(" was deleted or moved while it was in use, as seen after step 2")
    assert not list(Path("runs").glob("*/*")), "nothing makes a new one, without a config"


def test_the_disk_is_full_in_tensorboards_thread(monkeypatch, capsys):
    def append(self, name, content, binary_mode=False):
        if Path(os.fsdecode(name)).parent.name == "tensorboard" and list(Path("runs").rglob("last.ckpt")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, content, binary_mode)

    write = LocalFileSystem.append
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "append", append)
        assert cli.main(FIT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the disk is full (")
    assert line.endswith(f"make room; go on with: fit --resume {the_run()}")
    assert cli.main(["fit", "--resume"]) == 0


def test_the_disk_is_full_as_a_run_begins(finished, monkeypatch, capsys):
    def write(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write", write)
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=3"]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the disk is full (")
    assert not (finished / ".lock").exists(), "it is free for the next try"


@pytest.mark.parametrize("kind", ["a folder", "of another user"])
def test_a_lock_that_cannot_be_opened(finished, kind, monkeypatch, capsys):
    if kind == "a folder":
        (finished / ".lock").mkdir()
    else:
        (finished / ".lock").touch()
        monkeypatch.setattr(FileLock, "acquire", _refuse)  # whoever runs the tests may be root
    before = {path: path.is_file() and path.read_bytes() for path in finished.rglob("*")}
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {finished}/.lock, which belongs to the user ")
    assert "delete it if nobody trains this run" in line
    assert {path: path.is_file() and path.read_bytes() for path in finished.rglob("*")} == before


def _refuse(*args, **options) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


class TestLeavesNothingInTheProcess:
    def state(self) -> dict:
        return {
            "threads": Counter(thread.name for thread in threading.enumerate() if "tqdm" not in repr(type(thread))),
            "files": Counter(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if _is_open(n)),
            "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
            "warnings": list(warnings.filters),
            "variables": {name: value for name, value in os.environ.items() if not name.startswith("PL_")},
        }

    def test_after_fits(self, monkeypatch):
        assert cli.main([*FIT, "--trainer.max_epochs=1"]) == 0  # what is loaded once
        before = self.state()
        assert cli.main([*FIT, "--trainer.max_epochs=1"]) == 0
        for place in ((MLP, "on_train_batch_start"), (MLP, "on_test_batch_start"), (stage_results, "_draw")):
            with monkeypatch.context() as patch:
                patch.setattr(*place, _kill)
                with pytest.raises(Killed):
                    cli.main([*FIT, "--trainer.max_epochs=1"])
        assert cli.main(["test", "--ckpt=best"]) == 0
        after = self.state()
        for what in before:
            assert after[what] == before[what], what


def _kill(*args) -> None:
    raise Killed


def _is_open(number: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{number}") or os.path.islink(f"/proc/self/fd/{number}")
