"""Contestants that go through `fit`, as a user's run does, and let the others take their turns in its midst."""

import contextlib
import io
import json
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar, NoReturn

import lightning as L

from datamodules.errors import RunError
from zoo.core.devices import synchronize
from zoo.runs.command_line import CommandLine

# Takes the seconds of an epoch: of its steps, and of what comes after them, as validation, checkpoints, files.
Add = Callable[[float, float], object]


class TakeTurns(L.Callback):
    """Times the epochs of a run, with all that belongs to them, and lets the others run between two of them.

    The command line builds it from its name, so it finds what `fit` was given in its class, where it is as long as
    `fit` runs.

    Attributes:
        others: take their turns before each epoch.
        add: takes an epoch's seconds after it.
    """

    others: ClassVar[Callable[[], object]]
    add: ClassVar[Add]

    def __init__(self) -> None:
        self._started: float | None = None
        self._stepped: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock, let the others run, and start it again."""
        self._stop(trainer)
        with ended_by_signals():
            type(self).others()
        self._started, self._stepped = time.perf_counter(), None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time: the steps are done."""
        self._stepped = _now(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._stop(trainer)

    def _stop(self, trainer: L.Trainer) -> None:
        if self._started is not None:
            now = _now(trainer)
            stepped = now if self._stepped is None else self._stepped
            type(self).add(stepped - self._started, now - stepped)


def _now(trainer: L.Trainer) -> float:
    """Return the time once the device has done what it was told."""
    synchronize(trainer.strategy.root_device)
    return time.perf_counter()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a run at once: with `fit`'s own handlers they wait for the end of a training step."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise RunError("interrupted", exit_code=128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Terminal(io.StringIO):
    """Takes what a run prints, and looks like a terminal, so that the progress bar is drawn."""

    def isatty(self) -> bool:
        return True


def fit(options: dict[str, Any], others: Callable[[], object], add: Add) -> None:
    """Train by the command line, in a folder that is gone afterwards.

    Args:
        options: of `fit`, without the dashes.
        others: see `TakeTurns`.
        add: see `TakeTurns`.

    Raises:
        RunError: where a signal ends the run.
    """
    from zoo.training.main import run_command

    options = options | {
        "trainer.enable_model_summary": False,
        "trainer.callbacks": json.dumps([{"class_path": f"{__name__}.{TakeTurns.__name__}"}]),
    }
    TakeTurns.others, TakeTurns.add = staticmethod(others), staticmethod(add)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(_Terminal()),
            warnings.catch_warnings(),
        ):
            given = [f"--{name}={value}" for name, value in options.items()]
            run_command(CommandLine(["fit", f"--runs_dir={folder}", *given]))
    except RunError as error:
        if error.exit_code <= 128:
            raise
        # Not in its own words: there is no run to go on with.
        raise RunError("interrupted", error.exit_code) from error
    finally:
        del TakeTurns.others, TakeTurns.add
