"""What a model says about itself beside its code: `about`, an attribute of its class. Needs no torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple, NewType

from datamodules.errors import InputError

# The type of an argument that names a class or a function, which the model imports: no stranger's file may set it.
ImportPath = NewType("ImportPath", str)
AT_START = {"pretrained"}  # arguments of a model that act when a training starts: no checkpoint repeats them
FROM_DATA = ("num_classes", "channels", "image_size")  # arguments of a model that follow from the data


class About(NamedTuple):
    """Facts about a model that its code does not tell. All of them are optional."""

    family: str = ""  # the kind of network, such as "dense" or "convolutional"
    milestones: tuple[int, ...] = ()  # of the journey, 1 to 5, that use the model
    paper: str = ""  # a link to the paper that introduced the model
    config: str = ""  # the shipped config that trains it best, such as "improved_cnn"
    tags: tuple[str, ...] = ()  # words to find the model by


def read(model: type) -> About:
    """Return the `about` of a class, and not that of its base, which describes another model."""
    value = vars(model).get("about", About())
    if not isinstance(value, About):
        raise InputError(f"{model.__name__}.about is a {type(value).__name__}, expected a zoo.core.about.About")
    return value


def from_json(fields: Mapping[str, Any]) -> About:
    """Return the `About` whose fields JSON holds; raise LookupError, TypeError or ValueError for anything else."""
    return About(
        str(fields["family"]),
        tuple(int(number) for number in fields["milestones"]),
        str(fields["paper"]),
        str(fields["config"]),
        tuple(str(tag) for tag in fields["tags"]),
    )
