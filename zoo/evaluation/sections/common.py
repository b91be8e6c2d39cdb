"""What several sections say in the same way."""

from matplotlib.figure import Figure

from zoo.evaluation import significance
from zoo.evaluation.document import Fact, Picture
from zoo.evaluation.subject import Stage
from zoo.plots import svg

PIXELS_PER_INCH = 96  # of a figure on a page
KINDS: dict[Stage, str] = {"test": "test", "val": "validation"}  # of images


def accuracy(right: int, n: int) -> dict[str, Fact]:
    """Return the accuracy of n answers and its interval."""
    interval = significance.wilson(right, n)
    return {
        "accuracy": Fact("Accuracy", right / n, ".2%"),
        "accuracy_interval": Fact("95 % interval", interval, ".2%", "Wilson's"),
    }


def picture(key: str, figure: Figure, description: str, caption: str) -> Picture:
    """Return a figure as a picture of a report."""
    width = round(figure.get_figwidth() * PIXELS_PER_INCH)
    return Picture(key, "svg", svg.encode(figure), description, caption, width)
