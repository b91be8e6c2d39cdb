"""The zoo's registry: names of models -> where their classes are.

A built-in model is one line of `BUILT_IN`. A package of yours adds one by an entry point:

    [project.entry-points."cifar10_zoo.models"]
    MyNet = "my_package.my_module:MyNet"

Nothing is imported before it is asked for.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

from datamodules.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from zoo.classifier import Classifier

ENTRY_POINT_GROUP = "cifar10_zoo.models"
DISTRIBUTION = "cifar10-zoo"

# In order of increasing complexity.
BUILT_IN = {
    "NumPyMLP": "zoo.numpy_mlp:NumPyMLP",
    "MLP": "zoo.mlp:MLP",
    "CNN": "zoo.cnn:CNN",
    "ImprovedCNN": "zoo.cnn:ImprovedCNN",
}


class Entry(NamedTuple):
    """A model that can be loaded.

    Attributes:
        name: what `--model` takes.
        target: "module:Class".
        distribution: the installed package that it comes from.
    """

    name: str
    target: str
    distribution: str

    @property
    def class_path(self) -> str:
        """The class's dotted path, as configs and checkpoints hold it."""
        return self.target.replace(":", ".")


@cache
def entries() -> dict[str, Entry]:
    """Return every model known by name, built-in ones first. Imports none of them.

    Raises:
        InputError: where two packages claim one name.
    """
    known = {name: Entry(name, target, DISTRIBUTION) for name, target in BUILT_IN.items()}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        distribution = point.dist.name if point.dist else "an unnamed package"
        if point.name in known:
            raise InputError(
                f"the package '{distribution}' claims the model name '{point.name}', which '"
                f"{known[point.name].distribution}' has: rename the entry point, or uninstall one of them"
            )
        known[point.name] = Entry(point.name, point.value, distribution)
    return known


def find(name: str) -> Entry:
    """Return the entry of the model called `name`.

    Raises:
        InputError: where there is none; names the nearest one and lists all.
    """
    try:
        return entries()[name]
    except KeyError:
        raise InputError(
            f"unknown model '{name}'.{did_you_mean(name, entries())} The zoo has: {', '.join(entries())}"
        ) from None


def load(name: str) -> "type[Classifier]":
    """Import and return the class of the model called `name`.

    Raises:
        InputError: where there is none, or it cannot be imported; names the cause.
    """
    entry = find(name)
    module, _, class_name = entry.target.partition(":")
    try:
        return getattr(import_module(module), class_name)
    except Exception as error:  # another package's code can raise anything
        cause = f"{type(error).__name__}: {error}"
        raise InputError(
            f"model '{name}' of '{entry.distribution}' ({entry.target}) cannot be loaded: {cause}"
        ) from error
