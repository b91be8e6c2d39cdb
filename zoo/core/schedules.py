"""Learning-rate schedules: functions of the fraction of training done, which serve any number of steps."""

import math
from abc import ABC, abstractmethod

from datamodules.errors import InputError


class Schedule(ABC):
    @abstractmethod
    def __call__(self, fraction: float) -> float:
        """Return the factor of the learning rate when a fraction of training, 0..1, is done."""


class Constant(Schedule):
    """Keeps the learning rate: factor 1."""

    def __call__(self, fraction: float) -> float:
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
        self.warmup, self.final, self.start = _share("warmup", warmup), _share("final", final), _share("start", start)

    def __call__(self, fraction: float) -> float:
        if fraction < self.warmup:
            return self.start + (1 - self.start) * fraction / self.warmup
        return 1 - (1 - self.final) * _after(self.warmup, fraction)


class Cosine(Schedule):
    """Rises linearly from 0 over `warmup`, then falls along half a cosine to `final`.

    Loshchilov and Hutter 2017, without restarts (https://arxiv.org/abs/1608.03983).

    Args:
        warmup: fraction of training, 0..1.
        final: factor at the end, 0..1.
    """

    def __init__(self, warmup: float = 0.05, final: float = 0.0) -> None:
        self.warmup, self.final = _share("warmup", warmup), _share("final", final)

    def __call__(self, fraction: float) -> float:
        if fraction < self.warmup:
            return fraction / self.warmup
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * _after(self.warmup, fraction))) / 2


class Step(Schedule):
    """Multiplies the learning rate by `factor` at each milestone, as He et al. 2015 do (https://arxiv.org/abs/1512.03385).

    Args:
        milestones: fractions of training, each 0..1.
        factor: at least 0.
    """

    def __init__(self, milestones: list[float] | None = None, factor: float = 0.1) -> None:
        self.milestones = [_share("milestones", m) for m in (milestones if milestones is not None else [0.5, 0.75])]
        if not 0 <= factor < math.inf:
            raise InputError(f"--lr_schedule.factor={factor} is out of range: give a number of at least 0")
        self.factor = factor

    def __call__(self, fraction: float) -> float:
        return self.factor ** sum(fraction >= milestone for milestone in self.milestones)


def _after(warmup: float, fraction: float) -> float:
    """Return the fraction, 0..1, of the training after the warm-up that is done."""
    return (fraction - warmup) / (1 - warmup) if warmup < 1 else 1.0


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"--lr_schedule.{name}={value} is out of range: give a number from 0 to 1")
    return value
