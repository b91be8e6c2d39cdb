"""`export` writes a trained model as a file that needs less than this project, checks it, and puts a card beside it."""

import argparse
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from datamodules.errors import InputError
from zoo.commands import output
from zoo.commands.arguments import Parser, add_checkpoint, check_choice, check_unknown
from zoo.core import files
from zoo.core.installation import check_torch
from zoo.runs.run_directory import EXPORT, folder_of

# A module of `zoo.exporting` each, and the packages that it needs beside those of every installation.
FORMATS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "pt2": (),
    "safetensors": ("safetensors",),
    "npz": (),
}


def main(argv: list[str]) -> int:
    """Run `export` and return its exit code, 0."""
    options = parse(argv)
    _check_installed(options.format)
    if options.out is not None:
        _check_free(options.out, options.overwrite)
    check_torch()  # before the import of what needs a torch that works
    from zoo.core import devices
    from zoo.exporting import card, check, metadata
    from zoo.trained import trained_model

    kind = import_module(f"zoo.exporting.{options.format}")
    origin = trained_model.load(options.ckpt, options.runs_dir, options.model)
    device = devices.of_model(type(origin.model), options.accelerator)  # for the check; files are written on the CPU
    output.note_unused_gpu(origin, options.accelerator)
    name = f"{type(origin.model).__name__}.{options.format}"
    out = options.out or output.from_here(folder_of(origin.path, EXPORT) / name)
    _check_free(out, options.overwrite)
    content = kind.content(origin.model, metadata.collect(origin))
    devices.move(origin.model, device)
    try:
        with TemporaryDirectory() as folder:
            file = Path(folder) / out.name
            file.write_bytes(content)
            checked = check.compare(file, kind.probabilities, origin.model, check.images_for(origin))
        exported = card.File(
            out.name, len(content), kind.TITLE, kind.INSTALL, FORMATS[options.format], kind.probabilities, checked
        )
        text = card.text(origin, exported)  # before anything is written
        files.write(out, content, replace=options.overwrite)
        files.write(_card(out), text.encode(), replace=options.overwrite)
    except OSError as error:
        if isinstance(error, FileExistsError) and out.exists():
            raise InputError(f"{out} was written by another process in the meantime, and is left as it is") from error
        raise InputError(f"{out} cannot be written: {error}") from error
    output.say_line(f"from:  {origin.path}")
    output.say_line(f"file:  {out} ({len(content) / 1e6:.2f} MB)")
    output.say_line(f"card:  {_card(out)}")
    output.say_line(
        f"check: on {checked.images}, the largest difference of a probability is {checked.difference:.1e} "
        f"(allowed: {check.TOLERANCE:.0e})"
    )
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options on the command line."""
    parser = Parser(prog="python cli.py export", description=__doc__, allow_abbrev=False)
    add_checkpoint(parser)
    parser.add_argument("--format", metavar="FORMAT", required=True, help=f"one of {', '.join(FORMATS)}")
    out = f"where to write to (default: {EXPORT}/MODEL.FORMAT in the run's directory)"
    parser.add_argument("--out", metavar="FILE", type=Path, help=out)
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    options, unknown = parser.parse_known_args(argv)
    check_unknown("export", unknown, vars(options))
    check_choice("--format", options.format, FORMATS)
    if options.out is not None and options.out.suffix[1:] in {*FORMATS} - {options.format}:
        raise InputError(f"--out {options.out} has the ending of another format than --format {options.format}")
    return options


def _check_installed(file_format: str) -> None:
    for package in FORMATS[file_format]:
        if find_spec(package) is None:
            raise InputError(
                f"--format {file_format} needs {package}, which is not installed: pip install 'cifar10-zoo[export]'"
            )


def _card(out: Path) -> Path:
    return out.with_name(f"{out.name}.md")


def _check_free(out: Path, overwrite: bool) -> None:
    try:
        if out.is_dir():
            raise InputError(f"--out {out} is a folder: give the name of a file")
        there = [path for path in (out, _card(out)) if path.exists()]
    except OSError as error:  # a name that is too long
        raise InputError(f"--out {out} cannot be looked at: {error}") from error
    if there and not overwrite:
        raise InputError(f"{there[0]} is there already: add --overwrite, or name another place by --out FILE")
