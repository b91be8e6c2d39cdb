"""What the guards around each test notice and restore."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from tests import plugins
from tests.guards import Signals, restored
from zoo.catalogue import registry


@pytest.fixture
def endless() -> Iterator[Callable[[], None]]:
    """Start a thread that ends with the test."""
    end = threading.Event()
    yield lambda: threading.Thread(target=end.wait, name="endless").start()
    end.set()


LEFT: dict[str, Callable[[], object]] = {
    "variable": lambda: os.environ.update(ZOO_LEFT="1"),
    "variable-removed": lambda: os.environ.pop("PATH"),
    "signal": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    "gradients": lambda: torch.set_grad_enabled(False),
    "errors": lambda: np.seterr(divide="ignore"),
    "level": lambda: logging.getLogger("lightning.pytorch").setLevel(logging.CRITICAL),
    "path": lambda: sys.path.insert(0, "/left"),
}


@pytest.mark.parametrize("what", LEFT)
def test_what_is_left_is_told_once_and_restored(what, tmp_path):
    def leave() -> None:
        with restored(tmp_path):
            LEFT[what]()

    with pytest.raises(pytest.fail.Exception, match=r"^left behind: [^;]+$"):
        leave()
    with restored(tmp_path):
        pass


def test_a_thread_that_goes_on_is_told(endless, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.guards.SECONDS", 0)
    with pytest.raises(pytest.fail.Exception, match=r"the thread <Thread\(endless"), restored(tmp_path):
        endless()


def test_models_of_a_test_are_forgotten(tmp_path):
    with restored(tmp_path), pytest.MonkeyPatch.context() as patch:
        # Not where one stands, for a command looks there, too; and not by the name of a package of other tests.
        plugins.install(patch, tmp_path / "site", package="forgotten-zoo")
        assert registry.load("TinyNet").__module__ == "forgotten_zoo"
    assert "TinyNet" not in registry.entries()
    assert "forgotten_zoo" not in sys.modules


def test_random_numbers_are_the_same_whatever_was_drawn_before(tmp_path):
    drawn = []
    for _ in range(2):
        with restored(tmp_path):
            drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))  # noqa: NPY002
    assert drawn[0] == drawn[1]


@pytest.fixture
def signals() -> Iterator[Signals]:
    watched = Signals()
    before = signal.signal(signal.SIGTERM, lambda *args: None)
    yield watched
    signal.signal(signal.SIGTERM, before)
    watched.close()


def test_a_signal_from_outside_is_told_apart_from_those_that_a_test_sends(signals):
    signal.raise_signal(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.from_outside() == []
    signal.raise_signal(signal.SIGTERM)
    subprocess.run(["kill", "-TERM", str(os.getpid())], check=True)
    assert signals.from_outside() == ["SIGTERM"]
    assert signals.from_outside() == []
