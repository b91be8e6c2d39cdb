"""Run directories."""

import os
from pathlib import Path

import pytest

from datamodules.errors import InputError
from zoo.runs import run_directory


def test_runs_of_one_second_get_directories_of_their_own(monkeypatch):
    monkeypatch.setattr(run_directory.time, "strftime", lambda form: "2026-01-01_00-00-00")
    made = [run_directory.create(Path("runs"), "CNN") for _ in range(3)]
    assert [path.name for path in made] == ["2026-01-01_00-00-00", "2026-01-01_00-00-00_2", "2026-01-01_00-00-00_3"]
    assert all(path.is_dir() for path in made)


def test_the_newest_run_is_the_one_that_started_last(monkeypatch):
    made = []
    for name, second in (("CNN", "00"), ("MLP", "07"), ("CNN", "05"), *[("CNN", "07")] * 11):
        monkeypatch.setattr(run_directory.time, "strftime", lambda form, second=second: f"2026-01-01_00-00-{second}")
        made.append(run_directory.create(Path("runs"), name))
        (made[-1] / "config.yaml").touch()
    assert made[-1].name.endswith("_11")
    assert run_directory.newest(Path("runs"), lambda run: True) == made[-1]
    assert run_directory.newest(Path("runs"), lambda run: run.parent.name == "MLP") == made[1]
    assert run_directory.newest(Path("nothing"), lambda run: True) is None
    os.utime(made[-1] / "config.yaml", (0, 0))
    assert run_directory.newest(Path("runs"), lambda run: True) == made[-1], (
        "by its number, whatever the time of its config"
    )
    later = Path("elsewhere/2026-01-01_00-00-09")
    later.mkdir(parents=True)
    (later / "config.yaml").touch()
    Path("runs/CNN", later.name).symlink_to(later.resolve())
    Path("runs/others").symlink_to(later.parent.resolve())
    assert run_directory.newest(Path("runs"), lambda run: True) == made[-1], "a link is not followed"
    made[0].rename("runs/CNN/old_copy")
    assert run_directory.newest(Path("runs"), lambda run: True) == made[-1], (
        "a folder with another name is never the newest"
    )


def test_a_place_that_cannot_be_written():
    Path("file").write_text("mine")
    with pytest.raises(InputError, match="runs_dir=file"):
        run_directory.create(Path("file"), "CNN")
    Path("runs").mkdir()
    Path("runs/CNN").write_text("mine")
    with pytest.raises(InputError, match="runs_dir=runs"):
        run_directory.create(Path("runs"), "CNN")


def test_run_of_a_checkpoint():
    run = run_directory.create(Path("runs"), "CNN")
    (run / "checkpoints").mkdir()
    assert run_directory.home(run / "checkpoints/best.ckpt") == run.resolve() / "checkpoints"
    (run / "config.yaml").touch()
    assert run_directory.home(run / "checkpoints/best.ckpt") == run.resolve()


def test_a_lock_that_is_a_link_empties_nothing(tmp_path):
    (tmp_path / "precious").write_text("content")
    run = tmp_path / "run"
    run.mkdir()
    (run / run_directory.LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="is a link to"):
        run_directory.lock(run)
    assert (tmp_path / "precious").read_text() == "content"
