"""Optimizers: how a gradient becomes a step.

The gradient g points in the direction in which the loss grows fastest, so every optimizer goes against it. They differ
in what they remember of earlier gradients. The formulas are for one parameter p; the code applies them to whole arrays.

    p  a parameter      g  its gradient      t  the number of the step, from 1      <-  is replaced by

An optimizer knows arrays, not networks: `parameters`, which it changes in place, and the gradients of each step.

Chapters and classes name further letters where they need them: v, m and s for what is remembered.

After this chapter you can write SGD, momentum and Adam. Next: what keeps weights small?
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

State = dict[str, np.ndarray]


class Optimizer(ABC):
    """A rule that changes parameters by means of gradients. A new rule is a subclass with `update`.

    Args:
        parameters: the arrays to change, as `Network.parameters` has them.
        weight_decay: how strongly each p is pulled towards 0. Every formula uses g + weight_decay * p in place of g,
            as if weight_decay / 2 * p^2 were added to the loss.
        remembered: names of the arrays that the rule keeps for each parameter; they start at 0.

    Attributes:
        state: for each parameter, what is remembered: arrays of its shape, by name.
        step_count: t, the number of steps so far.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(self, parameters: Sequence[np.ndarray], weight_decay: float = 0.0, remembered: Sequence[str] = ()):
        if weight_decay < 0:
            raise ValueError(f"weight_decay={weight_decay} is negative: give a number of at least 0")
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.state: list[State] = [{name: np.zeros_like(p) for name in remembered} for p in self.parameters]
        self.step_count = 0

    def step(self, gradients: Sequence[np.ndarray], learning_rate: float) -> None:
        """Make one step.

        Args:
            gradients: an array for each of `parameters`, of the same shape.
            learning_rate: how far to go.
        """
        self.step_count += 1
        for p, g, state in zip(self.parameters, gradients, self.state, strict=True):
            self.update(p, self.decayed(p, g), state, learning_rate)

    def decayed(self, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return g + weight_decay * p."""
        return g + self.weight_decay * p if self.weight_decay else g

    @abstractmethod
    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        """Change p, and what is remembered of it, in place.

        Args:
            p: the parameters.
            g: their gradient, of the same shape, to be left as it is.
            state: the remembered arrays, of the same shape.
            learning_rate: how far to go.
        """


class SGD(Optimizer):
    """Stochastic gradient descent: straight downhill.

        p <- p - learning_rate * g

    It is called stochastic because g comes from a random batch of images, not from all of them. Robbins and Monro 1951,
    "A Stochastic Approximation Method".

    Args:
        parameters: see `Optimizer`.
        weight_decay: see `Optimizer`.
    """

    def __init__(self, parameters: Sequence[np.ndarray], weight_decay: float = 0.0) -> None:
        super().__init__(parameters, weight_decay)

    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        p -= learning_rate * g


class Momentum(Optimizer):
    """SGD with momentum: a ball that rolls downhill. Its velocity v is a sum of fading gradients.

        v <- beta * v + g
        p <- p - learning_rate * v

    If the gradients of many steps agree, v = g + beta g + beta^2 g + ... grows to g / (1 - beta), ten times g for beta
    = 0.9. If they change sign at every step, v stays at about g / (1 + beta), half of g. Polyak 1964, "Some methods of
    speeding up the convergence of iteration methods"; beta = 0.9 is the usual choice. The learning rate stands outside
    of v, as in PyTorch.

    Nesterov's variant evaluates the gradient at the point that the velocity is about to reach. Part of the next step is
    known before its gradient: the ball at q will move by -learning_rate * beta * v. So the gradient g is taken at
    p = q - learning_rate * beta * v. The step to the next ball is q <- q - learning_rate * v, with the new v = beta * v
    + g. The code keeps p, not q. The next p lies another learning_rate * beta * v ahead, which in sum gives

        v <- beta * v + g
        p <- p - learning_rate * (g + beta * v)

    Nesterov 1983, "A method for solving the convex programming problem with convergence rate O(1/k^2)"; Sutskever et
    al. 2013, "On the importance of initialization and momentum in deep learning"; the form in p is that of Bengio et
    al. 2012, "Advances in Optimizing Recurrent Networks" (https://arxiv.org/abs/1212.0901), and of PyTorch.

    Some define v as an average, v <- beta * v + (1 - beta) * g, the notebooks among them. Their v is (1 - beta) times
    ours, so they need a learning rate 1 / (1 - beta) times as large for the same steps: their 0.05 is 0.005 here.

    Args:
        parameters: see `Optimizer`.
        beta: share of v that remains after a step, at least 0 and less than 1.
        nesterov: whether to use Nesterov's variant.
        weight_decay: see `Optimizer`.
    """

    def __init__(
        self, parameters: Sequence[np.ndarray], beta: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, weight_decay, remembered=["velocity"])
        self.beta = _share("beta", beta)
        self.nesterov = nesterov

    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        v = state["velocity"]
        v[:] = self.beta * v + g
        p -= learning_rate * (g + self.beta * v if self.nesterov else v)


class Adam(Optimizer):
    """Adam: momentum, with a step size of its own for each parameter.

        m <- beta1 * m + (1 - beta1) * g           average of the gradients
        s <- beta2 * s + (1 - beta2) * g^2         average of their squares (the paper calls it v)
        p <- p - learning_rate * (m / (1 - beta1^t)) / (sqrt(s / (1 - beta2^t)) + epsilon)

    sqrt(s) is the usual size of g. So a step is the average of g divided by its usual size. It is close to the learning
    rate if the gradients agree, whether they are large or small, and close to 0 if they cancel.

    Both averages start at 0 and are too small at first: after t equal gradients, m = (1 - beta1^t) g. Dividing by
    1 - beta1^t, and s by 1 - beta2^t, makes up for it. epsilon avoids a division of 0 by 0.

    Kingma and Ba 2015 (https://arxiv.org/abs/1412.6980), algorithm 1, which also has these defaults.

    Args:
        parameters: see `Optimizer`.
        beta1: share of m that remains after a step, at least 0 and less than 1.
        beta2: share of s that remains, likewise.
        epsilon: above 0.
        weight_decay: see `Optimizer`; AdamW decays differently (Loshchilov and Hutter 2019,
            https://arxiv.org/abs/1711.05101).
    """

    def __init__(
        self,
        parameters: Sequence[np.ndarray],
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, weight_decay, remembered=["mean", "mean_square"])
        self.beta1 = _share("beta1", beta1)
        self.beta2 = _share("beta2", beta2)
        if epsilon <= 0:
            raise ValueError(f"epsilon={epsilon} is out of range: give a number above 0")
        self.epsilon = epsilon

    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        m, s, t = state["mean"], state["mean_square"], self.step_count
        m[:] = self.beta1 * m + (1 - self.beta1) * g
        s[:] = self.beta2 * s + (1 - self.beta2) * g**2
        mean, size = m / (1 - self.beta1**t), np.sqrt(s / (1 - self.beta2**t))
        p -= learning_rate * mean / (size + self.epsilon)


def _share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value} is out of range: give a number of at least 0 and less than 1")
    return value
