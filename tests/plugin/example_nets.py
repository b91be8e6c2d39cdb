"""Two models of a package outside the zoo."""

from torch import nn

from zoo import TorchClassifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.scratch.initializers import he
from zoo.scratch.layers import Dense, Flatten
from zoo.scratch.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from zoo.scratch.network import Network


class PatchNet(TorchClassifier):
    """Looks at each patch of 8 x 8 pixels by itself, and adds up what it found.

    Args:
        width: number of patterns that it looks for.
        num_classes: see `zoo.core.classifier.Classifier`.
    """

    def __init__(self, width: int = 32, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 8, stride=8, bias=False),  # (n, width, 4, 4)
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),  # (n, width, 1, 1)
            nn.Flatten(),
            nn.Linear(width, self.num_outputs),
        )


class NumPySoftmax(NumPyClassifier):
    """Softmax regression on the pixels; for two classes a single neuron.

    Args:
        num_classes: see `zoo.core.classifier.Classifier`.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        layers = [Flatten(), Dense(3072, self.num_outputs, he, self.rng())]
        objective = BinaryCrossEntropy() if self.num_outputs == 1 else CategoricalCrossEntropy()
        self.set_network(Network(layers), objective)
