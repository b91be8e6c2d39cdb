"""`info`: all about a model: its docstring, arguments, layers, results, and where its code is."""

import argparse
import os
import textwrap
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

from datamodules.errors import InputError, one_line
from zoo.catalogue import anatomy, model_facts, registry
from zoo.commands import output
from zoo.commands.arguments import Parser
from zoo.commands.list import as_json, make_row
from zoo.core import about, text_table
from zoo.core.about import FROM_DATA
from zoo.runs import configs
from zoo.runs.command_line import CommandLine

WIDTH = 100


def main(argv: list[str]) -> int:
    """Run `info` and return its exit code, 0."""
    options = parse(argv)
    entry = registry.find(options.model)
    from zoo.core.installation import check_torch

    check_torch()  # before the imports that need a working torch
    page = inspect_model(entry)
    if options.json:
        output.say_json(page)
    else:
        output.say("\n".join(_lines(page)))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py info", description="All about a model.")
    parser.add_argument("model", metavar="MODEL", nargs="?", help="one of: python cli.py list; or my_module.MyNet")
    parser.add_argument("--json", action="store_true", help="the same, as JSON")
    options = parser.parse_args(argv)
    if options.model is None:
        raise InputError(f"info needs a model: {', '.join(registry.entries())}")
    return options


def inspect_model(entry: registry.Entry) -> dict[str, Any]:
    """Return all there is to say about a model, and keep its size for `list`."""
    model = registry.load(entry.name)
    facts, layers, problem = model_facts.Facts(about.read(model)), [], None
    try:
        measured = anatomy.measure(model)
        layers = [layer._asdict() for layer in measured.layers]
        facts = facts._replace(parameters=measured.parameters, flops=measured.flops)
    except InputError as error:  # an argument without a default, say: the rest of the page is still known
        problem = one_line(error)
    file, line = anatomy.source(model) or (None, None)
    if file:
        model_facts.remember(entry, facts, os.fspath(file))
    shipped = [(name, CommandLine(["fit", "--config", name]).config.get("model") or {}) for name in configs.shipped()]
    return as_json(make_row(entry, facts)) | {
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
    yield f"{page['name']}{origin}"
    if page["description"]:
        yield f"\n{page['description']}"
    if page["arguments"]:
        yield "\narguments, as --model.NAME VALUE:"
        for argument in page["arguments"]:
            yield from _argument_lines(argument)
    if page["layers"]:
        yield from ("", *_layer_lines(page["layers"], page["parameters"]))
    yield ""
    for name, value in filter(itemgetter(1), _facts(page)):
        yield textwrap.fill(value, WIDTH, initial_indent=f"{name:<13}", subsequent_indent=" " * 13, **UNBROKEN)


UNBROKEN: Any = {"break_long_words": False, "break_on_hyphens": False}  # for links and paths


def _argument_lines(argument: Mapping[str, Any]) -> Iterator[str]:
    kind = f": {argument['type']}" if argument["type"] else ""
    yield f"  {argument['name']}{kind}" + (", required" if argument["required"] else f" = {argument['default']!r}")
    text = argument["text"] + (" Follows from the data." if argument["name"] in FROM_DATA else "")
    if text:
        yield textwrap.fill(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, **UNBROKEN)


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
