"""`ZooParser`: a parser whose errors are one line that names the culprit, its place, and the nearest known name."""

import inspect
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, ClassVar, NoReturn, TypeVar

import torch
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

from datamodules.errors import InputError, did_you_mean, nearest, one_line
from zoo import config as configs
from zoo import registry

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
    command: ClassVar[configs.Composed] = configs.Composed({}, [], {})
    known: ClassVar[set[str]] = set()
    # The part of the help that is wanted: of "data", of "trainer", or of all.
    section: ClassVar[str] = "all"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Without abbreviations, which would take --trainer.max_epoch for max_epochs on the command line, not in a file.
        super().__init__(*args, **kwargs | {"allow_abbrev": False})

    def format_help(self) -> str:
        """Return the groups of options that are in the wanted section, without the usage, which is as long again."""
        _, *groups = re.split(r"\n(?=\S)", super().format_help())
        if self.section != "all":
            groups = [group for group in groups if re.search(rf"^  --{self.section}[ .]", group, re.MULTILINE)]
        return "\n".join(groups)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print `message` as one line and exit with code 2."""
        print(f"error: {explain(message, self.command, self.known)}", file=sys.stderr)
        raise SystemExit(2)


def explain(message: str, command: configs.Composed, known: Iterable[str]) -> str:
    """Return jsonargparse's `message` as one line for people.

    Args:
        message: the message.
        command: the command line, in whose configs the culprit is looked for.
        known: the dotted keys that may be set.
    """
    known = list(known)
    text = one_line(message)
    if unknown := re.search(r"does not accept option '([^']+)'|unrecognized arguments: (?:--)?([^\s=]+)", text):
        key = unknown[1] or unknown[2]
        return f"unknown option '{key}'{configs.where(key, command)}.{_nearest(key, known)}"
    if wrong := re.match(r'Parser key "([^"]+)": (.*)', text):
        key, problem = _full_key(wrong[1], known), wrong[2]
        value = re.search(r"Given value: (.*)$", message, re.MULTILINE) or re.search(r"Got value: (.*?)$", problem)
        kind = r"<class '[^']+'>|typing\.Literal\[[^\]]*\]|[^.]*?"
        expected = re.findall(rf"Expected an? ({kind})(?:\.| - | Given| Got|$)", problem)
        if value and expected:
            kinds = " or ".join(dict.fromkeys(_kind(kind) for kind in expected if "import path" not in kind))
            return f"--{key}={value[1]}{_where(key, command)}: expected {kinds}"
        return f"--{key}: {problem}"
    return text


def _nearest(key: str, known: Iterable[str]) -> str:
    """Suggest an option: of the section that `key` names, where there is one, by what follows the section."""
    section, dot, name = key.rpartition(".")
    names = [full.removeprefix(f"{section}.") for full in known if dot and full.rpartition(".")[0] == section]
    if not names:
        return did_you_mean(key, known)
    near = nearest(name, names)
    return f" Did you mean '{section}.{near}'?" if near else ""


def _full_key(key: str, known: Iterable[str]) -> str:
    """Write out `dropout` as `model.dropout`: the parser of a class's arguments does not know whose they are."""
    full = [name for name in known if name.partition(".")[2] == key and name.partition(".")[0] in configs.CLASS_KEYS]
    return full[0] if "." not in key and len(full) == 1 else key


def _where(key: str, command: configs.Composed) -> str:
    group, _, rest = key.partition(".")
    return configs.where(f"{group}.init_args.{rest}" if group in configs.CLASS_KEYS else key, command)


def _kind(expected: str) -> str:
    """A type as a person would name it."""
    if choices := re.match(r"typing\.Literal\[(.*)\]", expected):
        return f"one of {choices[1]}"
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
                raise InputError(
                    f"{cls.__name__} has no argument '{argument}'{_where(f'{key}.{argument}', command)}."
                    f"{did_you_mean(argument, signature)} It has: {', '.join(signature) or 'none'}"
                )
        if key == "model" and "num_classes" in given:
            raise InputError("--model.num_classes follows from --data.task: leave it out")
    ZooParser.known |= {f"{key}.{argument}" for argument in signature}
    return cls


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
        raise InputError(f"{key} '{name}' cannot be loaded: {type(error).__name__}: {error}") from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise InputError(f"{key} '{name}' is no subclass of {base.__module__}.{base.__name__}")
    if inspect.isabstract(found):
        raise InputError(f"{key} '{name}' is abstract: name one of its subclasses")
    return found


def _is_public(name: str, value: Any, base: type) -> bool:
    return not name.startswith("_") and inspect.isclass(value) and issubclass(value, base) and value is not base


def _subclasses(base: type[T]) -> set[type[T]]:
    direct = set(base.__subclasses__())
    return direct.union(*(_subclasses(cls) for cls in direct))
