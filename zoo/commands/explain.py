"""Show what a trained network looks at, in your own pictures or else in ten validation images, the classes in turn. The
pages are PNG files in a new folder of the run, explain/1, explain/2 and so on. They are in TensorBoard, too."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.errors import InputError, one_line, printable
from datamodules.readers import image_files
from zoo.commands import output
from zoo.commands.arguments import Parser, add_checkpoint, check_choice
from zoo.commands.predict import read_pictures
from zoo.core.installation import check_torch
from zoo.runs.run_directory import CONFIG, EXPLAIN, folder_of, home

if TYPE_CHECKING:
    import numpy as np

    from zoo.interpretation.images import Chosen
    from zoo.trained.trained_model import Trained

# Methods that show which pixels speak for a class: columns of one page.
ATTRIBUTIONS = {
    "cam": "class-activation maps (Grad-CAM): where a convolution found what speaks for the class",
    "saliency": "how fast the class's logit changes with each pixel",
    "integrated_gradients": "what each pixel adds to the logit",
    "occlusion": "what the logit loses when a square is covered",
}
# Methods with a page of their own.
PAGES = {
    "filters": "the first layer's weights as images",
    "features": "the outputs of layers",
    "neighbours": "the most similar training images in the eyes of the network",
}
METHODS = ATTRIBUTIONS | PAGES
ALL = "all"
IMAGES, MOST = 10, 50  # images by default, and at most: a page of 50 is 8,000 pixels high
LONGEST_NAME = 32  # letters


def main(argv: list[str]) -> int:
    """Run `explain` and return its exit code, 0."""
    options = parse(argv)
    paths = image_files.find(options.pictures)
    # Errors on the command line come at once; from here on, torch takes seconds to import.
    check_torch()
    from zoo.interpretation import images, layer_outputs, page_writer
    from zoo.trained import trained_model

    model = trained_model.load(options.ckpt, options.runs_dir, options.model, options.accelerator, options.net)
    folder = folder_of(model.path, EXPLAIN)
    page_writer.check_free(options.out or page_writer.next_numbered(folder))
    if options.explained is not None:
        check_choice("--class", options.explained, model.class_names)
    if options.layer is not None:
        layer_outputs.check(model.model, options.layer)
    images.check_finite(model)
    methods = _methods(options, model)
    output.note(model.describe())
    output.note_unused_gpu(model, options.accelerator)
    pages = _draw(model, methods, options, _read(paths, model) if paths else None)
    _write(pages, options.out, folder)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    methods = "\n".join(f"  {name:<21} {text}" for name, text in METHODS.items())
    parser = Parser(
        prog="python cli.py explain",
        description=__doc__,
        epilog=f"methods:\n{methods}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("pictures", metavar="PICTURE", nargs="*", help="a file, a folder, or a quoted pattern, as predict takes them")
    add_checkpoint(parser)
    method = f"one of those below, several times for several, or {ALL} (default: {', '.join(ATTRIBUTIONS)})"
    add("--method", metavar="METHOD", action="append", help=method)
    add("--layer", metavar="NAME", help="for cam (default: the last convolution) and features; info MODEL lists them")
    add("--class", metavar="NAME", dest="explained", help="the class to explain (default: the predicted class)")
    images = f"how many images of the data set without PICTUREs, 1 to {MOST} (default: {IMAGES})"
    add("--images", metavar="N", type=int, help=images)
    add("--indices", metavar="I", type=int, nargs="+", help="numbers of images, as predict --test_set lists them")
    add("--test_set", action="store_true", help="take test images, not validation images")
    place = "folder of the data set (default: the run's, CIFAR10_DIR, or data)"
    add("--data_dir", metavar="DIR", type=Path, help=place)
    add("--out", metavar="DIR", type=Path, help="a new folder for the pages, which then stay out of TensorBoard")
    options = parser.parse_args(argv)
    _check(options)
    return options


def _check(options: argparse.Namespace) -> None:
    """Raise InputError for images that are named in two ways, an unknown method, or an option that no method uses."""
    choices = {"--images": options.images, "--indices": options.indices, "--test_set": options.test_set or None}
    given = [name for name, value in choices.items() if value is not None]
    if options.pictures and given:
        raise InputError(f"explain takes PICTUREs or {given[0]}, not both: leave out one of them")
    if {*(options.method or ())} == {"filters"} and (options.pictures or given):
        raise InputError("--method filters shows the network, and no images: leave them out, or add another method")
    if options.images is not None and options.indices is not None:
        raise InputError("explain takes --images or --indices, not both: leave out one of them")
    if options.images is not None and not 1 <= options.images <= MOST:
        raise InputError(f"--images {options.images} is out of range: give a number from 1 to {MOST}")
    if options.indices is not None and len(options.indices) > MOST:
        raise InputError(f"--indices names {len(options.indices)} images: a page takes {MOST} at most")

    wanted = options.method or [*ATTRIBUTIONS]
    for name in wanted:
        check_choice("--method", name, (*METHODS, ALL))
    uses = {"--layer": ("cam", "features"), "--class": ATTRIBUTIONS}
    for option, value in (("--layer", options.layer), ("--class", options.explained)):
        if value is not None and not {ALL, *uses[option]} & set(wanted):
            raise InputError(f"{option} {value} is for --method {' or '.join(uses[option])}: add one, or leave it out")
    if options.data_dir and options.pictures and not {ALL, "neighbours"} & set(wanted):
        raise InputError(f"--data_dir {options.data_dir} is where the data set lies: leave it out, or the PICTUREs")


def _methods(options: argparse.Namespace, model: "Trained") -> list[str]:
    """Return the methods to use in their order, without unnamed methods that do not fit the model."""
    from zoo.interpretation.pages import misfit

    named = [method for method in options.method or () if method != ALL]
    wanted = METHODS if ALL in (options.method or ()) else named or ATTRIBUTIONS
    problems = {method: misfit(model.model, method, options.layer) for method in METHODS if method in wanted}
    for method, problem in problems.items():
        if problem and method in named:
            others = [other for other in METHODS if not misfit(model.model, other, options.layer)]
            raise InputError(f"--method {method}: {problem}; what fits: {', '.join(others)}")
        if problem:
            output.note(f"no {method}: {problem}")
    return [method for method, problem in problems.items() if not problem]


def _read(paths: Sequence[Path], model: "Trained") -> "Chosen":
    """Read pictures, at most one page of them."""
    import numpy as np
    import torch

    from zoo.interpretation.images import Chosen
    from zoo.plots.mosaic import LETTER, shorten

    pictures = read_pictures(paths, model, MOST)
    names = [shorten(printable(picture.path.name), LONGEST_NAME * LETTER) for picture in pictures]
    return Chosen(names, torch.from_numpy(np.stack([picture.pixels for picture in pictures])))


def _draw(
    model: "Trained", methods: Sequence[str], options: argparse.Namespace, chosen: "Chosen | None"
) -> "dict[str, np.ndarray]":
    """Return the pages by name, for `chosen` images or else for images of the data set."""
    from zoo.interpretation import images, pages

    drawn = {"filters": pages.first_filters(model)} if "filters" in methods else {}
    if methods == ["filters"]:
        return drawn
    stages = ["fit"] if "neighbours" in methods or (chosen is None and not options.test_set) else []
    data = images.training_data(model, options.data_dir, stages + ["test"] * options.test_set)
    if stages or options.test_set:
        output.note(data.describe())
    if chosen is None:
        chosen = images.choose(data, "test" if options.test_set else "val", options.images or IMAGES, options.indices)
    explained = None if options.explained is None else model.class_names.index(options.explained)
    classified = images.classify(model, chosen, explained)
    if attributions := [method for method in methods if method in ATTRIBUTIONS]:
        drawn["attributions"] = pages.attributions(model, classified, attributions, options.layer)
    if "features" in methods:
        drawn["features"] = pages.features(model, classified, options.layer)
    if "neighbours" in methods:
        cache = home(model.path) / EXPLAIN / f"features_{model.path.stem}.npz"
        assert data.train is not None
        drawn["neighbours"] = pages.nearest(model, classified, data.train, cache)
    return drawn


def _write(pages: "Mapping[str, np.ndarray]", out: Path | None, folder: Path) -> None:
    """Write the pages to `out`, or else to a new folder in `folder` and to the run's TensorBoard."""
    from zoo.interpretation import page_writer

    try:
        if out is not None:
            page_writer.write(pages, out)
        place = out or page_writer.write_numbered(pages, folder)
    except FileExistsError as error:
        problem = "another process wrote pages there in the meantime: give the name of a new folder"
        raise InputError(f"--out {out or folder}: {problem}") from error
    except OSError as error:
        raise InputError(f"--out {out or folder} cannot be written: {error.strerror or error}") from error
    for name in pages:
        output.say_line(f"written: {output.from_here(place / name)}.png")
    if out is None and (folder.parent / CONFIG).is_file():
        try:
            logs = page_writer.log(pages, folder.parent, int(place.name))
            output.say_line(f"TensorBoard: {output.from_here(logs)}, step {place.name}")
        except OSError as error:  # the pages are written, and this is a copy of them
            print(f"warning: not in TensorBoard: {one_line(error)}", file=sys.stderr)
