"""Starts on_second_device.py in a process of its own: PyTorch has one such device at most, and never forgets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.second_device.second_device import compiler


@pytest.mark.second_device
@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")
def test_every_command_runs_on_it():
    tests = Path(__file__).with_name("on_second_device.py")
    # Without what pytest-xdist and PYTEST_ADDOPTS say to this process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tests)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-30_000:]}{done.stderr[-3000:]}"
