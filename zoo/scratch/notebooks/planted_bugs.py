"""Six small computations with hand-written slopes for an exercise of notebook 2. Three of them are wrong.

Reading on spoils the exercise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zoo.scratch.activations import Activation
from zoo.scratch.layers import Dense, Layer
from zoo.scratch.losses import BinaryCrossEntropy, Loss, NotebookBinaryCrossEntropy
from zoo.scratch.neuron import sigmoid


@dataclass(frozen=True)
class Suspect:
    """A computation that ends in one number L.

    Attributes:
        arrays: what L depends on, by name: float64 arrays.
        loss: computes L from the present values of the arrays.
        gradients: returns the hand-written dL/d(array) for each of them, by the same names.
    """

    arrays: dict[str, np.ndarray]
    loss: Callable[[], float]
    gradients: Callable[[], dict[str, np.ndarray]]


def suspects() -> dict[str, Suspect]:
    """Return the six suspects by name."""
    rng = np.random.default_rng(0)
    return {
        "alder": _of_layer(Swish(), rng),
        "birch": _of_layer(DenseWithoutTranspose(4, 4, _normal, rng, np.float64), rng),
        "cedar": _of_loss(SquaredError(), 3, rng.standard_normal((5, 3)), rng),
        "elm": _of_layer(Dense(4, 4, _normal, rng, np.float64), rng),
        "fir": _of_loss(NotebookBinaryCrossEntropy(), 1, np.array([0, 1, 1, 0, 1]), rng),
        "hazel": _of_loss(BinaryCrossEntropy(), 1, np.array([1, 0, 1, 1, 0]), rng),
    }


class Swish(Activation):
    """a = z sigmoid(z). Right: the slope, s + z s (1 - s), is kept from `function`, as it cannot be had from a."""

    def function(self, z: np.ndarray) -> np.ndarray:
        s = sigmoid(z)
        self.slope_at_z = s + z * s * (1 - s)
        return z * s

    def slope(self, a: np.ndarray) -> np.ndarray:
        return self.slope_at_z


class DenseWithoutTranspose(Dense):
    """Wrong: dL/dx lacks the transpose of W, which has the right shape because W is square."""

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        super().backward(gradient)
        return gradient @ self.parameters["weight"]


class SquaredError(Loss):
    """Half the squared error of each image, and the mean over the images. Wrong: the gradient lacks the 1 / N."""

    def value_and_gradient(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        errors = logits - labels  # (N, K)
        return float(np.sum(errors**2)) / (2 * len(logits)), errors


def _of_layer(layer: Layer, rng: np.random.Generator) -> Suspect:
    """Return a suspect whose L is a sum of the outputs of a layer, each with a weight of its own."""
    x = rng.standard_normal((5, 4))
    weights = rng.standard_normal(layer.forward(x).shape)

    def loss() -> float:
        return float(np.sum(weights * layer.forward(x)))

    def gradients() -> dict[str, np.ndarray]:
        layer.forward(x)
        dx = layer.backward(weights)
        return {**layer.gradients, "x": dx}

    return Suspect({**layer.parameters, "x": x}, loss, gradients)


def _of_loss(loss: Loss, num_logits: int, labels: np.ndarray, rng: np.random.Generator) -> Suspect:
    """Return a suspect whose L is a loss of five images."""
    z = rng.standard_normal((5, num_logits))
    return Suspect(
        {"z": z},
        lambda: loss.value_and_gradient(z, labels)[0],
        lambda: {"z": loss.value_and_gradient(z, labels)[1]},
    )


def _normal(rng: np.random.Generator, num_inputs: int, num_outputs: int) -> np.ndarray:
    return rng.standard_normal((num_inputs, num_outputs))
