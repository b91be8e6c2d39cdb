"""`CommandLine`: the words of `fit`, `validate` or `test`, taken apart once."""

import copy
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import InputError
from datamodules.paths import user_path
from zoo.catalogue import registry
from zoo.runs import configs
from zoo.runs.configs import Config
from zoo.runs.options import CLASS_KEYS, SECTIONS

HELP = ("-h", "--help")
CONFIG = ("--config", "-c")
CHECKPOINT = ("--ckpt", "--ckpt_path")  # Lightning's name is the second
RESUME = "--resume"


class Word(NamedTuple):
    """An option on a command line.

    Attributes:
        option: with its dashes.
        value: None if the option stands alone.
        words: that the two were written as, one or two.
    """

    option: str
    value: str | None
    words: tuple[str, ...]


def split(argv: Sequence[str]) -> Iterator[Word]:
    """Yield the options of a command line."""
    words = list(argv)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if equals or not word.startswith("-"):
            yield Word(option, value, (word,))
        elif words and not re.match("-[a-zA-Z-]", words[0]):  # -1 is a value
            value = words.pop(0)
            yield Word(option, value, (word, value))
        else:
            yield Word(option, None, (word,))


def take(argv: Sequence[str], names: Collection[str]) -> tuple[dict[str, str | None], list[str]]:
    """Return the values of the options `names`, and the command line without these options."""
    parts = list(split(argv))
    values = {part.option: part.value for part in parts if part.option in names}
    return values, [word for part in parts if part.option not in names for word in part.words]


class CommandLine:
    """The command line of `fit`, `validate` or `test`.

    Args:
        argv: the command and its options.

    Attributes:
        argv: as given.
        command: the first word.
        special: values of the options that the parser does not get: help, --ckpt and --resume.
        options: all other options but those that name configs and classes.
        rest: the words of these.
        base: the config of a run or a checkpoint, which lies under all that the command line says.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self.command, *words = self.argv
        special, named = (*HELP, *CHECKPOINT, RESUME), (*CONFIG, *(f"--{key}" for key in CLASS_KEYS))
        self.special: dict[str, str | None] = {}
        self.options: list[Word] = []
        self._named: list[Word] = []  # configs and classes, in their order
        for word in split(words):
            option = word.option.removesuffix(".class_path")
            if word.option in special:
                self.special[word.option] = word.value
            elif word.option in CONFIG or (option in named and word.value is not None):
                self._named.append(word._replace(option=option))
            else:
                self.options.append(word)
        self.rest = [word for option in self.options for word in option.words]
        self.base: Config = {}

    @property
    def help_section(self) -> str | None:
        """The section that --help names, "" if it names none; None without --help."""
        return next((self.special[name] or "" for name in HELP if name in self.special), None)

    def check_names(self) -> None:
        """Look up the configs and the models of the zoo, so that a misspelled name is reported at once. Needs no torch.

        Raises:
            InputError: for a word that is no option, an unknown config or model, or a config that cannot be read.
        """
        for word in self.options:
            if not word.option.startswith("-"):
                name = word.option
                meant = "--config" if name in configs.shipped() else "--model" if name in registry.entries() else None
                hint = f"Did you mean '{meant} {name}'?" if meant else "Options begin with --"
                raise InputError(f"'{name}' is no option. {hint}")
        models = [config.get("model") for config in self.files.values()]
        models += [configs.class_value("model", word.value or "") for word in self._named if word.option == "--model"]
        for model in models:
            model_name = model.get("class_path") if isinstance(model, dict) else model
            if isinstance(model_name, str) and model_name and "." not in model_name:
                registry.find(model_name)

    @cached_property
    def files(self) -> dict[Path, Config]:
        """The configs as they are in their files, by path; a class may stand for itself by its short name.

        Raises:
            InputError: see `zoo.runs.configs.find` and `read`.
        """
        files = {}
        for word in self._named:
            if word.option in CONFIG:
                if word.value is None:
                    names = ", ".join(configs.shipped())
                    raise InputError(f"{word.option} needs a file or the name of a shipped config: {names}")
                path = configs.find(word.value)
                files[path] = configs.read(path)
        return files

    @cached_property
    def _expanded(self) -> dict[Path, Config]:
        return {path: configs.expand(config) for path, config in self.files.items()}

    @cached_property
    def classes(self) -> Config:
        """The classes that options such as --model name, as a config."""
        classes: Config = {}
        for word in self._named:
            if word.option not in CONFIG:
                key, value = word.option.removeprefix("--"), configs.class_value(word.option[2:], word.value or "")
                classes = configs.merge(classes, configs.expand(configs.check(word.option, {key: value})))
        return classes

    @cached_property
    def named(self) -> Config:
        """What configs and options such as --model say, as one config."""
        config: Config = {}
        for word in self._named:
            if word.option in CONFIG:
                config = configs.merge(config, self._expanded[configs.find(word.value or "")])
        return configs.merge(config, self.classes)

    @cached_property
    def config(self) -> Config:
        """`named` over `base`, without the checkpoint that it may name. Whoever builds from it may complete it."""
        return configs.merge(self.base, {key: value for key, value in self.named.items() if key != "ckpt_path"})

    @cached_property
    def said(self) -> Config:
        """All that the command line says, as a config; of the other options the names alone, with unread values."""
        said = copy.deepcopy({key: value for key, value in self.named.items() if key != "ckpt_path"})
        for option in self.options:
            section, _, name = option.option.removeprefix("--").partition(".")
            name = name.removeprefix("init_args.")
            if section in CLASS_KEYS and name:
                place = said.setdefault(section, {})
                place = place.setdefault("init_args", {}) if isinstance(place, dict) else {}
            else:
                place = said.setdefault(section, {}) if section in SECTIONS else said
                name = name if section in SECTIONS else section
            if isinstance(place, dict) and name and not name.endswith("+"):
                place[name] = option.value
        return said

    def start_from(self, base: Config) -> None:
        """Lay the config of a run or a checkpoint under all that the command line says."""
        self.base = base
        self.__dict__.pop("config", None)  # composed anew

    def value(self, key: str) -> Any:
        """Return the value of a dotted key: the text on the command line, else the configs' value, None if unset."""
        texts = [option.value for option in self.options if option.option == f"--{key}"]
        return texts[-1] if texts else _value(self.config, key)

    def source(self, key: str) -> str:
        """Return " (in FILE)" for the last config that sets a dotted key; "" if the command line sets it, or none."""
        if any(option.option == f"--{key.replace('.init_args', '')}" for option in self.options):
            return ""
        if _value(self.classes, key) is not None:
            return ""
        files = [path for path, config in self._expanded.items() if _value(config, key) is not None]
        return f" (in {files[-1]})" if files else ""

    def for_parser(self) -> list[str]:
        """Return the words that the parser gets: everything that was named as one config, and the other options."""
        config = ["--config", configs.as_yaml(self.config)] if self.config else []
        return [*config, *self.rest, *(["--help"] if self.help_section is not None else [])]

    @property
    def runs_dir(self) -> Path:
        """The folder of runs."""
        return user_path(str(self.value("runs_dir") or "runs"))


def _value(config: Any, key: str) -> Any:
    """Return the value of a dotted key; None if there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def needs_model(command_line: CommandLine) -> InputError:
    """Return the error for a command line that names no model."""
    files = command_line.files
    read_in_vain = f", and {' and '.join(map(str, files))} names none" if files else ""
    complete = [name for name in configs.shipped() if configs.read(configs.find(name)).get("model")]
    return InputError(
        f"{command_line.command} needs a model{read_in_vain}: name one by --config ({', '.join(complete)}) "
        f"or --model ({', '.join(registry.entries())})"
    )
