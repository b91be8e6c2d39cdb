"""The registries: names of models and of data sets, and where their classes are.

A built-in model is a public class with an `about` in a file of `zoo/models`. Another package adds a model, or a data
set, by an entry point with the name of the class:

    [project.entry-points."cifar10_zoo.models"]
    MyNet = "my_package.my_module:MyNet"

    [project.entry-points."cifar10_zoo.data"]
    MyData = "my_package.my_module:MyData"

A class is imported when it is chosen. A mistake in an installed package costs one line on stderr and its classes.

`models` and `data` are the registries. The functions of this module are those of the models.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from datamodules import DATA_MODULES
from datamodules.errors import InputError, did_you_mean, one_line
from zoo.core.signals import Stopped, stop_at_once

if TYPE_CHECKING:
    from zoo.core.classifier import Classifier

ENTRY_POINT_GROUP = "cifar10_zoo.models"
DATA_GROUP = "cifar10_zoo.data"
DISTRIBUTION = "cifar10-zoo"

MODELS = Path(__file__).resolve().parents[1] / "models"
# A public class at the top of a file with an attribute `about`.
CLASS = re.compile(r"^class ([A-Za-z]\w*)\b.*\n(?:(?: {4}.*)?\n)*? {4}about\b", re.MULTILINE)


def built_in(folder: Path) -> dict[str, str]:
    """Return "module:Class" of each model in a folder, by its unique name. Imports nothing: torch takes seconds."""
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
    """A class that can be loaded."""

    name: str  # the value of the option: the name of the class, or the dotted path of a class that is not registered
    target: str  # "module:Class"
    distribution: str  # the installed package of the class; "" for a class that is not registered

    @property
    def class_path(self) -> str:
        return self.target.replace(":", ".")


class Registry:
    """The classes of one kind.

    Args:
        kind: what the classes are called in messages.
        option: of the command line, which names one of them.
        group: of the entry points.
        built_in: "module:Class" of each class of this project, by name.
        fault: returns what keeps an imported object from being of the kind, given the object and its name.
        aliases: further names.
    """

    def __init__(
        self,
        kind: str,
        option: str,
        group: str,
        built_in: Mapping[str, str],
        fault: Callable[[Any, str], str | None],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.option, self.group, self.built_in, self.fault = kind, option, group, built_in, fault
        self.aliases = aliases or {}
        self.entries = cache(self._entries)

    def _entries(self) -> dict[str, Entry]:
        """Return every class by name: the built-in ones, then those of packages in alphabetical order.

        Imports none of them. Prints once a process, on stderr, which classes of packages are left out, and why.
        """
        known, problems = self._scan()
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one of several processes prints
            for _, problem in problems:
                print(f"warning: {one_line(problem)}", file=sys.stderr)
        return known

    def find(self, name: str) -> Entry:
        """Return the entry of a class, by its name or the dotted path of any class. Imports nothing.

        Raises:
            InputError: if there is no such class: says why it is left out, or names the nearest one and all others.
        """
        name = self.aliases.get(name, name)
        if "." in name:
            module, _, class_name = name.rpartition(".")
            ours = (entry for entry in self.entries().values() if entry.class_path == name)
            return next(ours, Entry(name, f"{module}:{class_name}", ""))
        if name not in self.built_in:  # before `entries`, whose warning would say the same
            known, problems = self._scan()
            for left_out, problem in problems:
                if left_out == name and name not in known:
                    raise InputError(problem)
        if name in self.entries():
            return self.entries()[name]
        hint = did_you_mean(name, self.entries())
        raise InputError(f"unknown {self.kind} '{name}'.{hint} The zoo has: {', '.join(self.entries())}")

    def find_class(self, cls: type) -> Entry | None:
        """Return the entry of a class; None if it is not registered. Imports nothing."""
        entry = self.entries().get(cls.__name__)
        module = sys.modules.get(entry.target.partition(":")[0]) if entry else None
        return entry if getattr(module, cls.__name__, None) is cls else None

    def load(self, name: str) -> Any:
        """Import and return a class, by its name or its dotted path; InputError names package and cause."""
        entry = self.find(name)
        origin = f" of the package '{entry.distribution}'" if entry.distribution not in (DISTRIBUTION, "") else ""
        what = f"{self.kind} '{name}'{origin}"
        module, _, class_name = entry.target.partition(":")
        try:
            cls = getattr(import_module(module), class_name)
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
        if problem := self.fault(cls, class_name):
            raise InputError(f"{what} {problem}")
        return cls

    def _scan(self) -> tuple[dict[str, Entry], list[tuple[str, str]]]:
        """Return all classes by name, and each reason to leave one out, after its name; "" for a whole package.

        The order is alphabetical by package. So the owner of a name that two packages claim does not depend on the
        order of their installation.
        """
        known = {name: Entry(name, target, DISTRIBUTION) for name, target in self.built_in.items()}
        claims: list[tuple[str, EntryPoint, Sequence[str]]] = []
        problems, seen = [], set()
        for distribution in distributions():
            # An interrupted installation can leave the metadata out. Their folder is there, under the package's name.
            folder = getattr(distribution, "_path", None)
            name = folder.name.partition("-")[0] if folder else distribution.name
            if canonical(name) in seen:  # Python imports the first one on its path
                continue
            seen.add(canonical(name))
            points: Iterable[EntryPoint] = ()
            requirements: Sequence[str] = ()
            part = f"entry points of {canonical(name)}"
            try:
                points = distribution.entry_points.select(group=self.group)
                part = f"metadata of {name}"
                if points:
                    name, requirements = distribution.name or name, distribution.requires or ()
            except Exception as error:
                problems.append(("", f"the {part} cannot be read ({type(error).__name__}: {error})"))
            claims += [(name, point, requirements) for point in points]

        for package, point, requirements in sorted(claims, key=lambda c: (canonical(c[0]), c[1].name, c[1].value)):
            entry = Entry(point.name, point.value, package)
            if problem := self._mistake(entry, known) or _unmet(requirements):
                problems.append(
                    (entry.name, f"{self.kind} '{entry.name}' of the package '{package}' is left out: {problem}")
                )
            else:
                known[entry.name] = entry
        return known, problems

    def _mistake(self, entry: Entry, known: Mapping[str, Entry]) -> str | None:
        if not re.fullmatch(r"\w+(\.\w+)*:\w+", entry.target):
            return f"its entry point is '{entry.target}', expected module:Class"
        if entry.name != entry.target.partition(":")[2]:
            return f"its class is '{entry.target}': the entry point needs the name of the class"
        if entry.name in known:
            owner = known[entry.name].distribution
            return f"'{owner}' has a {self.kind} of that name; use {self.option} {entry.class_path}"
        return None


def _unmet(requirements: Sequence[str]) -> str | None:
    """Return the version of this project that a package requires, if another one is installed."""
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


def data_fault(data: Any, name: str) -> str | None:
    """Return what keeps an imported object from being a data set with the name `name`; None if it is one."""
    from datamodules.image_data_module import ImageDataModule  # here: it imports torch, which takes seconds

    if not (isinstance(data, type) and issubclass(data, ImageDataModule)) or data is ImageDataModule:
        return "is not a subclass of datamodules.image_data_module.ImageDataModule: derive it from that class"
    if data.__name__ != name:
        return f"is a class called '{data.__name__}': give both one name, by which runs and checkpoints know the data"
    return None


models = Registry("model", "--model", ENTRY_POINT_GROUP, BUILT_IN, fault)
entries, find, find_class = models.entries, models.find, models.find_class


def load(name: str) -> "type[Classifier]":
    """Import and return the class of a model, by its name or its dotted path; InputError names package and cause."""
    return models.load(name)


data = Registry("data set", "--data", DATA_GROUP, DATA_MODULES, data_fault, aliases={"CIFAR10": "CIFAR10DataModule"})
