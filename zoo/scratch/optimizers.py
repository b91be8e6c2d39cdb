"""Optimizers: how a step is made from a gradient.

The gradient g points uphill, in the direction in which the loss grows fastest. Every optimizer goes the other way; they
differ in what they remember of earlier gradients. Sorted from the plainest on.

An optimizer knows two flat arrays, never the network: `parameters` p, which it changes in place, and `gradients` g,
which it reads. Formulas are for one parameter; the code does the same to all P of them at once. As an array of all
parameters is large, a result is written where there is room for it already (`out=`, `*=`, `+=`) rather than into a new
array at each step.

After this file you can write SGD, momentum and Adam. Next: which images make the gradient of a step?

Letters: P parameters; t counts the steps from 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Optimizer(ABC):
    """A rule that changes parameters by means of gradients.

    Args:
        parameters: changed in place, shape (P,).
        gradients: read at each step, shape (P,).
        weight_decay: how strongly p is pulled towards 0: g + weight_decay * p takes the place of g in every formula,
            as if weight_decay / 2 * p^2 were added to the loss (`regularizers.L2`, but on the biases too).
        slots: names of the arrays to be remembered between steps.

    Attributes:
        state: what is remembered: an array of shape (P,) for each slot, 0 before the first step.
        step_count: t, the steps made so far.

    Raises:
        ValueError: if the two arrays differ in shape or dtype, or a setting is out of range.
    """

    def __init__(
        self, parameters: np.ndarray, gradients: np.ndarray, weight_decay: float, slots: Sequence[str] = ()
    ) -> None:
        if (parameters.shape, parameters.dtype) != (gradients.shape, gradients.dtype):
            raise ValueError(
                f"parameters are {parameters.dtype} of shape {parameters.shape}, "
                f"but gradients {gradients.dtype} of shape {gradients.shape}"
            )
        if weight_decay < 0:
            raise ValueError(f"weight_decay={weight_decay} is negative: give a number of at least 0")
        self.parameters = parameters
        self.gradients = gradients
        self.weight_decay = weight_decay
        self.state = {name: np.zeros_like(parameters) for name in slots}
        self.step_count = 0
        self._scratch = np.empty_like(parameters)
        self._decayed = np.empty_like(parameters)

    @abstractmethod
    def step(self, learning_rate: float) -> None:
        """Make one step.

        Args:
            learning_rate: how far to go, at least 0.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that a later step depends on, besides parameters and gradients."""
        return {"step_count": self.step_count} | {name: slot.copy() for name, slot in self.state.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: if it is from another optimizer, or for other parameters.
        """
        expected, found = ["step_count", *self.state], list(state)
        if sorted(expected) != sorted(found):
            raise ValueError(f"the state has {', '.join(found)}; {type(self).__name__} needs {', '.join(expected)}")
        for name, slot in self.state.items():
            if np.shape(state[name]) != slot.shape:
                raise ValueError(f"'{name}' has shape {np.shape(state[name])}, expected {slot.shape}")
        for name, slot in self.state.items():
            slot[:] = state[name]
        self.step_count = int(state["step_count"])

    def _gradient(self) -> np.ndarray:
        """Return g + weight_decay * p, leaving `gradients` as they are."""
        if not self.weight_decay:
            return self.gradients
        np.multiply(self.parameters, self.weight_decay, out=self._decayed)
        self._decayed += self.gradients
        return self._decayed


class SGD(Optimizer):
    """Stochastic gradient descent: straight downhill.

        p <- p - learning_rate * g

    Stochastic, because g comes from a random batch of images, not from all of them. Robbins and Monro 1951, "A
    Stochastic Approximation Method".

    Args:
        parameters: see `Optimizer`.
        gradients: see `Optimizer`.
        weight_decay: see `Optimizer`.
    """

    def __init__(self, parameters: np.ndarray, gradients: np.ndarray, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, gradients, weight_decay)

    def step(self, learning_rate: float) -> None:
        self.step_count += 1
        change = np.multiply(self._gradient(), learning_rate, out=self._scratch)
        self.parameters -= change


class Momentum(Optimizer):
    """SGD with momentum: a ball that rolls downhill, whose velocity v is a sum of fading gradients.

        v <- beta * v + g
        p <- p - learning_rate * v

    Where gradients agree over many steps, v = g + beta g + beta^2 g + ... grows up to g / (1 - beta): ten times g for
    beta = 0.9. Where they change sign from step to step, v stays at half of g: g / (1 + beta). Polyak 1964, "Some
    methods of speeding up the convergence of iteration methods"; beta = 0.9 is the usual choice. The learning rate
    stands outside of v, as in PyTorch.

    With `nesterov` the step looks ahead. The next step will move p by beta * v whatever its gradient is; that part is
    gone already now, so that the next gradient is taken where the ball will be (Sutskever et al. 2013, "On the
    importance of initialization and momentum in deep learning", as PyTorch writes it):

        p <- p - learning_rate * (g + beta * v)

    Some make v an average instead, v <- beta * v + (1 - beta) * g, the notebooks among them. Theirs is (1 - beta) times
    ours at each step, so that they need a learning rate 1 / (1 - beta) times as large to go the same way: their 0.05 is
    0.005 here, at beta = 0.9.

    Args:
        parameters: see `Optimizer`.
        gradients: see `Optimizer`.
        beta: how much of v remains after a step, 0 up to but not including 1.
        nesterov: whether to look ahead.
        weight_decay: see `Optimizer`.
    """

    def __init__(
        self,
        parameters: np.ndarray,
        gradients: np.ndarray,
        beta: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, gradients, weight_decay, slots=["velocity"])
        self.beta = _fraction("beta", beta)
        self.nesterov = nesterov

    def step(self, learning_rate: float) -> None:
        self.step_count += 1
        g, v, change = self._gradient(), self.state["velocity"], self._scratch
        v *= self.beta
        v += g
        if self.nesterov:
            np.multiply(v, self.beta, out=change)
            change += g
            change *= learning_rate
        else:
            np.multiply(v, learning_rate, out=change)
        self.parameters -= change


class Adam(Optimizer):
    """Adam: momentum, with a step size for each parameter of its own.

        m <- beta1 * m + (1 - beta1) * g           average of the gradients
        v <- beta2 * v + (1 - beta2) * g^2         average of their squares (no velocity, in spite of its letter)
        p <- p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    sqrt(v) is the usual size of g. A step is the average of g divided by its usual size: near learning_rate where the
    gradients agree, whether they are large or small, and near 0 where they contradict each other.

    Both averages start at 0 and are too small at first: after t equal gradients, m = (1 - beta1^t) g. Dividing by
    1 - beta1^t, and v by 1 - beta2^t, makes up for it. epsilon keeps the division from 0 / 0.

    Kingma and Ba 2015 (https://arxiv.org/abs/1412.6980), algorithm 1, which the defaults are from as well.

    Args:
        parameters: see `Optimizer`.
        gradients: see `Optimizer`.
        beta1: how much of m remains after a step, 0 up to but not including 1.
        beta2: how much of v remains after a step, likewise.
        epsilon: above 0.
        weight_decay: see `Optimizer`; the decay of AdamW is another (Loshchilov and Hutter 2019,
            https://arxiv.org/abs/1711.05101).
    """

    def __init__(
        self,
        parameters: np.ndarray,
        gradients: np.ndarray,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, gradients, weight_decay, slots=["mean", "mean_square"])
        self.beta1 = _fraction("beta1", beta1)
        self.beta2 = _fraction("beta2", beta2)
        if epsilon <= 0:
            raise ValueError(f"epsilon={epsilon} is out of range: give a number above 0")
        self.epsilon = epsilon

    def step(self, learning_rate: float) -> None:
        self.step_count += 1
        g, m, v, scratch = self._gradient(), self.state["mean"], self.state["mean_square"], self._scratch
        m *= self.beta1
        m += np.multiply(g, 1 - self.beta1, out=scratch)
        v *= self.beta2
        np.square(g, out=scratch)
        v += np.multiply(scratch, 1 - self.beta2, out=scratch)

        # sqrt(v / c) is sqrt(v) / sqrt(c), and the two factors of the numerator are one number.
        np.sqrt(v, out=scratch)
        scratch /= (1 - self.beta2**self.step_count) ** 0.5
        scratch += self.epsilon
        change = np.divide(m, scratch, out=scratch)
        change *= learning_rate / (1 - self.beta1**self.step_count)
        self.parameters -= change


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value} is out of range: give a number from 0 up to but not including 1")
    return value
