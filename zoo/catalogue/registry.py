"""The registry: names of models, and where their classes are.

A built-in model is a public class with an `about` in a file of `zoo/models`. Another package adds a model by an entry
point with the name of the class:

    [project.entry-points."cifar10_zoo.models"]
    MyNet = "my_package.my_module:MyNet"

A model is imported when it is chosen. A mistake in an installed package costs one line on stderr and the models of that
package: a mistake in its metadata when the registry is read, any other when the model is imported.
"""

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line
from zoo.core.signals import Stopped, stop_at_once

if TYPE_CHECKING:
    from zoo.core.classifier import Classifier

ENTRY_POINT_GROUP = "cifar10_zoo.models"
DISTRIBUTION = "cifar10-zoo"

MODELS = Path(__file__).resolve().parents[1] / "models"
# A public class at the top of a file with an attribute `about`.
CLASS = re.compile(r"^class ([A-Za-z]\w*)\b.*\n(?:(?: {4}.*)?\n)*? {4}about\b", re.MULTILINE)


def built_in(folder: Path) -> dict[str, str]:
    """Return "module:Class" of each model in a folder, by the model's name. Imports nothing: torch takes seconds.

    Raises:
        ValueError: if two models have one name.
    """
    targets: dict[str, str] = {}
    for path in sorted(folder.glob("*.py")):
        for name in CLASS.findall(path.read_text(encoding="utf-8")):
            target = f"zoo.models.{path.stem}:{name}"
            if name in targets:
                raise ValueError(f"two models are called {name}: {targets[name]} and {target}")
            targets[name] = target
    return targets


BUILT_IN = built_in(MODELS)


class Entry(NamedTuple):
    """A model that can be loaded.

    Attributes:
        name: the value of `--model`: the name of the class, or the dotted path of a class outside the zoo.
        target: "module:Class".
        distribution: the installed package of the model; "" for a class outside the zoo.
    """

    name: str
    target: str
    distribution: str

    @property
    def class_path(self) -> str:
        """The dotted path of the class, which configs and checkpoints hold."""
        return self.target.replace(":", ".")


@cache
def entries() -> dict[str, Entry]:
    """Return every model by name: the built-in ones, then those of packages in alphabetical order.

    Imports no model. Prints once a process, on stderr, which models of packages are left out, and why.
    """
    known = {name: Entry(name, target, DISTRIBUTION) for name, target in BUILT_IN.items()}
    claims, problems = _claims()
    for entry, problem in _plugins(claims):
        if problem is None:
            known[entry.name] = entry
        else:
            problems.append(problem)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one of several processes prints
        for problem in problems:
            print(f"warning: {one_line(problem)}", file=sys.stderr)
    return known


def _left_out(name: str) -> str | None:
    """Return why a package's model is left out; None if it is not."""
    if name in BUILT_IN:
        return None
    problems = [problem for entry, problem in _plugins(_claims()[0]) if entry.name == name]
    return None if None in problems else next(iter(problems), None)


def find(name: str) -> Entry:
    """Return the entry of a model. Imports nothing.

    Args:
        name: of a model of the zoo, or the dotted path of any class.

    Raises:
        InputError: if the zoo has no such model: says why it is left out, or names the nearest model and all others.
    """
    if "." in name:
        module, _, class_name = name.rpartition(".")
        ours = (entry for entry in entries().values() if entry.class_path == name)
        return next(ours, Entry(name, f"{module}:{class_name}", ""))
    if problem := _left_out(name):  # before `entries`, whose warning would say the same
        raise InputError(problem)
    if name in entries():
        return entries()[name]
    raise InputError(f"unknown model '{name}'.{did_you_mean(name, entries())} The zoo has: {', '.join(entries())}")


def find_class(model: type) -> Entry | None:
    """Return the entry of a model's class; None if the class is outside the zoo. Imports nothing."""
    entry = entries().get(model.__name__)
    if entry is None:
        return None
    module, _, class_name = entry.target.partition(":")
    return entry if getattr(sys.modules.get(module), class_name, None) is model else None


def load(name: str) -> "type[Classifier]":
    """Import and return the class of a model.

    Args:
        name: of a model of the zoo, or the dotted path of any class.

    Raises:
        InputError: if there is no such class, it cannot be imported, or it is not a model; names the package and cause.
    """
    entry = find(name)
    origin = f" of the package '{entry.distribution}'" if entry.distribution not in (DISTRIBUTION, "") else ""
    what = f"model '{name}'{origin}"
    module, _, class_name = entry.target.partition(":")
    try:
        model = getattr(import_module(module), class_name)
    except BaseException as error:  # another package's code can raise anything
        # Under the command's own handler, Ctrl-C raises Stopped.
        is_ctrl_c = isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not stop_at_once
        if isinstance(error, Stopped) or is_ctrl_c:
            raise
        cause = f"{type(error).__name__}: {error}".removesuffix(": ")
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        is_absent = missing is not None and f"{module}.".startswith(f"{missing}.")
        hint = ": install its package, or go to the folder of its module" * is_absent
        raise InputError(f"{what} cannot be loaded: {cause}{hint}") from error
    if problem := fault(model, class_name):
        raise InputError(f"{what} {problem}")
    return model


def fault(model: Any, name: str) -> str | None:
    """Return what keeps an imported object from being a model with the name `name`; None if it is one."""
    from inspect import isabstract

    from zoo.core.classifier import Classifier  # here: it imports torch, which takes seconds

    if not (isinstance(model, type) and issubclass(model, Classifier)):
        if any(base.__module__.partition(".")[0] == "pytorch_lightning" for base in getattr(model, "__mro__", ())):
            # The package lightning installs both namespaces, and their classes are unrelated.
            return "is a LightningModule of the other namespace: import lightning, not pytorch_lightning"
        bases = "zoo.core.torch_classifier.TorchClassifier or zoo.core.numpy_classifier.NumPyClassifier"
        return f"is not a subclass of zoo.core.classifier.Classifier: derive it from {bases}"
    if isabstract(model):
        return f"is abstract: it does not define {', '.join(sorted(model.__abstractmethods__))}"
    if model.__name__ != name:
        return f"is a class called '{model.__name__}': give both one name, by which runs and checkpoints know the model"
    return None


# Models of installed packages.


class Claim(NamedTuple):
    """An entry point, with the name and the requirements of its package."""

    package: str
    requirements: Sequence[str]
    point: EntryPoint


def _plugins(claims: Iterable[Claim]) -> Iterator[tuple[Entry, str | None]]:
    """Yield the models of entry points, each with the mistake that its package's metadata show, or None.

    The order is alphabetical by package. So the owner of a name that two packages claim does not depend on the order of
    their installation.
    """
    owners = dict.fromkeys(BUILT_IN, DISTRIBUTION)
    for package, requirements, point in sorted(
        claims, key=lambda c: (canonical(c.package), c.point.name, c.point.value)
    ):
        entry = Entry(point.name, point.value, package)
        problem = _mistake(entry, owners) or _unmet(requirements)
        if problem is None:
            owners[entry.name] = package
        yield entry, problem and f"model '{entry.name}' of the package '{package}' is left out: {problem}"


def _claims() -> tuple[list[Claim], list[str]]:
    """Return the entry points of all installed packages, and one line for each package that cannot be read."""
    claims: list[Claim] = []
    problems, seen = [], set()
    for distribution in distributions():
        # An interrupted installation can leave the metadata out. Their folder is there, under the package's name.
        folder = getattr(distribution, "_path", None)
        name = folder.name.partition("-")[0] if folder else distribution.name
        if canonical(name) in seen:  # Python imports the first one on its path
            continue
        seen.add(canonical(name))
        try:
            points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception as error:
            problems.append(f"the entry points of {canonical(name)} cannot be read ({type(error).__name__}: {error})")
            continue
        requirements: Sequence[str] = []
        if points:
            try:
                name, requirements = distribution.name or name, distribution.requires or []
            except Exception as error:
                problems.append(f"the metadata of {name} cannot be read ({type(error).__name__}: {error})")
        claims += [Claim(name, requirements, point) for point in points]
    return claims, problems


def _mistake(entry: Entry, owners: Mapping[str, str]) -> str | None:
    """Return the mistake in an entry, given the owners of the names that are taken."""
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", entry.target):
        return f"its entry point is '{entry.target}', expected module:Class"
    if entry.name != entry.target.partition(":")[2]:
        return f"its class is '{entry.target}': the entry point needs the name of the class"
    if entry.name in owners:
        return f"'{owners[entry.name]}' has a model of that name; use --model {entry.class_path}"
    return None


def _unmet(requirements: Sequence[str]) -> str | None:
    """Return the version of this project that a package requires, if another version is installed."""
    on_us = [text for text in requirements if canonical(re.split(r"[^\w.-]", text)[0]) == DISTRIBUTION]
    if not on_us:
        return None
    from packaging.requirements import Requirement  # here: few packages need it

    try:
        installed = version(DISTRIBUTION)
        for requirement in map(Requirement, on_us):
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and not requirement.specifier.contains(installed, prereleases=True):
                return f"it needs {DISTRIBUTION}{requirement.specifier}, installed is {installed}"
    except PackageNotFoundError:  # this project runs from a folder, without an installation
        return None
    except Exception as error:  # packaging has several, for requirements and for markers
        return f"its requirements cannot be read: {error}"
    return None


def canonical(name: str) -> str:
    """Return a package's name as PEP 503 compares names; the library `packaging` takes 14 ms to import."""
    return re.sub(r"[-_.]+", "-", name).lower()
