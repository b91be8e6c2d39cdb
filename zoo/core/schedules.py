"""Learning-rate schedules: functions of the fraction of training done, which serve any number of steps."""

import math
from abc import ABC, abstractmethod

from datamodules.errors import InputError


class Schedule(ABC):
    """Rises linearly from `start` to 1 over `warmup`, a fraction of training; a subclass says what follows."""

    def __init__(self, warmup: float, start: float = 0.0) -> None:
        self.warmup, self.start = _share("warmup", warmup), _share("start", start)

    def __call__(self, fraction: float) -> float:
        """Return the factor of the learning rate when a fraction of training, 0..1, is done."""
        if fraction < self.warmup:
            return self.start + (1 - self.start) * fraction / self.warmup
        return self.after_warmup(fraction)

    @abstractmethod
    def after_warmup(self, fraction: float) -> float:
        """Return the factor when a fraction of training, `warmup`..1, is done."""

    def decayed(self, fraction: float) -> float:
        """Return the fraction, 0..1, of the training after the warm-up that is done."""
        return (fraction - self.warmup) / (1 - self.warmup) if self.warmup < 1 else 1.0


class Constant(Schedule):
    """Rises linearly from 0 over `warmup`, then keeps the learning rate: factor 1.

    Args:
        warmup: fraction of training, 0..1.
    """

    def __init__(self, warmup: float = 0.0) -> None:
        super().__init__(warmup)

    def after_warmup(self, fraction: float) -> float:
        return 1.0


class Linear(Schedule):
    """Rises linearly from `start` to 1 over `warmup`, then falls linearly to `final`.

    The triangle of Smith and Topin 2018 (https://arxiv.org/abs/1708.07120) and of Page's cifar10-fast
    (https://github.com/davidcpage/cifar10-fast).

    Args:
        warmup: fraction of training, 0..1.
        final: factor at the end, 0..1.
        start: factor at the start of the warm-up, 0..1.
    """

    def __init__(self, warmup: float = 0.2, final: float = 0.0, start: float = 0.0) -> None:
        super().__init__(warmup, start)
        self.final = _share("final", final)

    def after_warmup(self, fraction: float) -> float:
        return 1 - (1 - self.final) * self.decayed(fraction)


class Cosine(Schedule):
    """Rises linearly from 0 over `warmup`, then falls along half a cosine to `final`, once or several times.

    Loshchilov and Hutter 2017 (https://arxiv.org/abs/1608.03983): a restart sets the factor to 1 again. They start with
    cycles of 10 epochs, and double the length with each restart: `growth` 2 is their T_mult.

    Args:
        warmup: fraction of training, 0..1.
        final: factor at the end of each cycle, 0..1.
        restarts: number of restarts, 0..100; there is a cycle more.
        growth: length of a cycle, divided by that of the cycle before it; 1..10.
    """

    def __init__(self, warmup: float = 0.05, final: float = 0.0, restarts: int = 0, growth: float = 1.0) -> None:
        super().__init__(warmup)
        self.final = _share("final", final)
        for name, value, least, most in (("restarts", restarts, 0, 100), ("growth", growth, 1, 10)):
            if not least <= value <= most:
                problem = f"--lr_schedule.{name}={value} is out of range"
                raise InputError(f"{problem}: give a number from {least} to {most}")
        self.restarts, self.growth = restarts, growth
        self._lengths = [growth ** (k - restarts) for k in range(restarts + 1)]  # of the cycles: the last one has 1

    def after_warmup(self, fraction: float) -> float:
        done = self.decayed(fraction) * sum(self._lengths)
        cycle = 0
        while cycle < self.restarts and done >= self._lengths[cycle]:
            done -= self._lengths[cycle]
            cycle += 1
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, done / self._lengths[cycle]))) / 2


class Step(Schedule):
    """Multiplies the learning rate by `factor` at each milestone, as He et al. 2015 do (https://arxiv.org/abs/1512.03385).

    Args:
        milestones: fractions of training, each 0..1.
        factor: at least 0.
        warmup: fraction of training, 0..1, in which the learning rate rises linearly from 0.
    """

    def __init__(self, milestones: list[float] | None = None, factor: float = 0.1, warmup: float = 0.0) -> None:
        super().__init__(warmup)
        self.milestones = [_share("milestones", m) for m in (milestones if milestones is not None else [0.5, 0.75])]
        if not 0 <= factor < math.inf:
            raise InputError(f"--lr_schedule.factor={factor} is out of range: give a number of at least 0")
        self.factor = factor

    def after_warmup(self, fraction: float) -> float:
        return self.factor ** sum(fraction >= milestone for milestone in self.milestones)


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"--lr_schedule.{name}={value} is out of range: give a number from 0 to 1")
    return value
