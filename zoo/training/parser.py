"""`ZooParser`: a parser whose errors are one line that names the culprit, its place, and the nearest known name."""

import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from importlib import import_module
from typing import Any, ClassVar, NoReturn, TypeVar

import torch
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

from datamodules.errors import Ended, InputError, did_you_mean, error_line, nearest, one_line
from zoo.catalogue import registry
from zoo.runs import configs

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


class ZooParser(LightningArgumentParser):
    """Lightning's parser, with errors for people."""

    # The command line at hand, and the keys that it may set. Class attributes, because a parser makes parsers of its
    # own, for the arguments of classes, whose errors are ours too.
    command: ClassVar[configs.Composed] = configs.Composed({}, [], {}, {})
    known: ClassVar[set[str]] = set()
    # The part of the help that is wanted: of "data", of "trainer", or of all.
    section: ClassVar[str] = "all"

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
        if self.section != "all":
            groups = [group for group in groups if re.search(rf"^  --{self.section}[ .]", group, re.MULTILINE)]
        return "\n".join(groups)

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's own method, raise OSError if it cannot be written."""
        print(self.format_help(), end="", file=file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the command after its help or its config."""
        raise Ended(status)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` as one line and exit with code 2."""
        unknown = re.match(r"Option '([^']+)' is not accepted", message)
        if unknown and unknown[1] == "class_path":  # jsonargparse takes a class with other keys for an argument
            values = (
                value for _, value, _ in configs.options(self.command.rest) if value and configs.reads_as_yaml(value)
            )
            keys = configs.beside(
                [self.command.config, *(configs.parse("the command line", value) for value in values)]
            )
            text = f"'{next(keys, 'an argument')}' stands beside a class_path: put it into init_args"
        elif unknown and self.owner:
            text = no_argument(self.owner, unknown[1], self.get_defaults(skip_validation=True).keys(), self.command)
        else:
            text = explain(message, self.command, self.known, self.owner)
        print(f"error: {error_line(text)}", file=sys.stderr)
        raise Ended(2)


def explain(message: str, command: configs.Composed, known: Iterable[str], owner: type | None = None) -> str:
    """Return jsonargparse's `message` as one line for people.

    Args:
        message: the message.
        command: the command line, in whose configs the culprit is looked for.
        known: the dotted keys that may be set.
        owner: the class whose arguments are parsed.
    """
    known = list(known)
    text = one_line(message)
    if owner and (missing := re.match(r"the following arguments are required: (.*)", text)):
        return f"{owner.__name__} needs a value for {missing[1]}: give it in its init_args"
    if unknown := re.search(r"does not accept option '([^']+)'|unrecognized arguments: (?:--)?([^\s=]+)", text):
        key = unknown[1] or unknown[2]
        return f"unknown option '{key}'{configs.where(key, command)}.{_nearest(key, known)}"
    if wrong := re.match(r'Parser key "([^"]+)": (.*)', text):
        key, problem = _full_key(wrong[1], known), wrong[2]
        if unloaded := re.search(r"Problem with given class_path '([^']+)': (.*?)(?= - | Given|$)", problem):
            return f"--{key}{_file_with(unloaded[1], command)}: {_unloaded(unloaded[1], unloaded[2])}"
        option = f"{owner.__name__}: {key}" if owner and "." not in key else f"--{key}"
        value = re.search(r"Given value: (.*)$", message, re.MULTILINE) or re.search(r"Got value: (.*?)$", problem)
        kind = r"<class '[^']+'>|typing\.Literal\[[^\]]*\]|[^.]*?"
        expected = re.findall(rf"(?:Expected an?|does not correspond to a) ({kind})(?:\.| - | Given| Got|$)", problem)
        expected = [kind for kind in expected if not kind.startswith("path but")]  # which is what YAML may be read from
        if value and expected:
            kinds = " or ".join(dict.fromkeys(map(_kind, expected)))
            choices = [choice for kind in expected for choice in _choices(kind)]
            problem = f"{option}={value[1]}{_where(key, command)}: expected {kinds}"
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


def _file_with(word: str, command: configs.Composed) -> str:
    """Return `" (in FILE)"` for the last config in which `word` is a key or a value; `""` where it is in none."""
    files = [path for path, config in command.files.items() if word in _words(config)]
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
    full = [name for name in known if name.partition(".")[2] == key and name.partition(".")[0] in configs.CLASS_KEYS]
    return full[0] if "." not in key and len(full) == 1 else key


def _where(key: str, command: configs.Composed) -> str:
    group, _, rest = key.partition(".")
    return configs.where(f"{group}.init_args.{rest}" if group in configs.CLASS_KEYS else key, command)


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


def check_class(key: str, command: configs.Composed, base: type[T]) -> type[T] | None:
    """Check the class that `command` names under `key`, and the names of its arguments.

    Args:
        key: "model", "optimizer" or "lr_schedule".
        command: the command line.
        base: what the class must be a subclass of.

    Returns:
        The class; None where it names none.

    Raises:
        InputError: for an unknown or unfit class, or an argument that it does not have.
    """
    value = command.config.get(key)
    if value is None:
        return None
    name = value.get("class_path")
    if not isinstance(name, str):
        raise InputError(f"{key}{configs.where(key, command)}: give the name of a class as class_path")
    cls: type[Any] = registry.load(name) if key == "model" else _find_class(key, name, base)
    if "." not in name:
        value["class_path"] = f"{cls.__module__}.{cls.__qualname__}"

    signature = inspect.signature(cls).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values()):
        given = list(value.get("init_args") or {})
        options = (option.partition("=")[0] for option in command.rest)
        given += [o.removeprefix(f"--{key}.").removeprefix("init_args.") for o in options if o.startswith(f"--{key}.")]
        for argument in given:
            if argument not in signature and argument != "help":
                raise InputError(no_argument(cls, argument, signature, command))
        if key == "model" and "num_classes" in given:
            raise InputError("--model.num_classes follows from --data.task: leave it out")
    ZooParser.known |= {f"{key}.{argument}" for argument in signature}
    return cls


def no_argument(cls: type, argument: str, known: Iterable[str], command: configs.Composed) -> str:
    """Return the line for an argument that a class does not have.

    Args:
        cls: the class.
        argument: what was given.
        known: the arguments that it has.
        command: the command line, in whose configs the argument is looked for.
    """
    known = list(known)
    problem = f"{cls.__name__} has no argument '{argument}'{_file_with(argument, command)}"
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
