"""What the config in a checkpoint or in the folder of a run may say, which may come from a stranger.

Such a config holds plain values: numbers, texts, and lists and dictionaries of them. Classes stand only at the top of
`model`, `optimizer` and `lr_schedule`, and as entries of `trainer.callbacks` and `trainer.logger`. Each of them must be
in `LISTS`, by its exact name. Nothing else is imported.

jsonargparse takes a text for the path of a class, a function or a file if the type of an argument is a class. So a text
stands only where the class asks for a text.
"""

import inspect
import os
import re
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import torch

from datamodules.errors import InputError, one_line
from zoo.catalogue import registry
from zoo.runs import configs
from zoo.runs.configs import Config
from zoo.runs.options import CLASS_KEYS

OURS = ()  # all public classes that a module of ours defines
# The classes that a stranger's config may name, by their modules.
LISTS: dict[str, Mapping[str, tuple[str, ...]]] = {
    "optimizer": {
        "torch.optim": (
            "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam", "RAdam",
            "RMSprop", "Rprop", "SGD", "SparseAdam",
        ),
        "zoo.core.torch_optimizers": OURS,
        "zoo.core.numpy_optimizers": OURS,
    },
    "lr_schedule": {"zoo.core.schedules": OURS},
    "callbacks": {
        **dict.fromkeys(configs.CALLBACKS.values(), OURS),
        "lightning.pytorch.callbacks": (
            "DeviceStatsMonitor", "EMAWeightAveraging", "EarlyStopping", "GradientAccumulationScheduler",
            "LearningRateFinder", "LearningRateMonitor", "ModelCheckpoint", "ModelPruning", "ModelSummary",
            "RichModelSummary", "RichProgressBar", "TQDMProgressBar", "Timer",
        ),
    },
    "logger": {"lightning.pytorch.loggers": ("CSVLogger", "TensorBoardLogger")},
}  # fmt: skip

REGISTRIES = {"model": registry.models, "data": registry.data}
# Options of the trainer that hold objects, upload files, or name a folder for output.
NEVER = ("default_root_dir", "model_registry", "plugins")
PLACE = re.compile(r"(^|_)(dir|path|folder|root)$|^dirpath$")
NAME = re.compile(r"[\w-]+")  # "auto", "ddp": a registered name, where a type has both a text and an object
IMPORTABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
PLAIN = (bool, int, float, complex, str, bytes, type(None), timedelta, torch.device, Any)
CONTAINERS = ("list", "tuple", "dict", "set", "frozenset", "Sequence", "Iterable", "Mapping", "MutableMapping")


class Source(NamedTuple):
    """The file of a config, the options by which a user repeats a part of it, and the folder of the run, if any."""

    name: str
    again: str
    run: Path | None = None

    def refuse(self, problem: str) -> InputError:
        """Return the error for a part of the config that only the command line may set."""
        return InputError(f"{self.name}: {problem}. If you trust it, name it again: {self.again}")


def check(config: Config, source: Source, named: Mapping[str, Any] | None = None) -> None:
    """Check that a stranger's config, as `zoo.runs.configs.expand` returns it, holds plain values and listed classes.

    Args:
        config: the config.
        source: where it comes from.
        named: the paths of classes that the command line names, and thereby trusts, by key, such as "optimizer".
    """
    from lightning import Trainer

    for key, value in config.items():
        if key in CLASS_KEYS:
            if value is not None:
                _check_class(key, key, value, source, (named or {}).get(key))
        elif key == "data":
            spec = configs.data_spec(value) if isinstance(value, dict) else value
            _check_class(key, key, spec, source, (named or {}).get(key))
        elif key == "trainer":
            for name in NEVER:
                if value.get(name) not in (None, []):
                    raise source.refuse(f"trainer.{name} is {one_line(value[name])}")
            options = {name: option for name, option in value.items() if name.removesuffix("+") not in LISTS}
            _check_arguments(key, options, Trainer, source)
            for name in value.keys() - options.keys():
                for entry in configs.as_list(value[name]):
                    if entry is not None and not isinstance(entry, bool):
                        _check_class(name.removesuffix("+"), f"trainer.{name}", entry, source)
        else:
            _check_value(key, value, str, source)


@cache
def classes(kind: str) -> dict[str, type]:
    """Return the classes of `LISTS[kind]` by each of their paths."""
    listed: dict[str, type] = {}
    for home, names in LISTS[kind].items():
        module = import_module(home)
        for name in names or _defined_in(module):
            if (cls := getattr(module, name, None)) is not None:  # older versions of torch lack some
                listed |= {f"{home}.{name}": cls, f"{cls.__module__}.{cls.__qualname__}": cls}
    return listed


def _defined_in(module: types.ModuleType) -> list[str]:
    """Return the names of the public and concrete classes that a module defines."""
    defined = (value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__)
    classes = (value for value in defined if inspect.isclass(value) and not inspect.isabstract(value))
    return [cls.__name__ for cls in classes if not cls.__name__.startswith("_")]


def paths(kind: str) -> set[str]:
    """Return the paths of the classes that a stranger may name; `kind` is "model", "data" or a key of `LISTS`."""
    if kind in REGISTRIES:
        return {entry.class_path for entry in REGISTRIES[kind].entries().values()}
    return set(classes(kind))


def _class(kind: str, path: str, named: str | None) -> type | None:
    """Return the class of a path; None if a stranger may not name it."""
    if kind in REGISTRIES:
        return REGISTRIES[kind].load(path) if path == named or path in paths(kind) else None
    if path != named:
        return classes(kind).get(path)
    try:
        return configs.import_class(path)
    except Exception as error:  # a module of the user's own can raise anything
        raise InputError(f"--{kind} '{path}' cannot be loaded: {type(error).__name__}: {error}") from error


def _check_class(kind: str, where: str, value: Any, source: Source, named: str | None = None) -> None:
    if isinstance(value, str):
        value = {"class_path": value}
    if not isinstance(value, dict) or value.keys() - {"class_path", "init_args"}:
        raise source.refuse(f"{where} is {one_line(value)}, expected class_path and init_args")
    path = value.get("class_path")
    cls = _class(kind, path, named) if isinstance(path, str) else None
    if cls is None:
        raise source.refuse(f"{where} names {path}, which is not a class that a file may choose")
    arguments = value.get("init_args")
    _check_arguments(where, {} if arguments is None else arguments, cls, source)
    if kind in ("callbacks", "logger"):
        for name, argument in dict(arguments or {}).items():
            _check_place(f"{where}: {name} of {cls.__name__}", name, argument, source)


def _check_arguments(where: str, arguments: Any, cls: type, source: Source) -> None:
    if not isinstance(arguments, dict):
        raise source.refuse(f"{where} has the arguments {one_line(arguments)}, expected names and values")
    hints, parameters = _hints(cls), inspect.signature(cls).parameters
    for name, value in arguments.items():
        if "." in name:  # jsonargparse takes a.b for b in a
            raise source.refuse(f"{where} has the argument {name}, expected a name without dots")
        is_default = name in parameters and path_of(parameters[name].default) == value and isinstance(value, str)
        if not (is_default or _is_layer(value)):
            _check_value(f"{where}.{name}", value, hints.get(name, object), source)


def path_of(value: Any) -> str | None:
    """Return the path of a class or a function, which a config holds in its place."""
    return f"{value.__module__}.{value.__qualname__}" if inspect.isclass(value) or inspect.isfunction(value) else None


def _is_layer(value: Any) -> bool:
    """Whether a text is the path of a layer in torch.nn, or of a function in torch.nn.functional."""
    home, _, name = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if home == "torch.nn":
        layer = getattr(torch.nn, name, None)
        return inspect.isclass(layer) and issubclass(layer, torch.nn.Module)
    return home == "torch.nn.functional" and inspect.isroutine(getattr(torch.nn.functional, name, None))


def _check_value(where: str, value: Any, hint: Any, source: Source) -> None:
    """Check that a value is plain, and that texts and dictionaries stand only where the class asks for them."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, (str, int)):
                raise source.refuse(f"{where} has the key {one_line(key)}, which is neither a text nor an integer")
            if str(key).rpartition(".")[2] in ("class_path", "dict_kwargs"):
                raise source.refuse(f"{where} names {one_line(entry)}, where no class may be named")
            _check_value(f"{where}.{key}", entry, hint, source)
    elif isinstance(value, list):
        for entry in value:
            _check_value(where, entry, hint, source)
    elif isinstance(value, str):
        if configs.reads_as_yaml(value):
            raise source.refuse(f"{where} is {one_line(value)}, a text that would be read as YAML")
    elif not isinstance(value, (bool, int, float, type(None))):
        raise source.refuse(f"{where} is {one_line(value)}, which is not a plain value")
    if isinstance(value, (dict, str)) and not _is_plain(hint):
        is_name = isinstance(value, str) and str in get_args(hint) and NAME.fullmatch(value)
        if not is_name or os.path.isfile(str(value)):
            raise source.refuse(f"{where} is {one_line(value)}, which may name code")


def _is_plain(hint: Any) -> bool:
    """Whether all values of a type are plain: none is an object, a function, a class or a module."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return True
    if origin is Annotated:
        return _is_plain(args[0])
    if origin in (Union, types.UnionType):
        return all(_is_plain(arg) for arg in args)
    if getattr(origin or hint, "__name__", "") in CONTAINERS:
        return all(_is_plain(arg) for arg in args if arg is not ...)
    return hint in PLAIN or (isinstance(hint, type) and issubclass(hint, (Enum, os.PathLike)))


def _hints(cls: type) -> dict[str, Any]:
    """Return the types of the arguments of a class and its bases.

    An argument without a type takes anything. A type that cannot be read counts as `object`.
    """
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        init = vars(base).get("__init__")
        if not isinstance(init, types.FunctionType):
            continue
        try:
            typed = get_type_hints(init, include_extras=True)
            default: Any = Any
        except Exception:  # names that exist for type checkers only
            typed, default = {}, object
        hints |= {name: typed.get(name, default) for name in inspect.signature(init).parameters}
    return hints


def _check_place(where: str, name: str, value: Any, source: Source) -> None:
    """Check that a callback or a logger writes into the run only."""
    if not isinstance(value, str):
        return
    path = Path(value)
    is_place = bool(value) and (PLACE.search(name) or path.is_absolute())
    inside = source.run is not None and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(source.run))
    if re.search(r"^~|://|\$", value) or ".." in path.parts or (is_place and not inside):
        raise source.refuse(f"{where} is {value}, a place outside of the run")


# The foreign code that a config names, for `config --check`.


def names(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the keys and paths of the classes, functions and files in a config that are not in `LISTS`.

    Imports none of them.

    Args:
        config: as `zoo.runs.configs.read` returns it.
    """
    for key, value in configs.expand(config).items():
        for place, text in _names(key, value):
            # Under other keys, such as "data", plain text can name a folder as well as a module.
            if key in (*CLASS_KEYS, "trainer") or place.endswith(".class_path") or configs.reads_as_yaml(text):
                yield place, text


def _names(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _names(f"{key}.{name}", entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _names(key, entry)
    elif isinstance(value, str):
        if configs.reads_as_yaml(value):
            yield key, value
        elif key.endswith(".class_path") or key.removesuffix("+") in ("trainer.callbacks", "trainer.logger"):
            if not _is_listed(value):
                yield key, value
        elif (IMPORTABLE.fullmatch(value) and _is_installed(value)) or os.path.isfile(value):
            yield key, value


def _is_listed(path: str) -> bool:
    known = {path for kind in LISTS for path in classes(kind)}
    entries = [entry for kind in REGISTRIES.values() for entry in kind.entries().values()]
    known |= {name for entry in entries for name in (entry.class_path, entry.name)}
    return path in known or path in {name.rpartition(".")[2] for name in known}


def _is_installed(path: str) -> bool:
    """Whether the first part of a dotted path is a module that can be imported. Does not import it."""
    try:
        return find_spec(path.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
