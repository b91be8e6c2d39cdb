"""Jobs of SLURM that are queued again: each goes on with the run that it had begun.

A run keeps the job and the command line that it is of. A job that SLURM starts once more, with the same command line,
finds it by them. Lightning's own way is off: it writes a checkpoint into the working directory, and every later fit
there starts from that one.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import one_line
from zoo.core import files
from zoo.runs import results, run_directory
from zoo.runs.command_line import CHECKPOINT, RESUME, CommandLine, take

FILE = "slurm_job"  # of a run


def job() -> str | None:
    """Return the number of the job that this process belongs to, as `scontrol` knows it; None outside of SLURM."""
    name = "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}" if "SLURM_ARRAY_JOB_ID" in os.environ else "{SLURM_JOB_ID}"
    try:
        found = name.format_map(os.environ)
    except KeyError:
        return None
    return found if re.fullmatch("[0-9_]+", found) else None


def was_queued_again() -> bool:
    """Whether SLURM has started this job before."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def take_environment(plugins: Sequence[Any]) -> Any:
    """Return Lightning's view of SLURM, without its own way of queueing jobs again.

    Args:
        plugins: that a user has chosen; one that is a view of SLURM is changed and returned.

    Returns:
        None where SLURM has not started this process, or something else manages the processes.
    """
    from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

    chosen = next((plugin for plugin in plugins if isinstance(plugin, ClusterEnvironment)), None)
    if chosen is None and SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    if not isinstance(chosen, SLURMEnvironment):
        return None
    chosen.auto_requeue = False
    return chosen


def mark(run: Path, argv: Sequence[str]) -> None:
    """Note in a run which job has begun it, or goes on with it, by which command line."""
    if job() is None:
        return
    path = run / FILE
    is_noted = path.is_file() and path.read_text(encoding="utf-8").splitlines()[:1] == [job()]
    if not (was_queued_again() and is_noted):
        files.write(path, _note(argv).encode())


def _note(argv: Sequence[str]) -> str:
    return f"{job()}\n{shlex.join(argv)}\n"


def take_up(command_line: CommandLine) -> CommandLine | None:
    """Return the command line with which a job goes on.

    Args:
        command_line: of `fit`.

    Returns:
        The same one if the job has no run yet, one with `--resume RUN` if its run is not finished, None if it is.
    """
    if job() is None or not was_queued_again():
        return command_line
    note = _note(command_line.argv).encode()
    run = run_directory.newest(command_line.runs_dir, lambda run: _holds(run / FILE, note))
    if run is None:
        return command_line
    if (run / results.FILE).is_file():
        _say(f"Job {job()} was queued again, and has finished its run: {run}")
        return None
    _say(f"Job {job()} was queued again, and goes on with its run.")
    # Where the run once started from, and its name, are its own by now.
    _, kept = take(command_line.argv[1:], (*CHECKPOINT, RESUME, "--name"))
    return CommandLine(["fit", *kept, f"--resume={run}"])


def _say(text: str) -> None:
    if os.environ.get("SLURM_PROCID", "0") == "0":
        print(text, flush=True)


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def queue_again() -> str | None:
    """Ask SLURM to queue this job again; return what went wrong, None where nothing did."""
    try:
        done = subprocess.run(["scontrol", "requeue", str(job())], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return one_line(error)
    return one_line(done.stderr or f"scontrol has ended with exit code {done.returncode}") if done.returncode else None
