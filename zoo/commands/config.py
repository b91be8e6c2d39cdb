"""`config`: write a commented config for any model of the zoo, or check a stranger's config."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datamodules.errors import InputError, error_line, one_line, printable
from zoo.catalogue import anatomy, registry
from zoo.commands import output
from zoo.commands.arguments import Parser
from zoo.core import about
from zoo.core.about import FROM_DATA
from zoo.core.text_table import wrap
from zoo.runs import configs, options
from zoo.runs.command_line import CommandLine
from zoo.runs.options import help_text

if TYPE_CHECKING:
    from zoo.core.classifier import Classifier

SECTIONS = (*options.CLASS_KEYS, *options.SECTIONS)
# For a model without a config of its own.
START: configs.Config = {
    "data": {"crop_padding": 2, "horizontal_flip": True},
    "lr_schedule": {"class_path": "zoo.core.schedules.Cosine"},
    "trainer": {"max_epochs": 20},
}


def main(argv: list[str]) -> int:
    """Run `config` and return its exit code: 0, or 1 if a checked config names foreign code."""
    parsed = parse(argv)
    if parsed.check is not None:
        return _check(configs.find(parsed.check))
    entry = registry.find(parsed.model)
    if parsed.out is not None and os.path.lexists(parsed.out):
        raise InputError(f"--out {parsed.out} is there already: give another name")
    from zoo.core.installation import check_torch

    check_torch()  # before modules that import torch
    command = f"python cli.py fit --config {shlex.quote(str(parsed.out or 'FILE'))}"
    text = starter(entry, command, registry.data.find(parsed.data))
    if parsed.out is None:
        sys.stdout.write(text)
        return 0
    output.write("--out", parsed.out, text.encode(), replace=False)
    output.say_line(f"Config: {parsed.out}; train with it: {command}")
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options on the command line."""
    parser = Parser(prog="python cli.py config", description="Write a commented config, or check one.")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="one of: python cli.py list; or my_module.MyNet")
    parser.add_argument("--out", metavar="FILE", type=Path, help="a new file (default: to the screen)")
    data = "for another data set: python cli.py list --data (default: %(default)s)"
    parser.add_argument("--data", metavar="DATA", default=configs.DATA_MODULE.rpartition(".")[2], help=data)
    foreign = "name the foreign classes in FILE, without importing them; exit with 1 if there are any, else 0"
    parser.add_argument("--check", metavar="FILE", help=foreign)
    options = parser.parse_args(argv)
    if options.check is not None and (options.model or options.out):
        raise InputError("config --check takes a config alone: leave out the model and --out")
    if options.model is None and options.check is None:
        raise InputError(f"config needs a model: {', '.join(registry.entries())}")
    return options


def _check(path: Path) -> int:
    """Print the foreign code that a config names, without importing it."""
    config = configs.read(path)
    from zoo.core.installation import check_torch

    check_torch()  # the lists of classes need torch
    from zoo.runs import trust

    foreign = list(trust.names(config))
    for key, name in foreign:
        print(f"{printable(key)}: {error_line(name)}")
    count = "1 class or function" if len(foreign) == 1 else f"{len(foreign)} classes or functions"
    unknown = f"{count} that this project does not know. fit --config would import and run them."
    known = "no classes but known ones of this project, torch and lightning."
    output.say_line(f"{path} names {unknown if foreign else known}")
    return 1 if foreign else 0


def starter(entry: registry.Entry, command: str, data: registry.Entry | None = None) -> str:
    """Return a config of a model as YAML, with a comment for each option.

    Args:
        entry: of the model.
        command: trains with the config.
        data: the entry of the data set, by default that of CIFAR-10.
    """
    model = registry.load(entry.name)
    own = about.read(model).config
    data = data or registry.data.find(configs.DATA_MODULE)
    config = _complete(entry, model, CommandLine(["fit", "--config", own]).config if own else START, data)
    optimizer, schedule = (configs.import_class(config[key]["class_path"]) for key in ("optimizer", "lr_schedule"))
    sections = [
        _head(entry.name, own, command),
        _class("model", config, _arguments(model)),
        _options_of("data", config),
        _class("optimizer", config, _optimizer_arguments(optimizer)),
        _class("lr_schedule", config, _arguments(schedule)),
        _options_of("trainer", config),
        *(_option(key, value, help_text(key)) for key, value in config.items() if key not in SECTIONS),
    ]
    return "\n".join("".join(f"{line}\n" for line in section) for section in sections)


def _complete(
    entry: registry.Entry, model: "type[Classifier]", base: configs.Config, data_set: registry.Entry
) -> configs.Config:
    """Return the config `base` for a model and a data set, with the defaults that people set first."""
    from zoo.runs import data_modules

    chosen = {"class_path": entry.name}
    if configs.same_class((base.get("model") or {}).get("class_path"), entry.class_path):
        chosen = base["model"] | chosen
    defaults = data_modules.defaults(registry.data.load(data_set.class_path))
    data = {name: defaults[name] for name in options.names("data") if name in defaults and help_text(f"data.{name}")}
    if data_set.class_path != configs.DATA_MODULE:
        base = configs.merge_configs(base, {"data": {"class_path": data_set.class_path}})
        data = {"class_path": data_set.name} | data
        base["data"].pop("class_path")
    base = {key: value for key, value in base.items() if value is not None and key not in ("name", "model")}
    classes = {"optimizer": model.default_optimizer, "lr_schedule": {"class_path": "zoo.core.schedules.Constant"}}
    trainer = {"max_epochs": options.TRAINER_DEFAULTS["max_epochs"]}
    sections = {"data": data | base.get("data", {}), "trainer": trainer | base.get("trainer", {})}
    return classes | base | sections | {"model": chosen}


def _head(name: str, own: str, command: str) -> list[str]:
    values = f"with the values of configs/{own}.yaml" if own else "with plain values that are not tuned"
    return [
        f"# A config of {name} to start from, {values}.",
        "#",
        f"#   {printable(command)}",
        "#",
        f"# All about the model: python cli.py info {name}",
        "# All options: python cli.py fit --help all",
    ]


def _arguments(cls: type) -> list[anatomy.Argument]:
    """Return the arguments of a class, without those that follow from the data."""
    return [argument for argument in anatomy.arguments(cls) if argument.name not in FROM_DATA]


def _optimizer_arguments(cls: type) -> list[anatomy.Argument]:
    """Return the arguments of an optimizer, with a sentence each.

    Those that are left out are the parameters, and PyTorch's keyword-only arguments, which concern speed.
    """
    _, *arguments = [argument for argument in anatomy.arguments(cls) if not argument.keyword_only]
    sentences = [re.split(r"\. | \(default", argument.text)[0] for argument in arguments]
    plain = [re.sub(r"`([^`]*)`_", r"\1", sentence) for sentence in sentences]  # without links
    return [argument._replace(text=text) for argument, text in zip(arguments, plain, strict=True)]


def _class(key: str, config: configs.Config, arguments: Sequence[anatomy.Argument]) -> Iterator[str]:
    """Yield the lines of a class and all its arguments, with the values of `config` or their defaults."""
    texts = {argument.name: _text(argument) for argument in arguments}
    defaults = {argument.name: argument.default for argument in arguments}
    values = defaults | (config[key].get("init_args") or {})
    lines = [line for name, value in values.items() for line in _option(name, value, texts.get(name, ""), "    ")]
    yield from _comment(help_text(key), "")
    yield f"{key}:"
    yield f"  class_path: {config[key]['class_path']}"
    if lines:
        yield "  # init_args:" if all(line.startswith("    #") for line in lines) else "  init_args:"
        yield from lines


def _text(argument: anatomy.Argument) -> str:
    """Return the text about an argument, with its choices if the text does not name them."""
    choices = re.findall(r"'([^']*)'", argument.type) if argument.type.startswith("Literal[") else []
    if all(choice in argument.text for choice in choices):
        return argument.text
    return f"{argument.text} One of {', '.join(choices)}.".lstrip()


def _options_of(section: str, config: configs.Config) -> Iterator[str]:
    yield f"{section}:"
    for name, value in config[section].items():
        yield from _option(name, value, help_text(f"{section}.{name}"), "  ")


def _option(name: str, value: Any, text: str, indent: str = "") -> Iterator[str]:
    """Yield a comment, and `name: value`; as a comment too if YAML cannot hold the value."""
    yield from _comment(text, indent)
    if value is anatomy.REQUIRED:
        yield f"{indent}# {name}:   # has no default: give a value"
        return
    try:
        yield f"{indent}{name}: {configs.as_word(value)}"
    except yaml.representer.RepresenterError:  # an object, the default
        yield f"{indent}# {name}: {one_line(repr(value))}"


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return [printable(line) for line in wrap(text, start, start).splitlines()]
