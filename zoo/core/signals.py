"""Signals that end a command: Ctrl-C and SIGTERM, and on SLURM the one that asks for a job to be queued again."""

import contextlib
import signal
import threading
from collections.abc import Collection, Iterator
from types import FrameType
from typing import Any, NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal has asked the command to end; `when` is the progress so far, such as "after step 8".

    It is no Exception, so that code that handles errors lets it through, and no KeyboardInterrupt, which Lightning
    turns into exit code 1.
    """

    def __init__(self, number: int, when: str = "") -> None:
        super().__init__(number, when)
        self.number, self.when = signal.Signals(number), when

    @property
    def exit_code(self) -> int:
        return 128 + self.number

    def __str__(self) -> str:
        return f"stopped by {self.number.name}{' ' * bool(self.when)}{self.when}"


def stop_at_once(number: int, frame: FrameType | None = None) -> NoReturn:
    raise Stopped(number)


def handle(numbers: Collection[int], handler: Any) -> dict[int, Any]:
    """Install a handler and return the previous ones; do nothing outside the main thread, where Python cannot."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in numbers}


@contextlib.contextmanager
def stopping_at_once(numbers: Collection[int] = ENDING) -> Iterator[None]:
    """Let signals raise `Stopped` within the context."""
    before = handle(numbers, stop_at_once)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
