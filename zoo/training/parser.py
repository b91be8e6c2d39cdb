"""`ZooParser`: reports each error as one line with the option, its file, and the nearest known name."""

import contextlib
import inspect
import pkgutil
import re
from collections.abc import Collection, Iterable, Iterator
from contextvars import ContextVar
from enum import Enum
from importlib import import_module
from typing import Any, NoReturn, TypeVar

import torch
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

from datamodules.data_sets import SYNTHETIC
from datamodules.errors import Ended, InputError, did_you_mean, nearest, one_line
from zoo.catalogue import registry
from zoo.core.about import FROM_DATA
from zoo.runs import configs, data_modules
from zoo.runs.command_line import CommandLine
from zoo.runs.options import CLASS_KEYS, NAMING_KEYS

T = TypeVar("T")
# Types in plain words.
KINDS = {
    "NoneType": "null",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list, as [1, 2]",
}

# StochasticWeightAveraging of Lightning has a device as a default, which a run's config.yaml must hold.
register_type(torch.device)

# The command line that is parsed, and the dotted keys that it may set. These cannot be attributes of a parser: it makes
# other parsers for the arguments of classes, and jsonargparse keeps those for the next command line.
_PARSING: ContextVar[tuple[CommandLine, set[str]]] = ContextVar("parsing")


@contextlib.contextmanager
def parsing(command_line: CommandLine) -> Iterator[set[str]]:
    """Let the errors of all parsers refer to `command_line`. Yields the set of keys that it may set, to be filled."""
    token = _PARSING.set((command_line, set()))
    try:
        yield _PARSING.get()[1]
    finally:
        _PARSING.reset(token)


class ZooParser(LightningArgumentParser):
    """Lightning's parser with readable errors. Use it within `parsing`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Abbreviations would accept --trainer.max_epoch for max_epochs on the command line, but not in a file.
        super().__init__(*args, **kwargs | {"allow_abbrev": False})
        self.owner: type | None = None  # the class whose arguments alone it parses

    def add_class_arguments(self, cls: type, nested_key: str | None = None, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class. Without `nested_key`, it is a class that a config names."""
        if nested_key is None:
            self.owner = cls
        added = super().add_class_arguments(cls, nested_key, *args, **kwargs)
        for action in self._actions:  # a config cannot hold a member of an enumeration, the default of Timer
            if isinstance(action.default, str) and isinstance(action.default, Enum):
                action.default = action.default.value
        return added

    def format_help(self) -> str:
        """Return the groups of options in the section that --help names, without the long usage."""
        _, *groups = re.split(r"\n(?=\S)", super().format_help())
        command_line, _ = _PARSING.get()
        section = command_line.help_section
        if section == "all" and self.owner is None:  # the options of a data set stand under its name alone
            parser = ArgumentParser(exit_on_error=False)
            data = configs.data_spec(command_line.config.get("data") or {})
            parser.add_class_arguments(registry.data.load(data["class_path"]), "data")
            groups += re.split(r"\n(?=\S)", parser.format_help())[2:]
        if section not in ("all", ""):
            groups = [group for group in groups if re.search(rf"^  --{section}[ .]", group, re.MULTILINE)]
        return "\n".join(groups)

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's own method, raise OSError if it cannot be written."""
        print(self.format_help(), end="", file=file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the command after its help or its config."""
        raise Ended(status)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the command with `message` as one line, and with code 2."""
        command_line, known = _PARSING.get()
        unknown = re.match(r"Option '([^']+)' is not accepted", message)
        if unknown and unknown[1] == "class_path":  # there are keys beside it, and jsonargparse reads it as an argument
            values = (option.value for option in command_line.options)
            yaml = [configs.parse("the command line", v) for v in values if v and configs.reads_as_yaml(v)]
            keys = configs.beside([command_line.config, *yaml])
            text = f"'{next(keys, 'an argument')}' stands beside a class_path: put it into init_args"
        elif unknown and self.owner:
            text = no_argument(self.owner, unknown[1], self.get_defaults(skip_validation=True).keys(), command_line)
        else:
            text = explain(message, command_line, known, self.owner)
        raise Ended(2, text)


def explain(message: str, command_line: CommandLine, known: Collection[str], owner: type | None = None) -> str:
    """Return jsonargparse's `message` as one line for people. `owner` is the class whose arguments are parsed."""
    text = one_line(message)
    if owner and (missing := re.match(r"the following arguments are required: (.*)", text)):
        return f"{owner.__name__} needs a value for {missing[1]}: give it in its init_args"
    pattern = r"(?:Group '([^']+)' )?does not accept option '([^']+)'|unrecognized arguments: (?:--)?([^\s=]+)"
    if unknown := re.search(pattern, text):
        key = ".".join(filter(None, (unknown[1], unknown[2] or unknown[3])))
        return f"unknown option '{key}'{command_line.source(key)}.{_nearest_option(key, known)}"
    wrong = re.match(r'Parser key "([^"]+)": (.*)', text)
    if wrong is None:
        return text
    key, problem = wrong.groups()
    # The parser of a class's arguments knows "dropout" for "model.dropout".
    full_keys = [f"{section}.{key}" for section in NAMING_KEYS if "." not in key and f"{section}.{key}" in known]
    key = full_keys[0] if len(full_keys) == 1 else key
    if unloaded := re.search(r"Problem with given class_path '([^']+)': (.*?)(?= - | Given|$)", problem):
        return f"--{key}{_file_with(unloaded[1], command_line)}: {_unloaded(unloaded[1], unloaded[2])}"
    option = f"{owner.__name__}: {key}" if owner and "." not in key else f"--{key}"
    value = re.search(r"Given value: (.*)$", message, re.MULTILINE) or re.search(r"Got value: (.*?)$", problem)
    kind = r"<class '[^']+'>|typing\.Literal\[[^\]]*\]|[^.]*?"
    expected = re.findall(rf"(?:Expected an?|does not correspond to a) ({kind})(?:\.| - | Given| Got|$)", problem)
    expected = [kind for kind in expected if not kind.startswith("path but")]  # a file of YAML
    if not (value and expected):
        return f"{option}: {problem}"
    section, _, argument = key.partition(".")
    where = command_line.source(f"{section}.init_args.{argument}" if section in CLASS_KEYS else key)
    choices = re.findall("'([^']*)'", " ".join(kind for kind in expected if kind.startswith("typing.Literal[")))
    kinds = " or ".join(dict.fromkeys(map(_kind, expected)))
    return _with_hint(f"{option}={value[1]}{where}: expected {kinds}", did_you_mean(value[1], choices))


def _nearest_option(key: str, known: Collection[str]) -> str:
    """Suggest an option of the section of `key`, by its name within the section."""
    section, dot, name = key.rpartition(".")
    names = [full.removeprefix(f"{section}.") for full in known if dot and full.rpartition(".")[0] == section]
    if not names:
        return did_you_mean(key, known)
    near = nearest(name, names)
    return f" Did you mean '{section}.{near}'?" if near else ""


def _with_hint(text: str, hint: str) -> str:
    return f"{text}.{hint}" if hint else text


def _unloaded(path: str, problem: object) -> str:
    """Return the message for a dotted path that cannot be imported."""
    near = _nearest_path(path)
    hint = f" Did you mean '{near}'?" if near and near != path else ""
    return _with_hint(f"'{path}' cannot be loaded: {problem}", hint)


def _nearest_path(path: str) -> str | None:
    """Return the dotted path of a class that is nearest to `path`, part by part; None if none is near."""
    nearest_path, *parts = path.split(".")
    for part in parts:
        try:
            module = import_module(nearest_path)
        except Exception:  # a module that cannot be imported has nothing to suggest
            return None
        modules = [name for _, name, _ in pkgutil.iter_modules(getattr(module, "__path__", []))]
        names = [*modules, *(name for name, value in vars(module).items() if inspect.isclass(value))]
        near = part if part in names else nearest(part, names)
        if near is None:
            return None
        nearest_path = f"{nearest_path}.{near}"
    return nearest_path


def _file_with(word: str, command_line: CommandLine) -> str:
    """Return " (in FILE)" for the last config in which `word` is a key or a value; "" if there is none."""
    files = [path for path, config in command_line.files.items() if repr(word) in repr(config)]
    return f" (in {files[-1]})" if files else ""


def _kind(expected: str) -> str:
    """Return jsonargparse's name of a type in plain words."""
    if choices := re.match(r"typing\.Literal\[(.*)\]", expected):
        return f"one of {choices[1]}" if "," in choices[1] else choices[1]
    if expected.startswith("dot import path"):
        return "the dotted path of a class"
    if expected.startswith("subclass of"):
        return f"a {expected}"
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", expected)
    return KINDS.get(name, name)


def check_class(key: str, base: type[T]) -> type[T] | None:
    """Return the class that the command line names under `key`, a subclass of `base`; None if it names none.

    Checks the names of its arguments. Use it within `parsing`.
    """
    command_line, known = _PARSING.get()
    value = command_line.config.get(key)
    if value is None:
        return None
    name = value.get("class_path")
    if not isinstance(name, str):
        raise InputError(f"{key}{command_line.source(key)}: give the name of a class as class_path")
    cls: type[Any] = registry.load(name) if key == "model" else _find_class(key, name, base)
    if "." not in name:
        value["class_path"] = f"{cls.__module__}.{cls.__qualname__}"

    signature = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values()):
        given = list(value.get("init_args") or {})
        options = [option.option.removeprefix(f"--{key}.") for option in command_line.options]
        given += [name.removeprefix("init_args.") for name in options if not name.startswith("-")]
        for argument in given:
            if argument not in signature and argument != "help":
                raise InputError(no_argument(cls, argument, signature, command_line))
        if key == "model" and (follows := [name for name in FROM_DATA if name in given]):
            raise InputError(f"--model.{follows[0]} follows from the data: leave it out")
    known.update(f"{key}.{argument}" for argument in signature)
    return cls


def check_data() -> None:
    """Check the name of the data set that the command line names, and the names of its arguments."""
    command_line, known = _PARSING.get()
    value = command_line.config["data"]
    name = value["class_path"]
    if not isinstance(name, str):
        raise InputError(f"data{command_line.source('data.class_path')}: give the name of a class as class_path")
    cls = registry.data.load(name)
    names = data_modules.argument_names(cls)
    given = [argument for argument in value if argument != "class_path"]
    words = (option.option for option in command_line.options if option.option.startswith("--data."))
    given += [word.removeprefix("--data.").removeprefix("init_args.") for word in words]
    # Merged with other data, a config loses its source.
    files = (configs.expand(config).get("data") or {} for config in command_line.files.values())
    given += ["source"] * any(data.get("source") == SYNTHETIC.name for data in files)
    for argument in given:
        if argument == "source" and "source" not in names:
            problem = f"--config synthetic, or data.source, stands in for CIFAR-10 alone, not for {cls.__name__}"
            raise InputError(f"{problem}: leave it out")
        if argument not in names and argument.partition("=")[0] not in (*names, "help"):
            raise InputError(no_data_option(argument, names, cls, command_line))
    known.update(f"data.{argument}" for argument in names)


def no_data_option(argument: str, names: list[str], cls: type, command_line: CommandLine) -> str:
    """Return the message for an option that a data set does not have; it has those in `names`."""
    key = f"data.{argument}"
    near = nearest(argument, names)
    hint = f" Did you mean 'data.{near}'?" if near else f" {cls.__name__} has: {', '.join(names)}"
    return f"unknown option '{key}'{command_line.source(key)}.{hint}"


def no_argument(cls: type, argument: str, known: Iterable[str], command_line: CommandLine) -> str:
    """Return the message for an argument that a class does not have; it has those in `known`."""
    known = list(known)
    problem = f"{cls.__name__} has no argument '{argument}'{_file_with(argument, command_line)}"
    return f"{problem}.{did_you_mean(argument, known)} It has: {', '.join(known) or 'none'}"


def _find_class(key: str, name: str, base: type[T]) -> type[T]:
    if "." not in name:
        named = [cls for cls in _subclasses(base) if cls.__name__ == name]
        if len(named) == 1:
            return named[0]
        if named:
            paths = sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in named)
            raise InputError(f"{key} '{name}' could be any of {', '.join(paths)}: give one of these paths")
        homes = [import_module(home) for home in configs.HOMES[key]]
        classes = [cls for home in homes for cls in vars(home).values() if inspect.isclass(cls) and cls is not base]
        public = sorted({cls.__name__ for cls in classes if issubclass(cls, base) and not cls.__name__.startswith("_")})
        raise InputError(f"unknown {key} '{name}'.{did_you_mean(name, public)} There are: {', '.join(public)}")
    try:
        cls = configs.import_class(name)
    except Exception as error:  # a user's module can raise anything
        raise InputError(f"{key} {_unloaded(name, f'{type(error).__name__}: {error}')}") from error
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise InputError(f"{key} '{name}' is not a subclass of {base.__module__}.{base.__name__}")
    if inspect.isabstract(cls) or cls is base:
        raise InputError(f"{key} '{name}' is abstract: name one of its subclasses")
    return cls


def _subclasses(base: type[T]) -> set[type[T]]:
    direct = set(base.__subclasses__())
    return direct.union(*(_subclasses(cls) for cls in direct))
