"""Contestants that go through `fit`, as a user's run does, and let the others take their turns in its midst."""

import contextlib
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import lightning as L

from zoo.benchmarks.timing import Stopwatch


class TakeTurns(L.Callback):
    """Times the epochs of a run, with all that belongs to them, and lets the others run between two of them.

    Attributes:
        stopwatch: takes the seconds of an epoch's steps, and of what comes after them: validation, checkpoints, files.
        names: of these two; where they are the same, they are added up.
        others: take their turns.
    """

    stopwatch: ClassVar[Stopwatch]
    names: ClassVar[tuple[str, str]]
    others: ClassVar[Callable[[], object]]

    def __init__(self) -> None:
        self._started: float | None = None
        self._stepped: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock, let the others run, and start it again."""
        self._stop()
        type(self).others()
        self._started, self._stepped = time.perf_counter(), None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time: the steps are done."""
        self._stepped = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def _stop(self) -> None:
        if self._started is None:
            return
        now = time.perf_counter()
        steps, rest = self.names
        if steps == rest or self._stepped is None:
            self.stopwatch.add(steps, now - self._started)
        else:
            self.stopwatch.add(steps, self._stepped - self._started)
            self.stopwatch.add(rest, now - self._stepped)


class _Terminal(io.StringIO):
    """Takes what a run prints, and looks like a terminal, so that the progress bar is drawn."""

    def isatty(self) -> bool:
        return True


def fit(stopwatch: Stopwatch, names: tuple[str, str], others: Callable[[], object], options: dict[str, Any]) -> None:
    """Train by the command line, in a folder of its own.

    Args:
        stopwatch: takes the seconds of each epoch.
        names: see `TakeTurns`.
        others: see `TakeTurns`.
        options: of `fit`, without the dashes.
    """
    from zoo.lightning_cli import main

    TakeTurns.stopwatch, TakeTurns.names, TakeTurns.others = stopwatch, names, staticmethod(others)
    options = options | {
        "trainer.enable_model_summary": False,
        "trainer.callbacks": json.dumps([{"class_path": f"{__name__}.{TakeTurns.__name__}"}]),
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(_Terminal()), warnings.catch_warnings():
        main(["fit", f"--runs_dir={folder}", *(f"--{name}={value}" for name, value in options.items())])
