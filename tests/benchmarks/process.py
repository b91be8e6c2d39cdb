"""A program as a process of its own: how long it takes, and how much memory it has at most."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import RunError

ROOT = Path(__file__).resolve().parents[2]  # where cli.py lies, in a clone and where the package is installed


class Usage(NamedTuple):
    """What a process took.

    Attributes:
        seconds: from its start to its end.
        megabytes: of memory at most, in units of 10^6 bytes; None where the system does not tell, as Windows.
    """

    seconds: float
    megabytes: float | None


def run(name: str, command: list[str], folder: Path) -> Usage:
    """Run a program, which can import the project. Nothing that it prints is shown.

    A small process lies in between: on Linux the most memory of a process is never less than that of the process that
    started it, and this one has imported PyTorch.

    Args:
        name: of what is run, for a message.
        command: the program and its arguments.
        folder: where it runs.

    Raises:
        RunError: where it does not end with exit code 0; with the last line that it printed.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))}
    between = [sys.executable, "-m", __name__, *command]
    output, errors = _output(between, cwd=folder, env=environment)
    code, *usage = json.loads(output)
    if code:
        last_line = (errors.strip().splitlines() or ["it printed nothing"])[-1]
        raise RunError(f"'{name}' ended with exit code {code}: {last_line}")
    return Usage(*usage)


def _output(command: list[str], **options: Any) -> tuple[str, str]:
    """Run a command and return its standard output and error; end all that it has started where this process ends."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        **options,
    ) as process:
        try:
            return process.communicate()
        except BaseException:
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()  # until nobody is left who writes, or could write to the folder
            raise


def _measure(command: list[str]) -> None:
    """Run a program, whose output goes to the standard error; print its exit code, seconds and megabytes."""
    start = time.perf_counter()
    code = subprocess.call(command, stdout=sys.stderr)
    print(json.dumps([code, time.perf_counter() - start, _megabytes_of_child()]))


def _megabytes_of_child() -> float | None:
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e6


if __name__ == "__main__":
    _measure(sys.argv[1:])
