"""Let a job that SLURM queues again go on with its run.

A run keeps its job and its command line in a file. A job that is started again with the same command line finds its run
by that file. Lightning's own way is switched off: it writes a checkpoint into the working directory, and every later
fit there starts from it.
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
from zoo.runs import metrics_json, run_directory
from zoo.runs.command_line import CHECKPOINT, RESUME, CommandLine, take

FILE = "slurm_job"  # of a run


def job() -> str | None:
    """Return the number of this process's job, as `scontrol` knows it; None outside of SLURM."""
    name = "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}" if "SLURM_ARRAY_JOB_ID" in os.environ else "{SLURM_JOB_ID}"
    try:
        number = name.format_map(os.environ)
    except KeyError:
        return None
    return number if re.fullmatch("[0-9_]+", number) else None


def was_queued_again() -> bool:
    """Whether SLURM has started this job before."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def take_environment(plugins: Sequence[Any]) -> Any:
    """Return Lightning's view of SLURM, without its own way of queueing jobs again.

    A view of SLURM among the user's plugins is changed and returned. None if SLURM did not start this process, or
    another plugin manages the processes.
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
    """Write the job and its command line into its run. A job that was queued again keeps its first command line."""
    if job() is None:
        return
    path = run / FILE
    is_noted = path.is_file() and path.read_text(encoding="utf-8").splitlines()[:1] == [job()]
    if not (was_queued_again() and is_noted):
        files.write(path, _note(argv))


def _note(argv: Sequence[str]) -> bytes:
    return f"{job()}\n{shlex.join(argv)}\n".encode()


def take_up(command_line: CommandLine) -> CommandLine | None:
    """Return the command line of `fit` with which a job goes on.

    Returns:
        The same one if the job has no run yet; one with `--resume RUN` to go on; None if its run is finished.
    """
    if job() is None or not was_queued_again():
        return command_line
    note = _note(command_line.argv)

    def is_own(run: Path) -> bool:
        path = run / FILE
        return path.is_file() and path.stat().st_size == len(note) and path.read_bytes() == note

    run = run_directory.newest(command_line.runs_dir, is_own)
    if run is None:
        return command_line
    is_finished = (run / metrics_json.FILE).is_file()
    if os.environ.get("SLURM_PROCID", "0") == "0":
        does = f"has finished its run: {run}" if is_finished else "goes on with its run."
        print(f"Job {job()} was queued again, and {does}", flush=True)
    # The run knows its name and its start.
    _, kept = take(command_line.argv[1:], (*CHECKPOINT, RESUME, "--name"))
    return None if is_finished else CommandLine(["fit", *kept, f"--resume={run}"])


def queue_again() -> str | None:
    """Ask SLURM to queue this job again. Return the error, or None."""
    try:
        done = subprocess.run(["scontrol", "requeue", str(job())], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return one_line(error)
    return one_line(done.stderr or f"scontrol ended with exit code {done.returncode}") if done.returncode else None
