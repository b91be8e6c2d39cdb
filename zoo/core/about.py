"""What a model says about itself beside its code: `about`, an attribute of its class. Needs no torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from datamodules.errors import InputError


class Result(NamedTuple):
    """An accuracy that was measured.

    Attributes:
        accuracy: on the test set, 0..1; the mean over the seeds.
        data: what it was measured on, as "JPEG copy".
        n: how many seeds.
        spread: sample standard deviation over the seeds; None where there is only one.
        config: the shipped config that it was measured with, as "milestone4/best".
        options: what the command line added to it.
    """

    accuracy: float
    data: str
    n: int = 1
    spread: float | None = None
    config: str = ""
    options: str = ""

    def __str__(self) -> str:
        """The figure with what it needs to be understood, as "0.562 ± 0.005 (JPEG copy, n = 3)"."""
        figure = f"{self.accuracy:.4f}" if self.spread is None else f"{self.accuracy:.3f} ± {self.spread:.3f}"
        return f"{figure} ({self.data}, n = {self.n})"

    @property
    def command(self) -> str:
        """What it was measured with, on the command line."""
        return f"fit --config {self.config} {self.options}".rstrip()


class About(NamedTuple):
    """Facts about a model that its code does not tell; none of them has to be given.

    Attributes:
        family: what kind of network it is, as "dense" or "convolutional".
        milestones: of the journey, 1 to 5, at which it is met.
        paper: a link to the one that it goes back to.
        config: the shipped config that trains it best, as "improved_cnn".
        tags: words to find it by.
        result: the best that is known of it.
    """

    family: str = ""
    milestones: tuple[int, ...] = ()
    paper: str = ""
    config: str = ""
    tags: tuple[str, ...] = ()
    result: Result | None = None


def of(model: type) -> About:
    """Return what a class says about itself; what its base says is about another model.

    Raises:
        InputError: where it is no `About`.
    """
    found = vars(model).get("about", About())
    if not isinstance(found, About):
        raise InputError(f"{model.__name__}.about is a {type(found).__name__}, expected a zoo.core.about.About")
    return found


def to_json(about: About) -> dict[str, Any]:
    """Return `about` as what JSON can hold."""
    return about._asdict() | {"result": about.result and about.result._asdict()}


def from_json(fields: Mapping[str, Any]) -> About:
    """Return what `to_json` was given.

    Raises:
        LookupError, TypeError, ValueError: for anything else.
    """
    result = fields["result"] and Result(**fields["result"])
    if result:
        str(result)  # its figures are numbers
    return About(
        str(fields["family"]),
        tuple(int(number) for number in fields["milestones"]),
        str(fields["paper"]),
        str(fields["config"]),
        tuple(str(tag) for tag in fields["tags"]),
        result,
    )
