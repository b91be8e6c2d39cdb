"""Fully connected networks in NumPy, from a single neuron on: milestones 1 to 4."""

from typing import ClassVar, Literal

from datamodules.errors import InputError, did_you_mean
from zoo.core.about import About
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.scratch.activations import Activation
from zoo.scratch.initializers import glorot, he, small_normal
from zoo.scratch.layers import Dense, Flatten, Layer
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy, NotebookBinaryCrossEntropy
from zoo.scratch.network import Network

INITIALIZERS = {"small_normal": small_normal, "glorot": glorot, "he": he}


class NumPyMLP(NumPyClassifier):
    """A multilayer perceptron on the pixels of an image, 3072 values for CIFAR-10, computed by `zoo.scratch`.

    The last layer's sigmoid (two classes) or softmax is part of the loss. Biases start at 0.

    Args:
        hidden_sizes: units of each hidden layer, 64 in one layer by default; an empty list is a single neuron for two
            classes, and softmax regression for ten.
        activation: of the hidden layers: the name of a class of `zoo.scratch.activations`, such as "relu" for ReLU or
            "leaky_relu" for a LeakyReLU that you add there.
        initializer: of the weights, see `zoo.scratch.initializers`.
        loss: "cross_entropy", or "notebook_cross_entropy" with the notebooks' gradient for two classes (see
            `zoo.scratch.losses.NotebookBinaryCrossEntropy`).
        pixels: "standardized" per channel, or "unit": divided by 255, as in the notebooks.
    """

    about: ClassVar[About] = About(
        family="dense",
        milestones=(1, 2, 3, 4),
        paper="https://doi.org/10.1038/323533a0",
        config="milestone4/best",
        tags=("numpy", "notebooks"),
    )

    def __init__(
        self,
        hidden_sizes: list[int] | None = None,
        activation: str = "relu",
        initializer: Literal["small_normal", "glorot", "he"] = "he",
        loss: Literal["cross_entropy", "notebook_cross_entropy"] = "cross_entropy",
        pixels: Literal["standardized", "unit"] = "standardized",
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        hidden_sizes = [64] if hidden_sizes is None else hidden_sizes
        if any(size < 1 for size in hidden_sizes):
            raise InputError(f"--model.hidden_sizes={hidden_sizes}: a layer needs at least 1 unit")
        if loss == "notebook_cross_entropy" and self.num_outputs > 1:
            raise InputError(
                "--model.loss=notebook_cross_entropy is for two classes (--data.task binary): for more classes "
                "the notebooks' gradient is the one of cross_entropy"
            )
        if pixels == "unit":
            self.keep_normalization(mean=[0.0] * channels, std=[1.0] * channels)

        rng = self.rng()
        layers: list[Layer] = [Flatten()]
        inputs = self.num_inputs
        for size in hidden_sizes:
            layers += [Dense(inputs, size, INITIALIZERS[initializer], rng), new_activation(activation)]
            inputs = size
        layers.append(Dense(inputs, self.num_outputs, INITIALIZERS[initializer], rng))
        binary_loss = NotebookBinaryCrossEntropy if loss == "notebook_cross_entropy" else BinaryCrossEntropy
        objective = binary_loss() if self.num_outputs == 1 else CategoricalCrossEntropy()
        self.set_network(Network(layers), objective)


def new_activation(name: str) -> Activation:
    """Return a new activation of `zoo.scratch.activations` by the name of its class, in small letters.

    Raises:
        InputError: if there is no such class.
    """
    kinds = [kind for kind in Activation.__subclasses__() if kind.__module__ == Activation.__module__]
    known = {kind.__name__.lower(): kind for kind in kinds}
    kind = known.get(name.replace("_", "").lower())
    if kind is None:
        hint = did_you_mean(name, known)
        raise InputError(f"--model.activation={name} does not exist.{hint} There are: {', '.join(sorted(known))}")
    return kind()
