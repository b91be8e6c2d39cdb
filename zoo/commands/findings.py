"""What the checks of `doctor` find."""

import signal
import subprocess
from typing import NamedTuple

from datamodules.errors import one_line

OK, WARNING, PROBLEM = LEVELS = ("ok", "warning", "problem")


class Finding(NamedTuple):
    """The result of a check.

    Attributes:
        level: one of `LEVELS`.
        subject: what was checked.
        text: one line.
        fix: a command to type or what to set; "" if there is nothing to do.
    """

    level: str
    subject: str
    text: str
    fix: str = ""


def run_program(command: list[str], seconds: float) -> tuple[str, str]:
    """Run a program; return what it prints and why it failed: its last words, its signal or its time, or ""."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        return "", one_line(error)
    try:
        printed, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace"), f"it takes longer than {seconds:g} seconds"
    finally:
        process.kill()  # without waiting: a driver that hangs keeps a process from dying
    code, words = process.returncode, errors.decode(errors="replace").strip()
    if code < 0:
        end = f"it was ended by signal {-code} ({signal.strsignal(-code)})"
    elif code:
        end = one_line(words.splitlines()[-1]) if words else f"it ended with exit code {code}"
    else:
        end = ""
    return printed.decode(errors="replace"), end
