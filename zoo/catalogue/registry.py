"""The zoo's registry: names of models -> where their classes are.

A built-in model is one line of `BUILT_IN`. A package of yours adds one by an entry point, called as its class is:

    [project.entry-points."cifar10_zoo.models"]
    MyNet = "my_package.my_module:MyNet"

Nothing is imported before it is asked for. What an installed package gets wrong costs a line on stderr and its own
models, never those of others: what its metadata tell is said when the registry is read, what only an import can tell
when the model is chosen.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions, entry_points, version
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from datamodules.errors import InputError, did_you_mean, one_line
from zoo.core.signals import Stopped, stop_at_once

if TYPE_CHECKING:
    from zoo.core.classifier import Classifier

ENTRY_POINT_GROUP = "cifar10_zoo.models"
DISTRIBUTION = "cifar10-zoo"

# In order of increasing complexity.
BUILT_IN = {
    "NumPyMLP": "zoo.models.numpy_mlp:NumPyMLP",
    "MLP": "zoo.models.mlp:MLP",
    "CNN": "zoo.models.cnn:CNN",
    "ImprovedCNN": "zoo.models.cnn:ImprovedCNN",
    "SpeedrunNet": "zoo.models.speedrun_net:SpeedrunNet",
}


class Entry(NamedTuple):
    """A model that can be loaded.

    Attributes:
        name: what `--model` takes: the name of the class; of one that is not in the zoo, its dotted path.
        target: "module:Class".
        distribution: the installed package that it comes from; "" for a class that is not in the zoo.
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
    """Return every model known by name, built-in ones first, then those of packages in alphabetical order.

    Imports none of them. Says on stderr, once a process, which models of packages are left out, and why.
    """
    known = {name: Entry(name, target, DISTRIBUTION) for name, target in BUILT_IN.items()}
    points, problems = _entry_points()
    for entry, problem in _plugins(points):
        if problem is None:
            known[entry.name] = entry
        else:
            problems.append(problem)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes on a machine, one says it
        for problem in problems:
            print(f"warning: {one_line(problem)}", file=sys.stderr)
    return known


def _left_out(name: str) -> str | None:
    """Return why a package's model is left out; None where it is not."""
    if name in BUILT_IN:
        return None
    problems = [problem for entry, problem in _plugins(_entry_points()[0]) if entry.name == name]
    return None if None in problems else next(iter(problems), None)


def find(name: str) -> Entry:
    """Return the entry of a model. Imports nothing.

    Args:
        name: of a model of the zoo, or the dotted path of any class.

    Raises:
        InputError: where the zoo has none of that name: says why it is left out, or names the nearest one and all.
    """
    if "." in name:
        module, _, class_name = name.rpartition(".")
        of_the_zoo = (entry for entry in entries().values() if entry.class_path == name)
        return next(of_the_zoo, Entry(name, f"{module}:{class_name}", ""))
    if problem := _left_out(name):  # before `entries`, whose warning would say the same
        raise InputError(problem)
    if name in entries():
        return entries()[name]
    raise InputError(f"unknown model '{name}'.{did_you_mean(name, entries())} The zoo has: {', '.join(entries())}")


def of_class(model: type) -> Entry | None:
    """Return the entry of a model's class; None where it is not one of the zoo's. Imports nothing."""
    entry = entries().get(model.__name__)
    if entry is None:
        return None
    module, _, class_name = entry.target.partition(":")
    return entry if getattr(sys.modules.get(module), class_name, None) is model else None


def load(name: str) -> "type[Classifier]":
    """Import and return a model's class.

    Args:
        name: of a model of the zoo, or the dotted path of any class.

    Raises:
        InputError: where there is none, or it cannot be imported, or is no model; names the package and the cause.
    """
    entry = find(name)
    of_package = f" of the package '{entry.distribution}'" if entry.distribution not in (DISTRIBUTION, "") else ""
    what = f"model '{name}'{of_package}"
    module, _, class_name = entry.target.partition(":")
    try:
        with _ctrl_c() as was_pressed:
            found = getattr(import_module(module), class_name)
    except BaseException as error:  # another package's code can raise anything
        if isinstance(error, Stopped) or (isinstance(error, KeyboardInterrupt) and was_pressed()):
            raise
        cause = f"{type(error).__name__}: {error}".removesuffix(": ")
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        is_not_here = missing is not None and f"{module}.".startswith(f"{missing}.")
        hint = ": install the package that it comes with, or go to the folder that its module lies in" * is_not_here
        raise InputError(f"{what} cannot be loaded: {cause}{hint}") from error
    if problem := fault(found, class_name):
        raise InputError(f"{what} {problem}")
    return found


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether the user pressed Ctrl-C: another package's code can raise KeyboardInterrupt, too."""
    if signal.getsignal(signal.SIGINT) is stop_at_once:  # the command's handler, which raises Stopped
        yield lambda: False
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield lambda: True  # somebody else handles the signal
        return
    pressed = Event()

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def fault(found: Any, name: str) -> str | None:
    """Return what keeps an imported object from being a model that is called `name`."""
    from inspect import isabstract

    from zoo.core.classifier import Classifier  # here: it imports torch, which takes seconds

    if not (isinstance(found, type) and issubclass(found, Classifier)):
        if any(base.__module__.partition(".")[0] == "pytorch_lightning" for base in getattr(found, "__mro__", ())):
            # The package lightning installs both, and a class of the one is none of the other.
            return "is a LightningModule of the other namespace: import lightning, not pytorch_lightning"
        bases = "zoo.core.torch_classifier.TorchClassifier or zoo.core.numpy_classifier.NumPyClassifier"
        return f"is no subclass of zoo.core.classifier.Classifier: derive it from {bases}"
    if isabstract(found):
        return f"is abstract: it does not define {', '.join(sorted(found.__abstractmethods__))}"
    if found.__name__ != name:
        return f"is a class called '{found.__name__}': runs and checkpoints know a model by that name, so give it one"
    return None


# What installed packages add.


def _plugins(points: Iterable[EntryPoint]) -> Iterator[tuple[Entry, str | None]]:
    """Yield the models that entry points name, each with what is wrong with it as far as its package's metadata tell.

    In alphabetical order of the packages: which one gets a name that two of them claim does not depend on the order of
    their installation.
    """
    owners = dict.fromkeys(BUILT_IN, DISTRIBUTION)
    found = [(*_metadata_of(point), point) for point in points]
    for package, requirements, point in sorted(found, key=lambda f: (canonical(f[0]), f[2].name, f[2].value)):
        entry = Entry(point.name, point.value, package)
        problem = _problem(entry, owners) or _unfulfilled(requirements)
        if problem is None:
            owners[entry.name] = package
        yield entry, problem and f"model '{entry.name}' of the package '{package}' is left out: {problem}"


def _entry_points() -> tuple[list[EntryPoint], list[str]]:
    """Return the entry points of all installed packages, and a line on each package that cannot be read."""
    try:
        return list(entry_points(group=ENTRY_POINT_GROUP)), []
    except Exception:  # one package's file is damaged, and any of them may be
        pass
    found: list[EntryPoint] = []
    problems, seen = [], set()
    for distribution in distributions():
        name, unreadable = _name_of(distribution)
        if canonical(name) in seen:  # Python imports what comes first on its path
            continue
        seen.add(canonical(name))
        if unreadable:
            problems.append(f"the metadata of {name} cannot be read ({unreadable})")
        try:
            found += distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception as error:
            problems.append(f"the entry points of {canonical(name)} cannot be read ({type(error).__name__}: {error})")
    return found, problems


def _name_of(distribution: Distribution) -> tuple[str, str]:
    """Return a package's name, and why its metadata cannot be read, "" if they can.

    What an interrupted installation left behind can lack anything: the name is then that of the metadata's folder.
    """
    unreadable = ""
    try:
        if distribution.name:
            return distribution.name, ""
    except Exception as error:
        unreadable = f"{type(error).__name__}: {error}"
    folder = getattr(distribution, "_path", None)  # which importlib.metadata shows in no other way
    return (folder.name.partition("-")[0] if folder else "unnamed"), unreadable


def _metadata_of(point: EntryPoint) -> tuple[str, Sequence[str]]:
    """Return the name of the package that has an entry point, and what it requires."""
    if point.dist is None:
        return "unnamed", []
    try:
        requirements = point.dist.requires or []
    except Exception:
        requirements = []
    return _name_of(point.dist)[0], requirements


def _problem(entry: Entry, owners: Mapping[str, str]) -> str | None:
    """Return what is wrong with an entry, given the packages that have the names that are taken."""
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", entry.target):
        return f"its entry point is '{entry.target}', expected module:Class"
    if entry.name != entry.target.partition(":")[2]:
        return (
            f"its class is '{entry.target}', and the entry point has to be called so too, as runs and checkpoints are"
        )
    if entry.name in owners:
        return f"'{owners[entry.name]}' has that name; this one answers to --model {entry.class_path}"
    return None


def _unfulfilled(requirements: Sequence[str]) -> str | None:
    """Return which version of this project a package's requirements ask for, where another one is installed."""
    on_us = [text for text in requirements if canonical(re.split(r"[^\w.-]", text)[0]) == DISTRIBUTION]
    if not on_us:
        return None
    from packaging.requirements import Requirement  # here: most often nobody asks for it

    try:
        installed = version(DISTRIBUTION)
        for requirement in map(Requirement, on_us):
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and not requirement.specifier.contains(installed, prereleases=True):
                return f"it needs {DISTRIBUTION}{requirement.specifier}, installed is {installed}"
    except PackageNotFoundError:  # a copy that is used without being installed
        return None
    except Exception as error:  # packaging has several of its own, for the text and for the markers
        return f"what it requires cannot be read: {error}"
    return None


def canonical(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()
