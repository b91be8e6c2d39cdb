"""Guards around each test: what it changes in the process is put back, and what it should not have changed fails it.

pytest itself puts back `warnings.filters` and the standard streams.
"""

import gc
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tqdm import TMonitor

from zoo.catalogue import registry

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
HANDLED = (*ENDING, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LOGGERS = (None, "lightning", "lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric", "torch")
# Variables that Lightning, scikit-learn and threadpoolctl set and never remove.
OF_LIBRARIES = {
    "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "CUBLAS_WORKSPACE_CONFIG", "KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK",
}  # fmt: skip
OF_PYTEST = {"PYTEST_CURRENT_TEST"}
SECONDS = 60  # until a thread counts as left behind


class Setting(NamedTuple):
    """Something global, read and written as one value."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _write_signals(handlers: list[Any]) -> None:
    for number, handler in zip(HANDLED, handlers, strict=True):
        signal.signal(number, handler)


def _write_loggers(states: list[tuple[int, list, list]]) -> None:
    for name, (level, handlers, filters) in zip(LOGGERS, states, strict=True):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters


SETTINGS = {
    "signal handlers": Setting(lambda: [signal.getsignal(number) for number in HANDLED], _write_signals),
    "loggers": Setting(
        lambda: [(log.level, log.handlers.copy(), log.filters.copy()) for log in map(logging.getLogger, LOGGERS)],
        _write_loggers,
    ),
    "torch's threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic algorithms": Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "torch's default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "the precision of torch's products": Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "cuDNN's flags": Setting(
        lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        lambda flags: torch.backends.cudnn.set_flags(_benchmark=flags[0], _deterministic=flags[1]),
    ),
    "gradients": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "NumPy's floating-point errors": Setting(np.geterr, lambda kinds: np.seterr(**kinds)),
}


def draw_afresh() -> None:
    """Seed the global generators."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.default_generator.manual_seed(0)  # `torch.manual_seed` looks for accelerators, which takes half a millisecond


@contextmanager
def restored(folder: Path) -> Iterator[None]:
    """Restore the process at the end, and fail if the code within left something that it should have restored.

    Random numbers are the same whatever ran before. Modules from below `folder`, and what libraries leave in
    the environment, are removed without a word.
    """
    environment, path, modules, threads = dict(os.environ), sys.path.copy(), set(sys.modules), threading.enumerate()
    settings = {name: setting.read() for name, setting in SETTINGS.items()}
    known = [(kind, kind.entries()) for kind in (registry.models, registry.data)]
    draw_afresh()
    yield
    leaks = _threads_beside(threads) + _processes()
    for name, setting in SETTINGS.items():
        if (value := setting.read()) != settings[name]:
            leaks.append(f"{name}: {value} instead of {settings[name]}")
            setting.write(settings[name])
    now = dict(os.environ)
    changed = set() if now == environment else {name for name, _ in now.items() ^ environment.items()} - OF_PYTEST
    leaks += [f"the environment variable {name}" for name in sorted(changed - OF_LIBRARIES)]
    for name in changed:
        os.environ.pop(name, None)
        if name in environment:
            os.environ[name] = environment[name]
    if sys.path != path:
        # A command adds the working directory, where it looks for models.
        leaks += [f"{place} in sys.path" for place in Counter(sys.path) - Counter([*path, ""])]
        sys.path[:] = path
    for name in sys.modules.keys() - modules if len(sys.modules) != len(modules) else ():
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
    for kind, entries in known:
        if kind.entries() is not entries:
            kind.entries.cache_clear()
    if leaks:
        pytest.fail(f"left behind: {'; '.join(leaks)}", pytrace=False)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Restore the process after each test."""
    with restored(tmp_path_factory.getbasetemp()):
        yield


def _threads_beside(known: list[threading.Thread]) -> list[str]:
    """Return the threads that neither are in `known` nor come to their end."""

    def others() -> list[threading.Thread]:
        # The one that watches tqdm's bars stays for the next bar.
        return [thread for thread in threading.enumerate() if thread not in known and not isinstance(thread, TMonitor)]

    if not others():
        return []
    gc.collect()  # a loader that an error has ended holds a thread, and is held by reference cycles
    for thread in others():
        thread.join(SECONDS)
    return [f"the thread {thread}" for thread in others()]


def _processes() -> list[str]:
    """End this process's children, and return them."""
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
        child.join()
    return [f"the process {child}" for child in children]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a shared fixture draw the same random numbers whichever test asks for it first, and keep its models to it."""
    if fixturedef.scope == "function":
        return (yield)
    draw_afresh()
    made = yield
    registry.models.entries.cache_clear()
    registry.data.entries.cache_clear()
    return made


class Signals:
    """The signals that this process gets and does not send itself, from here on.

    Those with a handler written in Python: the commands handle signals that should end pytest. So a command ends, its
    test fails, and the next one begins.
    """

    def __init__(self) -> None:
        self._received, end = os.pipe()
        os.set_blocking(self._received, False)
        os.set_blocking(end, False)
        self._before = signal.set_wakeup_fd(end, warn_on_full_buffer=False), signal.raise_signal, os.kill
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        self._sent: Counter[int] = Counter()
        _, raise_signal, kill = self._before

        def note_and_raise(number: int) -> None:
            self._sent[number] += 1
            raise_signal(number)

        def note_and_kill(process: int, number: int) -> None:
            self._sent[number] += process == os.getpid()
            kill(process, number)

        signal.raise_signal, os.kill = note_and_raise, note_and_kill

    def from_outside(self) -> list[str]:
        """Return the names of those since the last call that should end the process."""
        try:
            received = Counter(os.read(self._received, 1 << 16))
        except BlockingIOError:
            received = Counter()
        others = received - self._sent
        self._sent.clear()
        return [number.name for number in ENDING if others[number]]

    def close(self) -> None:
        """Watch no longer."""
        before, signal.raise_signal, os.kill = self._before
        os.close(self._received)
        os.close(signal.set_wakeup_fd(before))


SIGNALS = pytest.StashKey[Signals]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Watch the signals, except on Windows, where they do not reach a pipe."""
    if os.name != "nt":
        session.stash[SIGNALS] = Signals()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End pytest after a test that took a signal for pytest."""
    done = yield
    signals = item.session.stash.get(SIGNALS, None)
    if signals and (names := signals.from_outside()):
        item.session.shouldstop = f"{', '.join(names)} during {item.nodeid}"
    return done
