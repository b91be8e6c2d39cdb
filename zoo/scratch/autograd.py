"""Autograd: a program that finds every slope by itself.

So far, every layer came with a `backward` written by hand. But each of them is made of a few operations: addition,
multiplication, exp, log, max. The chain rule puts their slopes together in the same way every time. So a number can
remember how it was made: from which other numbers, and with which slope in the direction of each. This record is called
the tape, or the graph of the computation.

    >>> x, w, b = Value(2.0), Value(-3.0), Value(1.0)
    >>> z = x * w + b
    >>> z.backward()
    >>> x.slope, w.slope, b.slope
    (-3.0, 2.0, 1.0)

`backward` goes through the tape from the last number to the first. A number that was used several times gets a share
from each use, and the shares add up. This is `Network.backward`, one number at a time.

PyTorch does the same with whole arrays. In the lesson, a step reads

    value, gradient = loss.value_and_gradient(network.forward(x), y)
    network.backward(gradient)
    optimizer.step(network.gradients, learning_rate)

and in PyTorch, which records the tape while `network(x)` computes,

    value = functional.cross_entropy(network(x), y)
    optimizer.zero_grad()  # PyTorch adds to the gradients, so they are set to 0 first
    value.backward()
    optimizer.step()

Only `forward` is written there, and `backward` follows from it. So after this chapter you can read `zoo/models/cnn.py`:
its layers are those of this lesson, and nobody had to write a `backward` for them. Only the order of the axes differs:
PyTorch's images are (N, C, h, w), its kernels (H, C, 3, 3), and its dense weights (H, D).

Micrograd by Andrej Karpathy (https://github.com/karpathy/micrograd) is a well-known tape of about this size.
"""

import math
from collections.abc import Sequence
from typing import Union


class Value:
    """A number that remembers how it was made.

    Args:
        number: its value.
        sources: the values that it was made from, each with the slope of this number in its direction.

    Attributes:
        slope: after `backward` of a later value, the slope of that value in the direction of this one.
    """

    def __init__(self, number: float, sources: Sequence[tuple["Value", float]] = ()) -> None:
        self.number = number
        self.sources = sources
        self.slope = 0.0

    def __add__(self, other: Union["Value", float]) -> "Value":
        other = _value(other)
        return Value(self.number + other.number, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other: Union["Value", float]) -> "Value":
        other = _value(other)
        return Value(self.number * other.number, [(self, other.number), (other, self.number)])

    def exp(self) -> "Value":
        result = math.exp(self.number)
        return Value(result, [(self, result)])

    def log(self) -> "Value":
        return Value(math.log(self.number), [(self, 1 / self.number)])

    def relu(self) -> "Value":
        return Value(max(0.0, self.number), [(self, float(self.number > 0))])

    def __neg__(self) -> "Value":
        return self * -1.0

    def __sub__(self, other: Union["Value", float]) -> "Value":
        return self + -_value(other)

    def __rsub__(self, other: Union["Value", float]) -> "Value":
        return -self + other

    def __truediv__(self, other: Union["Value", float]) -> "Value":
        other = _value(other)
        return Value(self.number / other.number, [(self, 1 / other.number), (other, -self.number / other.number**2)])

    def __rtruediv__(self, other: Union["Value", float]) -> "Value":
        return _value(other) / self

    __radd__, __rmul__ = __add__, __mul__  # for 2 + value and 2 * value

    def backward(self) -> None:
        """Set `slope` of every value that this one was made from, anew."""
        order = _sources_first(self)
        for value in order:
            value.slope = 0.0
        self.slope = 1.0
        for value in reversed(order):
            for source, slope in value.sources:
                source.slope += value.slope * slope  # the chain rule, summed over all paths


def _value(number: Value | float) -> Value:
    return number if isinstance(number, Value) else Value(number)


def _sources_first(last: Value) -> list[Value]:
    """Return a value and all that it was made from, each after its own sources."""
    order: list[Value] = []
    seen: set[int] = set()
    waiting = [(last, False)]
    while waiting:
        value, sources_done = waiting.pop()
        if sources_done:
            order.append(value)
        elif id(value) not in seen:
            seen.add(id(value))
            waiting.append((value, True))
            waiting.extend((source, False) for source, _ in value.sources)
    return order
