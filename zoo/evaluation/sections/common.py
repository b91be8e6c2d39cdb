"""Blocks that several sections have."""

from matplotlib.figure import Figure

from zoo.evaluation import significance
from zoo.evaluation.document import Fact, Plot
from zoo.evaluation.subject import Stage
from zoo.plots import svg

PIXELS_PER_INCH = 96  # of a plot on a page
KINDS: dict[Stage, str] = {"test": "test", "val": "validation"}  # of images


def accuracy(correct: int, n: int) -> dict[str, Fact]:
    """Return the accuracy of n predictions and its interval."""
    return {
        "accuracy": Fact("Accuracy", correct / n, ".2%"),
        "accuracy_interval": Fact("95 % interval", significance.wilson(correct, n), ".2%", "Wilson's"),
    }


def plot(key: str, figure: Figure, description: str, caption: str) -> Plot:
    width = round(figure.get_figwidth() * PIXELS_PER_INCH)
    return Plot(key, "svg", svg.encode(figure), description, caption, width)
