"""Contestants that take turns, so that a machine that grows slower does so for all of them."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# A contestant takes a turn, and returns how many images it has dealt with, or how many's operations it has done.
Contestant = Callable[[], float]


class Ratio(NamedTuple):
    """How much longer one contestant takes than another.

    Attributes:
        median: of the ratios of turns of the same round.
        low: a quarter of the ratios are below it.
        high: a quarter of the ratios are above it.
    """

    median: float
    low: float
    high: float


class Stopwatch:
    """What was measured of each contestant.

    Args:
        images: that the seconds of turns are for, however many a turn deals with; None: seconds are for a turn.

    Attributes:
        images: likewise.
        seconds: a list of one for each round.
        fixed: whose seconds are the same for any number of images.
        operations: floating-point operations, a number an image, where they are known.
        megabytes: of memory at most, a list of one for each run that was asked for them.
        missing: why a contestant was not measured.
        notes: what else was found out, a line each.
    """

    def __init__(self, images: int | None = None) -> None:
        self.images = images
        self.seconds: dict[str, list[float]] = {}
        self.fixed: set[str] = set()
        self.operations: dict[str, float] = {}
        self.megabytes: dict[str, list[float]] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []
        self._direction = 1

    def turns(self, contestants: Mapping[str, Contestant], rounds: int) -> None:
        """Let contestants take turns, `rounds` times after a first time that does not count."""
        for _ in range(rounds + 1):
            self.round(contestants)
        self.drop_warm_up()

    def round(self, contestants: Mapping[str, Contestant]) -> None:
        """Let each contestant have a turn."""
        for name in self.order(contestants):
            self.time(name, contestants[name])

    def order(self, names: Iterable[str]) -> list[str]:
        """Return names in the order of the next round, which is that of the last one backwards.

        So neither of a pair is always the earlier one, whose machine was the faster or the slower.
        """
        order = list(names)[:: self._direction]
        self._direction *= -1
        return order

    def time(self, name: str, run: Callable[[], Any]) -> None:
        """Run a contestant, and add its seconds; it returns a number of images where they are for `images`."""
        start = time.perf_counter()
        done = run()
        seconds = time.perf_counter() - start
        self.add(name, seconds if self.images is None else seconds * self.images / done)

    def add(self, name: str, seconds: float) -> None:
        """Add the seconds of a contestant that was timed elsewhere."""
        self.seconds.setdefault(name, []).append(seconds)

    def add_megabytes(self, name: str, megabytes: float) -> None:
        """Add how much memory a contestant took at most."""
        self.megabytes.setdefault(name, []).append(megabytes)

    def drop_warm_up(self) -> None:
        """Forget the first time of each contestant."""
        for figures in (*self.seconds.values(), *self.megabytes.values()):
            del figures[0]

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
    if not ratios:
        raise ValueError("there is no pair of turns")
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)
