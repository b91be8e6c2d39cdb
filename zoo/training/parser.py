"""`ZooParser`: a parser whose errors are one line that names the culprit, its place, and the nearest known name."""

import contextlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from enum import Enum
from importlib import import_module
from typing import Any, NamedTuple, NoReturn, TypeVar

import torch
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

from datamodules.errors import Ended, InputError, did_you_mean, nearest, one_line
from zoo.catalogue import registry
from zoo.runs import configs
from zoo.runs.command_line import CommandLine
from zoo.runs.options import CLASS_KEYS

T = TypeVar("T")
# Types as a person would name them.
KINDS = {
    "NoneType": "null",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list, as [1, 2]",
}

# Lightning's StochasticWeightAveraging has one for a default, which a run's config.yaml has to hold.
register_type(torch.device)


class Parsing(NamedTuple):
    """What parsers know while a command line is parsed.

    Attributes:
        command_line: the command line.
        known: the dotted keys that it may set.
    """

    command_line: CommandLine
    known: set[str]


# A parser makes parsers of its own for the arguments of classes, and jsonargparse keeps these for the next command
# line: what belongs to a command line cannot be their attribute.
_PARSING: ContextVar[Parsing] = ContextVar("parsing")


@contextlib.contextmanager
def parsing(command_line: CommandLine) -> Iterator[Parsing]:
    """Let the errors of all parsers refer to `command_line`."""
    token = _PARSING.set(Parsing(command_line, set()))
    try:
        yield _PARSING.get()
    finally:
        _PARSING.reset(token)


class ZooParser(LightningArgumentParser):
    """Lightning's parser, with errors for people. It parses within `parsing`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Without abbreviations, which would take --trainer.max_epoch for max_epochs on the command line, not in a file.
        super().__init__(*args, **kwargs | {"allow_abbrev": False})
        self.owner: type | None = None  # whose arguments it parses, and nothing else

    def add_class_arguments(self, cls: type, nested_key: str | None = None, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class: of one that a config names, where they get no key of their own."""
        if nested_key is None:
            self.owner = cls
        added = super().add_class_arguments(cls, nested_key, *args, **kwargs)
        for action in self._actions:  # as the default of Lightning's Timer, which no config can hold
            if isinstance(action.default, str) and isinstance(action.default, Enum):
                action.default = action.default.value
        return added

    def format_help(self) -> str:
        """Return the groups of options that are in the wanted section, without the usage, which is as long again."""
        _, *groups = re.split(r"\n(?=\S)", super().format_help())
        section = _PARSING.get().command_line.help_section
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
        if unknown and unknown[1] == "class_path":  # jsonargparse takes a class with other keys for an argument
            values = (option.value for option in command_line.options)
            yaml = [configs.parse("the command line", v) for v in values if v and configs.reads_as_yaml(v)]
            keys = configs.beside([command_line.config, *yaml])
            text = f"'{next(keys, 'an argument')}' stands beside a class_path: put it into init_args"
        elif unknown and self.owner:
            text = no_argument(self.owner, unknown[1], self.get_defaults(skip_validation=True).keys(), command_line)
        else:
            text = explain(message, command_line, known, self.owner)
        raise Ended(2, text)


def explain(message: str, command_line: CommandLine, known: Iterable[str], owner: type | None = None) -> str:
    """Return jsonargparse's `message` as one line for people.

    Args:
        message: the message.
        command_line: in whose configs the culprit is looked for.
        known: the dotted keys that may be set.
        owner: the class whose arguments are parsed.
    """
    known = list(known)
    text = one_line(message)
    if owner and (missing := re.match(r"the following arguments are required: (.*)", text)):
        return f"{owner.__name__} needs a value for {missing[1]}: give it in its init_args"
    pattern = r"(?:Group '([^']+)' )?does not accept option '([^']+)'|unrecognized arguments: (?:--)?([^\s=]+)"
    if unknown := re.search(pattern, text):
        key = ".".join(filter(None, (unknown[1], unknown[2] or unknown[3])))
        return f"unknown option '{key}'{command_line.source(key)}.{_nearest(key, known)}"
    if wrong := re.match(r'Parser key "([^"]+)": (.*)', text):
        key, problem = _full_key(wrong[1], known), wrong[2]
        if unloaded := re.search(r"Problem with given class_path '([^']+)': (.*?)(?= - | Given|$)", problem):
            return f"--{key}{_file_with(unloaded[1], command_line)}: {_unloaded(unloaded[1], unloaded[2])}"
        option = f"{owner.__name__}: {key}" if owner and "." not in key else f"--{key}"
        value = re.search(r"Given value: (.*)$", message, re.MULTILINE) or re.search(r"Got value: (.*?)$", problem)
        kind = r"<class '[^']+'>|typing\.Literal\[[^\]]*\]|[^.]*?"
        expected = re.findall(rf"(?:Expected an?|does not correspond to a) ({kind})(?:\.| - | Given| Got|$)", problem)
        expected = [kind for kind in expected if not kind.startswith("path but")]  # which is what YAML may be read from
        if value and expected:
            kinds = " or ".join(dict.fromkeys(map(_kind, expected)))
            choices = [choice for kind in expected for choice in _choices(kind)]
            problem = f"{option}={value[1]}{_where(key, command_line)}: expected {kinds}"
            return _with_hint(problem, did_you_mean(value[1], choices))
        return f"{option}: {problem}"
    return text


def _nearest(key: str, known: Iterable[str]) -> str:
    """Suggest an option: of the section that `key` names, where there is one, by what follows the section."""
    section, dot, name = key.rpartition(".")
    names = [full.removeprefix(f"{section}.") for full in known if dot and full.rpartition(".")[0] == section]
    if not names:
        return did_you_mean(key, known)
    near = nearest(name, names)
    return f" Did you mean '{section}.{near}'?" if near else ""


def _with_hint(text: str, hint: str) -> str:
    return f"{text}.{hint}" if hint else text


def _unloaded(path: str, problem: object) -> str:
    """Say that the class which a dotted path names cannot be loaded, and what may have been meant."""
    near = _nearest_path(path)
    hint = f" Did you mean '{near}'?" if near and near != path else ""
    return _with_hint(f"'{path}' cannot be loaded: {problem}", hint)


def _nearest_path(path: str) -> str | None:
    """Return the dotted path of a class that is nearest to `path`, part by part; None where none is near."""
    found, *parts = path.split(".")
    for part in parts:
        try:
            module = import_module(found)
        except Exception:  # what cannot be imported holds nothing to suggest
            return None
        modules = [name for _, name, _ in pkgutil.iter_modules(getattr(module, "__path__", []))]
        names = [*modules, *(name for name, value in vars(module).items() if inspect.isclass(value))]
        near = part if part in names else nearest(part, names)
        if near is None:
            return None
        found = f"{found}.{near}"
    return found


def _file_with(word: str, command_line: CommandLine) -> str:
    """Return `" (in FILE)"` for the last config in which `word` is a key or a value; `""` where it is in none."""
    files = [path for path, config in command_line.files.items() if word in _words(config)]
    return f" (in {files[-1]})" if files else ""


def _words(config: Any) -> Iterator[Any]:
    """Yield all keys and values of a config."""
    if isinstance(config, dict):
        yield from config
        config = list(config.values())
    if isinstance(config, list):
        for entry in config:
            yield from _words(entry)
    else:
        yield config


def _full_key(key: str, known: Iterable[str]) -> str:
    """Write out `dropout` as `model.dropout`: the parser of a class's arguments does not know whose they are."""
    full = [name for name in known if name.partition(".")[2] == key and name.partition(".")[0] in CLASS_KEYS]
    return full[0] if "." not in key and len(full) == 1 else key


def _where(key: str, command_line: CommandLine) -> str:
    group, _, rest = key.partition(".")
    return command_line.source(f"{group}.init_args.{rest}" if group in CLASS_KEYS else key)


def _choices(expected: str) -> list[str]:
    """The texts that a type lets choose from."""
    return re.findall(r"'([^']*)'", expected) if expected.startswith("typing.Literal[") else []


def _kind(expected: str) -> str:
    """A type as a person would name it."""
    if choices := re.match(r"typing\.Literal\[(.*)\]", expected):
        return f"one of {choices[1]}" if "," in choices[1] else choices[1]
    if expected.startswith("dot import path"):
        return "the dotted path of a class"
    if expected.startswith("subclass of"):
        return f"a {expected}"
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", expected)
    return KINDS.get(name, name)


def check_class(key: str, base: type[T]) -> type[T] | None:
    """Check the class that the command line names under `key`, and the names of its arguments. Use it within `parsing`.

    Args:
        key: "model", "optimizer" or "lr_schedule".
        base: what the class must be a subclass of.

    Returns:
        The class; None if there is none.

    Raises:
        InputError: for an unknown or unfit class, or an argument that it does not have.
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
        if key == "model" and "num_classes" in given:
            raise InputError("--model.num_classes follows from --data.task: leave it out")
    known.update(f"{key}.{argument}" for argument in signature)
    return cls


def no_argument(cls: type, argument: str, known: Iterable[str], command_line: CommandLine) -> str:
    """Return the line for an argument that a class does not have.

    Args:
        cls: the class.
        argument: what was given.
        known: the arguments that it has.
        command_line: in whose configs the argument is looked for.
    """
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
        public = sorted({n for home in homes for n, cls in vars(home).items() if _is_public(n, cls, base)})
        raise InputError(f"unknown {key} '{name}'.{did_you_mean(name, public)} There are: {', '.join(public)}")
    try:
        found = configs.import_class(name)
    except Exception as error:  # the module of a person can raise anything
        raise InputError(f"{key} {_unloaded(name, f'{type(error).__name__}: {error}')}") from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise InputError(f"{key} '{name}' is no subclass of {base.__module__}.{base.__name__}")
    if inspect.isabstract(found) or found is base:
        raise InputError(f"{key} '{name}' is abstract: name one of its subclasses")
    return found


def _is_public(name: str, value: Any, base: type) -> bool:
    return not name.startswith("_") and inspect.isclass(value) and issubclass(value, base) and value is not base


def _subclasses(base: type[T]) -> set[type[T]]:
    direct = set(base.__subclasses__())
    return direct.union(*(_subclasses(cls) for cls in direct))
