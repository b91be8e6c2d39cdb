"""Run directories: `runs/<name>/<when>/` holds all that a run leaves behind.

config.yaml           the full config: `fit --config` with it repeats the run
checkpoints/          best.ckpt (by val/acc) and last.ckpt
metrics.csv           one row an epoch
metrics.json          the results on the test set, and what they were measured with
confusion_matrix.png, learning_curves.png
tensorboard/          logs
profile/              files of a profiler
slurm_job             the job that trains it and its command line, where SLURM started it
explain/1, ...        pages of `explain`
report/               that of `evaluate`
export/               files of `export`
"""

import itertools
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from datamodules.errors import InputError

CONFIG, CHECKPOINTS, LOCK, PROFILE = "config.yaml", "checkpoints", ".lock", "profile"
TENSORBOARD, EXPLAIN, REPORT, EXPORT = "tensorboard", "explain", "report", "export"


def create(runs_dir: Path, name: str) -> Path:
    """Make and return a new directory `runs_dir/name/<date and time>`, not through a link in `runs_dir`."""
    if (runs_dir / name).is_symlink():
        raise InputError(
            f"--runs_dir={runs_dir}: {runs_dir / name} is a link, and runs behind links are not found again: "
            "remove it, or name another folder by --runs_dir"
        )
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in itertools.count(1):
        directory = runs_dir / name / (started if attempt == 1 else f"{started}_{attempt}")
        try:
            directory.mkdir(parents=True)
            break
        except OSError as error:
            if not isinstance(error, FileExistsError) or not directory.is_dir():
                raise InputError(f"--runs_dir={runs_dir}: a run directory cannot be made there ({error})") from error
    return directory


def lock(run: Path) -> FileLock:
    """Take and return the lock of a run, which ends with the process. Raise InputError if another process holds it."""
    check_links(run)  # taking the lock empties its file
    taken = FileLock(run / LOCK)
    try:
        taken.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{run} is being trained by another process: wait for it, or stop it") from None
    except OSError as error:
        problem = f"{run / LOCK}{_owner(run / LOCK)} cannot be opened ({error.strerror or error})"
        raise InputError(f"{problem}: delete it if nobody trains this run, or copy the run") from error
    return taken


def _owner(path: Path) -> str:
    try:
        return f", which belongs to the user {path.owner()},"
    except (OSError, KeyError, NotImplementedError):
        return ""


def check_links(run: Path) -> None:
    """Check that a run holds regular files and folders only, before anything is read or written there.

    The folder itself may be reached through a link. A link in the folder may come from a stranger.
    """
    for folder, folders, names in os.walk(run):
        for name in (*folders, *names):
            path = Path(folder, name)
            try:
                mode = path.lstat().st_mode
                kind = f"a link to {os.readlink(path)}" if stat.S_ISLNK(mode) else "not a regular file"
            except FileNotFoundError:  # another process of the run has just renamed it
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InputError(f"{path} is {kind}: a run holds files and folders of its own only, so remove it")


def folder_of(checkpoint: Path, name: str) -> Path:
    """Return the folder `name` in the run of a checkpoint, or beside a checkpoint outside of runs. Refuse links."""
    folder = home(checkpoint)
    if run_of(checkpoint) is not None:
        check_links(folder)
    elif (folder / name).is_symlink():
        raise InputError(f"{folder / name} is a link, which may come from a stranger: remove it")
    return folder / name


def newest(runs_dir: Path, is_wanted: Callable[[Path], bool]) -> Path | None:
    """Return the wanted run that started last; None if there is none.

    `runs_dir` holds all runs, or the runs of a name. Links in it may come with a stranger's runs and are not followed.
    """
    groups = _folders(runs_dir)
    runs = [run for run in itertools.chain(groups, *map(_folders, groups)) if (run / CONFIG).is_file()]
    return max(filter(is_wanted, runs), key=_started, default=None)


def _folders(place: Path) -> list[Path]:
    """Return the folders in a folder, without links; an empty result if the folder cannot be listed."""
    try:
        return [place / entry.name for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _started(run: Path) -> tuple[str, int, int]:
    """Return when a run started: the time in its name, its number in that second, and the time of its config.

    A folder with another name comes first.
    """
    name = re.fullmatch(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:_(\d{1,9}))?", run.name)
    started, number = (name[1], int(name[2] or 1)) if name else ("", 0)
    return started, number, (run / CONFIG).stat().st_mtime_ns


def run_of(checkpoint: Path) -> Path | None:
    """Return the run directory of a checkpoint; None if the checkpoint is outside of runs.

    A link to a checkpoint stands for its target, unless the link itself is in a run.
    """
    for path in (checkpoint.absolute(), checkpoint.resolve()):
        folder = path.parent
        if folder.name == CHECKPOINTS and (folder.parent / CONFIG).is_file():
            return folder.parent.resolve()
    return None


def home(checkpoint: Path) -> Path:
    """Return the run directory of a checkpoint; its folder if the checkpoint is outside of runs."""
    return run_of(checkpoint) or checkpoint.resolve().parent
