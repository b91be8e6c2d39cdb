"""The soak script, in short."""

import subprocess
import sys
from pathlib import Path


def test_killed_runs_end_as_if_nothing_had_happened():
    command = [sys.executable, "-m", "tests.soak", "--kills=2", "--per_run=2"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "after 2 kills" in done.stdout
