"""`CommandLine`: the command line of `fit`, `validate` or `test`, parsed once."""

import copy
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.errors import InputError
from datamodules.paths import user_path
from zoo.catalogue import registry
from zoo.runs import configs
from zoo.runs.configs import Config
from zoo.runs.options import CLASS_KEYS, NAMING_KEYS, SECTIONS

HELP = ("-h", "--help")
CONFIG = ("--config", "-c")
CHECKPOINT = ("--ckpt", "--ckpt_path")  # Lightning's name is the second
RESUME = "--resume"


class Word(NamedTuple):
    """An option on a command line: its name with dashes, its value if it has one, and its one or two words."""

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
        options: the others, without those that name configs and classes.
        rest: `options` as words.
        base: the config of a run or a checkpoint, which the command line overrides.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self.command, *words = self.argv
        self.special: dict[str, str | None] = {}
        self.options: list[Word] = []
        self._configs: list[Word] = []
        self._classes: list[tuple[str, str]] = []
        for word in split(words):
            key = word.option.removeprefix("--").removesuffix(".class_path")
            if word.option in (*HELP, *CHECKPOINT, RESUME):
                self.special[word.option] = word.value
            elif word.option in CONFIG:
                self._configs.append(word)
            elif word.option.startswith("--") and key in NAMING_KEYS and word.value is not None:
                self._classes.append((key, word.value))
            else:
                self.options.append(word)
        self.rest = [word for option in self.options for word in option.words]
        self.base: Config = {}

    @property
    def help_section(self) -> str | None:
        """The section that --help names, "" if it names none; None without --help."""
        return next((self.special[name] or "" for name in HELP if name in self.special), None)

    def check_names(self) -> None:
        """Look up the configs and the models of the zoo, to report a misspelled name at once. Needs no torch."""
        for word in (word.option for word in self.options if not word.option.startswith("-")):
            meant = "--config" if word in configs.shipped() else "--model" if word in registry.entries() else None
            hint = f"Did you mean '{meant} {word}'?" if meant else "Options begin with --"
            raise InputError(f"'{word}' is not an option. {hint}")
        for key, find in (("model", registry.find), ("data", registry.data.find)):
            named = [config.get(key) for config in self.files.values()]
            named += [configs.class_value(key, value) for option, value in self._classes if option == key]
            for value in named:
                name = value.get("class_path") if isinstance(value, dict) else value
                if isinstance(name, str) and name and "." not in name:
                    find(name)

    @cached_property
    def files(self) -> dict[Path, Config]:
        """The configs as they are in their files, by path, in the order in which they override each other."""
        files: dict[Path, Config] = {}
        for word in self._configs:
            if word.value is None:
                names = ", ".join(configs.shipped())
                raise InputError(f"{word.option} needs a file or the name of a shipped config: {names}")
            path = configs.find(word.value)
            files[path] = files.pop(path, {}) or configs.read(path)
        return files

    @cached_property
    def _expanded(self) -> dict[Path, Config]:
        return {path: configs.expand(config) for path, config in self.files.items()}

    @cached_property
    def classes(self) -> Config:
        """The classes that options such as --model name, as a config."""
        classes: Config = {}
        for key, value in self._classes:
            config = configs.check(f"--{key}", {key: configs.class_value(key, value)})
            classes = configs.merge_configs(classes, configs.expand(config))
        return classes

    @cached_property
    def named(self) -> Config:
        """What configs and options such as --model say, as one config."""
        return reduce(configs.merge_configs, [*self._expanded.values(), self.classes], {})

    @cached_property
    def config(self) -> Config:
        """`named` over `base`, without the checkpoint that it may name. Callers may complete it."""
        return configs.merge_configs(self.base, {key: value for key, value in self.named.items() if key != "ckpt_path"})

    @cached_property
    def said(self) -> Config:
        """The whole command line as a config, without the checkpoint. Values of `options` are the words themselves."""
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
        """Set `base`."""
        self.base = base
        self.__dict__.pop("config", None)  # composed anew

    def value(self, key: str) -> Any:
        """Return the value of a dotted key: the command line's word, else the configs' value, else None."""
        texts = [option.value for option in self.options if option.option == f"--{key}"]
        return texts[-1] if texts else _value(self.config, key)

    def source(self, key: str) -> str:
        """Return " (in FILE)" for the last config that sets a dotted key; "" if the command line or no config does."""
        on_command_line = any(option.option == f"--{key.replace('.init_args', '')}" for option in self.options)
        if on_command_line or _value(self.classes, key) is not None:
            return ""
        files = [path for path, config in self._expanded.items() if _value(config, key) is not None]
        return f" (in {files[-1]})" if files else ""

    def for_parser(self) -> list[str]:
        """Return the words for the parser: `config` as YAML, and the other options."""
        config = self.config | ({"data": configs.data_spec(self.config["data"])} if "data" in self.config else {})
        given = ["--config", configs.as_yaml(config)] if config else []
        # The parser's own help knows the options of a class under the option that names the class.
        helps = {None: [], "data": ["--data.help", configs.data_spec(self.config.get("data") or {})["class_path"]]}
        return [*given, *self.rest, *helps.get(self.help_section, ["--help"])]

    @property
    def runs_dir(self) -> Path:
        """The folder of runs."""
        return user_path(str(self.value("runs_dir") or "runs"))


def _value(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config
