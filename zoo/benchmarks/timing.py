"""Contestants that take turns, so that a machine that grows slower does so for all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Ratio(NamedTuple):
    """How much longer one contestant takes than another.

    Attributes:
        median: of the ratios of turns that lie side by side.
        low: a quarter of the ratios are below it.
        high: a quarter of the ratios are above it.
    """

    median: float
    low: float
    high: float


class Stopwatch:
    """What was measured of each contestant.

    Attributes:
        seconds: a list of one for each round.
        operations: floating-point operations, a number an image, where they are known.
        megabytes: of memory at most, a list of one for each run that was asked for them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.operations: dict[str, float] = {}
        self.megabytes: dict[str, list[float]] = {}
        self.notes: list[str] = []

    def time(self, name: str, run: Callable[[], object]) -> None:
        """Run a contestant, and add its seconds."""
        start = time.perf_counter()
        run()
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add the seconds of a contestant that was timed elsewhere."""
        self.seconds.setdefault(name, []).append(seconds)

    def add_megabytes(self, name: str, megabytes: float) -> None:
        """Add how much memory a contestant took at most."""
        self.megabytes.setdefault(name, []).append(megabytes)

    def round(self, contestants: Mapping[str, Callable[[], object]]) -> None:
        """Let each contestant run once."""
        for name, run in contestants.items():
            self.time(name, run)

    def median(self, name: str) -> float:
        """Return the median of a contestant's seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> Ratio:
        """Return how much longer `name` takes than `other`, round by round."""
        return ratio(self.seconds[name], self.seconds[other])


def ratio(seconds: Sequence[float], others: Sequence[float]) -> Ratio:
    """Return the median and the quartiles of the ratios of two lists of seconds, pair by pair.

    Raises:
        ValueError: where one is longer, or there is no pair.
    """
    ratios = [a / b for a, b in zip(seconds, others, strict=True)]
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)
