"""`info`: all about a model: its docstring, arguments, layers, results, and where its code is."""

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from datamodules.errors import InputError, did_you_mean, one_line
from zoo.catalogue import anatomy, model_facts, registry
from zoo.commands import output
from zoo.commands.arguments import Parser
from zoo.commands.list import as_json, make_row
from zoo.core import about, text_table
from zoo.core.about import FROM_DATA
from zoo.core.installation import check_torch
from zoo.core.text_table import WIDTH, wrap
from zoo.runs import configs
from zoo.runs.command_line import CommandLine, Word, split

LONGEST_TYPE = 60  # letters; of a longer one the outermost parts are shown


def main(argv: list[str]) -> int:
    """Run `info` and return its exit code, 0."""
    options = parse(argv)
    entry = registry.find(options.model)
    check_torch()  # before the imports that need a working torch
    page = inspect_model(entry, options.arguments)
    if options.json:
        output.say_json(page)
    else:
        output.say("\n".join(_lines(page)))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py info", description="All about a model.")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="one of: python cli.py list; or my_module.MyNet")
    parser.add_argument("--json", action="store_true", help="the same, as JSON")
    chosen = "an argument of the model: its size and its layers are those of the model with this value"
    parser.add_argument("--model.ARGUMENT", dest="arguments", metavar="VALUE", help=chosen)
    words = list(split(argv))
    given = [word for word in words if re.match(r"--model\.(?!ARGUMENT)", word.option)]
    options = parser.parse_args([part for word in words if word not in given for part in word.words])
    options.arguments = {word.option.removeprefix("--model."): _value(word) for word in given}
    if options.model is None:
        raise InputError(f"info needs a model: {', '.join(registry.entries())}")
    return options


def _value(word: Word) -> Any:
    if word.value is None:
        raise InputError(f"info: {word.option} needs a value")
    return configs.parse(word.option, word.value)


def inspect_model(entry: registry.Entry, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return all there is to say about a model, with the size and the layers that it has with `arguments`.

    Keeps the size with the default arguments for `list`.
    """
    from zoo.trained import trained_model  # imports torch

    model = registry.load(entry.name)
    known = [argument.name for argument in anatomy.arguments(model)]
    for name in arguments:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"{model.__name__} has no argument '{name}'.{hint} It has: {', '.join(known)}")
    facts, layers, problem = model_facts.Facts(about.read(model)), [], None
    try:
        measured = anatomy.measure(model, partial(trained_model.build, model, arguments) if arguments else None)
        layers = [layer._asdict() for layer in measured.layers]
        facts = facts._replace(parameters=measured.parameters, flops=measured.flops)
    except InputError as error:  # an argument without a default, say: the rest of the page is still known
        if arguments:
            raise
        problem = one_line(error)
    file, line = anatomy.source(model) or (None, None)
    if file and not arguments:
        model_facts.remember(entry, facts, os.fspath(file))
    shipped = [(name, CommandLine(["fit", "--config", name]).config.get("model") or {}) for name in configs.shipped()]
    row = make_row(entry, facts)
    return as_json(row._replace(result=None) if arguments else row) | {
        "chosen": dict(arguments),
        "description": anatomy.description(model),
        "arguments": [_argument(argument) for argument in anatomy.arguments(model)],
        "layers": layers,
        "problem": problem,
        "optimizer": model.default_optimizer,
        "configs": [name for name, own in shipped if configs.same_class(own.get("class_path"), entry.class_path)],
        "file": file and os.fspath(file),
        "line": line,
    }


def _argument(argument: anatomy.Argument) -> dict[str, Any]:
    required = argument.default is anatomy.REQUIRED
    default = {} if required else {"default": argument.default}
    return {"name": argument.name, "type": argument.type, "required": required, **default, "text": argument.text}


def _lines(page: Mapping[str, Any]) -> Iterator[str]:
    origin = "" if page["package"] in (registry.DISTRIBUTION, "") else f", from the package {page['package']}"
    chosen = ", ".join(f"{name}={value!r}" for name, value in page["chosen"].items())
    yield f"{page['name']}{origin}" + (f", with {chosen}" if chosen else "")
    if page["description"]:
        yield f"\n{_wrapped(page['description'])}"
    if page["arguments"]:
        yield "\narguments, as --model.NAME VALUE:"
        for argument in page["arguments"]:
            yield from _argument_lines(argument)
    if page["layers"]:
        yield from ("", *_layer_lines(page["layers"], page["parameters"]))
    yield ""
    for name, value in filter(itemgetter(1), _facts(page)):
        yield wrap(value, f"{name:<13}")


def _wrapped(description: str) -> str:
    """Return a docstring whose paragraphs and lists are wrapped; its tables and commands stay as they are."""
    blocks = []
    for block in description.split("\n\n"):
        entries = [" ".join(entry.split()) for entry in re.split(r"\n(?=- )", block)]
        filled = (wrap(entry, others="  " if entry.startswith("- ") else "") for entry in entries)
        is_fixed = block.startswith(" ") or max(map(len, block.splitlines()), default=0) <= WIDTH
        blocks.append(block if is_fixed else "\n".join(filled))
    return "\n\n".join(blocks)


def _argument_lines(argument: Mapping[str, Any]) -> Iterator[str]:
    kind = argument["type"]
    kind = re.sub(r"\[.*\]", "", kind) if len(kind) > LONGEST_TYPE else kind
    named = f"{argument['name']}: {kind}" if kind else argument["name"]
    yield f"  {named}" + (", required" if argument["required"] else f" = {argument['default']!r}")
    text = argument["text"] + (" Follows from the data." if argument["name"] in FROM_DATA else "")
    if text:
        yield wrap(text, " " * 6)


def _layer_lines(layers: list[dict[str, Any]], total: int) -> list[str]:
    rows = [("layers, for CIFAR-10", "", "output", "parameters")]
    rows += [(f"  {row['name']}", row["kind"], str(tuple(row["output"])), f"{row['parameters']:,}") for row in layers]
    if (rest := total - sum(row["parameters"] for row in layers)) > 0:
        rows.append(("  outside of layers", "", "", f"{rest:,}"))
    return text_table.align(rows, right={3})


def _facts(page: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if page["problem"]:
        yield "not known", page["problem"]
    else:
        yield "parameters", f"{page['parameters']:,}"
        yield "FLOPs", f"{page['flops']:,} an image: forward pass, a multiply-add counts as two"
    yield "family", page["family"]
    yield "milestone", ", ".join(map(str, page["milestones"]))
    yield "tags", ", ".join(page["tags"])
    settings = ", ".join(f"{name}={value}" for name, value in page["optimizer"].get("init_args", {}).items())
    yield "optimizer", f"{page['optimizer']['class_path']}({settings})"
    yield "paper", page["paper"]
    if page["result"]:
        yield "best result", f"{page['result']['text']}, by: {page['result']['command']}"
    yield "configs", ", ".join(page["configs"])
    if page["file"]:
        yield "code", f"{page['file']}:{page['line']}"
