"""`check`: tells whether the answer to an exercise is right, or what is wrong."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

MODULES = ("neuron", "hidden_layer", "softmax", "optimizers", "convolution")  # one for each notebook

_CHECKS: dict[str, Callable[..., str | None]] = {}


class WrongError(Exception):
    """An answer is wrong; the message says what."""


class UnansweredError(Exception):
    """The dots of an exercise are still there."""


def exercise(function: Callable[..., str | None]) -> Callable[..., str | None]:
    """Make a function the check of the exercise of its name.

    The function takes the answer. It raises `WrongError`, or returns a remark for a right answer, or None.
    """
    if function.__name__ in _CHECKS:
        raise ValueError(f"there are two exercises {function.__name__}")
    _CHECKS[function.__name__] = function
    return function


def check(name: str, *answer: Any, **answers: Any) -> None:
    """Print whether the answer to an exercise is right, or what is wrong.

    With CHECKS=strict in the environment, a wrong answer raises `WrongError`.
    """
    for module in MODULES:
        import_module(f"{__name__}.{module}")
    if name not in _CHECKS:
        raise ValueError(f"there is no exercise '{name}'. There are: {', '.join(sorted(_CHECKS))}")
    try:
        for value in (*answer, *answers.values()):
            answered(value)
        remark = _CHECKS[name](*answer, **answers)
    except UnansweredError:
        print(f"{name}: replace the dots (...) by your answer, and run the cell again.")
        return
    except WrongError as error:
        if os.environ.get("CHECKS") == "strict":
            raise
        print(f"{name}: not yet. {error}")
        return
    except Exception as error:  # the learner's own function can raise anything
        if os.environ.get("CHECKS") == "strict":
            raise
        print(f"{name}: not yet. Your code raised {type(error).__name__}: {error}")
        return
    print(f"{name}: right.{f' {remark}' if remark else ''}")


def expect(condition: Any, problem: str) -> None:
    """Raise `WrongError` with a problem unless a condition holds."""
    if not condition:
        raise WrongError(problem)


def answered(value: Any) -> Any:
    """Return a value, or raise `UnansweredError` if it is still the three dots."""
    if value is ...:
        raise UnansweredError
    return value
