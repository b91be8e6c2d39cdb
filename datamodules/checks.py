"""Checks of a data module's arguments, which are the options `--data.NAME`."""

from numbers import Integral, Real
from typing import TypeVar

from datamodules.errors import InputError, did_you_mean

T = TypeVar("T")


def in_range(name: str, value: int, low: int, high: int | None = None) -> int:
    """Return `value`; raise InputError unless it is a whole number from `low` to `high`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"--data.{name}={value}: give a whole number")
    if value < low or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"--data.{name}={value} is out of range: give a number {bounds}")
    return value


def number_in_range(name: str, value: float, low: float, high: float) -> float:
    """Return `value`; raise InputError unless it is a number from `low` to `high`."""
    if not isinstance(value, Real) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"--data.{name}={value} is out of range: give a number from {low} to {high}")
    return value


def one_of(name: str, value: T, choices: tuple[T, ...]) -> T:
    """Return `value`; raise InputError unless it is one of `choices`."""
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        raise InputError(f"--data.{name}={value} is unknown.{hint} There are: {', '.join(map(str, choices))}")
    return value
