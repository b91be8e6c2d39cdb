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
    """Make and return a new directory `runs_dir/name/<date and time>`.

    Raises:
        InputError: where it cannot be made, or would be made through a link in `runs_dir`.
    """
    if (runs_dir / name).is_symlink():
        raise InputError(
            f"--runs_dir={runs_dir}: {runs_dir / name} is a link, in which runs would not be found again: "
            "remove it, or name another folder by --runs_dir"
        )
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        directory = runs_dir / name / (started if attempt == 1 else f"{started}_{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if directory.is_dir():
                continue
            raise InputError(f"--runs_dir={runs_dir}: '{directory.parent}' is not a folder") from None
        except OSError as error:
            raise InputError(f"--runs_dir={runs_dir}: a run directory cannot be made there ({error})") from error
        return directory
    raise InputError(f"--runs_dir={runs_dir}: no free name for a run that started at {started}")


def lock(run: Path) -> FileLock:
    """Take and return the lock of a run, which ends with its process.

    Raises:
        InputError: where another process has it, or it cannot be taken.
    """
    check_links(run)  # the lock's file is emptied
    taken = FileLock(run / LOCK)
    try:
        taken.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{run} is being trained by another process: wait for it, or stop it") from None
    except OSError as error:
        why, owner = error.strerror or error, _owner(run / LOCK)
        raise InputError(
            f"{run / LOCK}{owner} cannot be opened ({why}): delete it if nobody trains this run, or copy the run"
        ) from error
    return taken


def _owner(path: Path) -> str:
    try:
        return f", which belongs to the user {path.owner()},"
    except (OSError, KeyError, NotImplementedError):
        return ""


def check_links(run: Path) -> None:
    """Check that nothing in a run leads out of it, before anything is read or written there.

    The folder itself may be reached through a link. A link in it may come from a stranger.

    Raises:
        InputError: names what is neither a regular file nor a folder.
    """
    for folder, folders, names in os.walk(run):
        for name in (*folders, *names):
            path = Path(folder, name)
            try:
                mode = path.lstat().st_mode
                what = f"a link to {os.readlink(path)}" if stat.S_ISLNK(mode) else "no regular file"
            except FileNotFoundError:  # another process of the run has just renamed it
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InputError(f"{path} is {what}: a run holds files and folders of its own only, so remove it")


def folder_of(checkpoint: Path, name: str) -> Path:
    """Return the folder `name` in the run of a checkpoint, or beside a checkpoint that lies in no run.

    Raises:
        InputError: if there are links in the way, see `check_links`.
    """
    above = of_checkpoint(checkpoint)
    if holding(checkpoint) is not None:
        check_links(above)
    elif (above / name).is_symlink():
        raise InputError(f"{above / name} is a link, which may come from a stranger: remove it")
    return above / name


def newest(runs_dir: Path, holds: Callable[[Path], bool]) -> Path | None:
    """Return the run that started last, of those for which `holds` is true; None where there is none.

    Links in `runs_dir`, which may have come with a stranger's runs, are not followed.

    Args:
        runs_dir: where runs are kept, or the runs of a name.
        holds: tells of a run's directory whether it is wanted.
    """
    below = _folders(runs_dir)
    found = [run for run in itertools.chain(below, *map(_folders, below)) if (run / CONFIG).is_file() and holds(run)]
    return max(found, key=_started, default=None)


def _folders(place: Path) -> list[Path]:
    """Return the folders in a folder, without links; an empty result if the folder cannot be listed."""
    try:
        return [place / entry.name for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _started(run: Path) -> tuple[str, int, int]:
    """When a run started: its name, the number of the run in that second, and the file's time to tell models apart.

    A folder that somebody has given another name comes before all that say when they started.
    """
    name = re.fullmatch(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:_(\d{1,3}))?", run.name)
    started, number = (name[1], int(name[2] or 1)) if name else ("", 0)
    return started, number, (run / CONFIG).stat().st_mtime_ns


def holding(checkpoint: Path) -> Path | None:
    """Return the run directory that a checkpoint lies in; None where it lies in none.

    A checkpoint that is reached through a link lies where the link leads to, unless the link lies in a run itself.
    """
    for path in (checkpoint.absolute(), checkpoint.resolve()):
        folder = path.parent
        if folder.name == CHECKPOINTS and (folder.parent / CONFIG).is_file():
            return folder.parent.resolve()
    return None


def of_checkpoint(checkpoint: Path) -> Path:
    """Return the run directory that a checkpoint lies in, or its own folder where it lies in none."""
    return holding(checkpoint) or checkpoint.resolve().parent
