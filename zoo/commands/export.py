"""`export` writes a trained model as a file that needs less than this project, checks it, and puts a card beside it."""

import argparse
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from datamodules.errors import InputError
from zoo.commands import output
from zoo.commands.arguments import Parser, add_checkpoint, add_views, check_choice
from zoo.core.installation import check_torch
from zoo.core.views import NO_VIEWS, VIEWS
from zoo.runs.run_directory import EXPORT, folder_of

# A module of `zoo.exporting` each, and the packages that it needs beside those of every installation.
FORMATS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "pt2": (),
    "safetensors": ("safetensors",),
    "npz": (),
}
WEIGHTS = ("safetensors", "npz")  # formats without the computation, and so without views


def main(argv: list[str]) -> int:
    """Run `export` and return its exit code, 0."""
    options = parse(argv)
    for package in FORMATS[options.format]:
        if find_spec(package) is None:
            problem = f"needs {package}, which is not installed: pip install 'cifar10-zoo[export]'"
            raise InputError(f"--format {options.format} {problem}")
    if options.out is not None:
        _check_free(options.out, options.overwrite)
    check_torch()  # before the import of what needs a torch that works
    from zoo.core import devices
    from zoo.exporting import card, check
    from zoo.trained import trained_model

    kind = import_module(f"zoo.exporting.{options.format}")
    origin = trained_model.load(options.ckpt, options.runs_dir, options.model, net=options.net, tta=options.tta)
    if options.format in WEIGHTS and origin.model.tta != NO_VIEWS:
        output.note(f"{options.format} holds weights alone: the file's predictions are of one view, the image itself")
        origin.model.set_tta(NO_VIEWS)
    device = devices.of_model(type(origin.model), options.accelerator)  # for the check; files are written on the CPU
    output.note_unused_gpu(origin, options.accelerator)
    name = f"{type(origin.model).__name__}.{options.format}"
    out = options.out or output.from_here(folder_of(origin.path, EXPORT) / name)
    _check_free(out, options.overwrite)
    content = kind.content(origin.model, card.metadata(origin))
    devices.move(origin.model, device)
    try:
        with TemporaryDirectory() as folder:
            file = Path(folder) / out.name
            file.write_bytes(content)
            # Programs have the network inside; a file of weights alone needs its code.
            needs_net = options.net and options.format == "safetensors"
            run = partial(kind.probabilities, net=options.net) if needs_net else kind.probabilities
            checked = check.compare(file, run, origin.model, check.images_for(origin))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}") from error
    exported = card.File(
        out.name, len(content), kind.TITLE, kind.INSTALL, FORMATS[options.format], kind.probabilities, checked
    )
    text = card.text(origin, exported)  # before anything is written
    output.write("--out", out, content, replace=options.overwrite)
    output.write("--out", _card(out), text.encode(), replace=options.overwrite)
    output.say_line(f"from:  {origin.path}")
    output.say_line(f"file:  {out} ({len(content) / 1e6:.2f} MB)")
    output.say_line(f"card:  {_card(out)}")
    output.say_line(
        f"check: on {checked.images}, the largest difference of a probability is {checked.difference:.1e} "
        f"(allowed: {check.TOLERANCE:.0e})"
    )
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py export", description=__doc__)
    add_checkpoint(parser)
    add_views(parser)
    parser.add_argument("--format", metavar="FORMAT", required=True, help=f"one of {', '.join(FORMATS)}")
    out = f"where to write to (default: {EXPORT}/MODEL.FORMAT in the run's directory)"
    parser.add_argument("--out", metavar="FILE", type=Path, help=out)
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    options = parser.parse_args(argv)
    check_choice("--format", options.format, FORMATS)
    check_choice("--tta", options.tta, VIEWS)
    if options.format in WEIGHTS and options.tta not in (None, NO_VIEWS):
        problem = f"{options.format} holds weights alone, without views: take --format onnx or pt2, or leave it out"
        raise InputError(f"--tta {options.tta}: {problem}")
    if options.out is not None and options.out.suffix[1:] in {*FORMATS} - {options.format}:
        raise InputError(f"--out {options.out} has the ending of another format than --format {options.format}")
    return options


def _card(out: Path) -> Path:
    return out.with_name(f"{out.name}.md")


def _check_free(out: Path, overwrite: bool) -> None:
    output.check_file("--out", out)
    for path in (out, _card(out)):
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already: add --overwrite, or name another place by --out FILE")
