"""Classify pictures with a trained model: files of any size and format, the files in a folder, or the files that match
a quoted pattern such as "photos/*.jpg". Each picture is turned upright and laid over white if it is transparent, and
the square in its middle is resized to the model's image size, 32 x 32 pixels for CIFAR-10 (bicubic, antialiased). A
picture of that size stays as it is. A file that is no picture is skipped."""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from datamodules.errors import InputError, first_of, one_line, printable
from datamodules.readers import image_files
from zoo.commands import output
from zoo.commands.arguments import Parser, add_checkpoint, add_views, check_choice
from zoo.core import text_table
from zoo.core.installation import check_torch
from zoo.core.views import VIEWS

if TYPE_CHECKING:
    from zoo.trained.trained_model import Trained

MOST_ON_SHEET = 200  # pictures: the sheet is then 9,000 pixels high


class Row(NamedTuple):
    about: dict[str, Any]  # the first columns, which name the image
    probabilities: list[float]  # of each class

    def ranked(self) -> list[int]:
        """Return the classes, the most probable first."""
        return sorted(range(len(self.probabilities)), key=lambda label: -self.probabilities[label])


def main(argv: list[str]) -> int:
    """Run `predict` and return its exit code, 0."""
    options = parse(argv)
    paths = image_files.find(options.pictures)
    _check_outputs(options, {path: f"is one of the pictures ({path})" for path in paths})
    options.there = {path for path in (options.out, options.sheet) if path is not None and path.exists()}
    # Errors on the command line come at once; from here on, torch takes seconds to import.
    check_torch()
    from zoo.trained import trained_model

    chosen = options.ckpt, options.runs_dir, options.model, options.accelerator, options.net, options.tta
    model = trained_model.load(*chosen)
    _check_outputs(options, {model.path: "is the checkpoint"})
    output.note(model.describe())
    output.note_unused_gpu(model, options.accelerator)
    if options.test_set:
        _write(options, _predict_test_set(model, options.data_dir), model.class_names)
        return 0

    pictures = read_pictures(paths, model, thumbnails=MOST_ON_SHEET if options.sheet else 0)
    if transparent := [printable(picture.path) for picture in pictures if picture.transparent]:
        output.note(f"transparent, and laid over white: {first_of(transparent)}")
    probabilities = _probabilities(model, np.stack([picture.pixels for picture in pictures]))
    rows = [Row({"file": printable(picture.path)}, p) for picture, p in zip(pictures, probabilities, strict=True)]
    _write(options, rows, model.class_names)
    if options.sheet:
        _draw(options, pictures, rows, model)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py predict", description=__doc__)
    add = parser.add_argument
    add("pictures", metavar="PICTURE", nargs="*", help="a file, a folder, or a quoted pattern")
    add_checkpoint(parser)
    add_views(parser)
    add("--top", metavar="K", type=int, default=3, help="how many next classes the table names (default: %(default)s)")
    add("--format", help=f"{', '.join(FORMATS)} (default: table; csv for the test set)")
    add("--out", metavar="FILE", type=Path, help="write the predictions to a file instead of printing them")
    sheet = f"draw the first {MOST_ON_SHEET} pictures with their predictions"
    add("--sheet", metavar="FILE.png", type=Path, help=sheet)
    add("--test_set", action="store_true", help="classify the test set of the model, in place of PICTUREs")
    place = "folder of the test set (default: the run's, CIFAR10_DIR, or data)"
    add("--data_dir", metavar="DIR", type=Path, help=place)
    options = parser.parse_args(argv)

    if bool(options.pictures) == options.test_set:
        problem = "takes PICTUREs or --test_set, not both" if options.test_set else "needs pictures"
        raise InputError(f"predict {problem}: name files or folders, as in: predict cat.jpg photos")
    if options.test_set and options.sheet:
        raise InputError(f"--sheet {options.sheet} shows pictures, not the test set: leave it out, or --test_set")
    if options.data_dir and not options.test_set:
        raise InputError(f"--data_dir {options.data_dir} is where the test set lies: add --test_set, or leave it out")
    options.format = options.format or ("csv" if options.test_set else "table")
    check_choice("--format", options.format, FORMATS)
    check_choice("--tta", options.tta, VIEWS)
    if options.top < 0:
        raise InputError(f"--top {options.top} is out of range: give a number of at least 0")
    return options


def _check_outputs(options: argparse.Namespace, read: Mapping[Path, str]) -> None:
    """Raise InputError for an output that cannot be written, or that is read or written twice."""
    if options.sheet and options.sheet.suffix.lower() != ".png":
        raise InputError(f"--sheet {options.sheet}: give a file whose name ends in .png")
    taken = {path.resolve(): what for path, what in read.items()}
    for option, path in (("--out", options.out), ("--sheet", options.sheet)):
        if path is None:
            continue
        output.check_file(option, path)
        if path.resolve() in taken:
            raise InputError(f"{option} {path} {taken[path.resolve()]}: give another name")
        taken[path.resolve()] = f"is the file of {option}, too"


def read_pictures(
    paths: Sequence[Path], model: "Trained", most: int | None = None, thumbnails: int = 0
) -> list[image_files.ImageFile]:
    """Read up to `most` pictures for a model, the first ones with thumbnails, and note files that cannot be read.

    Raises:
        InputError: if no file can be read.
    """
    pictures: list[image_files.ImageFile] = []
    size, channels = model.model.image_size, model.model.channels
    for path in tqdm(paths, unit=" pictures", leave=False, delay=2, disable=None):
        if len(pictures) == most:
            output.note(f"the first {most} pictures are taken, of {len(paths)} files")
            break
        try:
            pictures.append(image_files.read(path, size, channels, len(pictures) < thumbnails))
        except InputError as error:
            tqdm.write(f"skipped {printable(path)}: {one_line(error)}", file=sys.stderr)
    if not pictures:
        raise InputError(f"none of the files named ({len(paths)}) is a picture that can be read")
    return pictures


def _probabilities(model: "Trained", images: np.ndarray) -> list[list[float]]:
    """Return the probabilities, (n, classes), of uint8 images (n, channels, size, size)."""
    from zoo.trained import inference  # torch takes seconds to import

    probabilities = inference.probabilities(model.model, images, model.model.tta)
    if not probabilities.isfinite().all():
        raise InputError(f"the probabilities of {model.path} are not finite numbers: its training diverged")
    return probabilities.tolist()


def _predict_test_set(model: "Trained", data_dir: Path | None) -> list[Row]:
    data = model.data(data_dir)
    data.setup("predict")
    output.note(data.describe())
    assert data.test is not None
    probabilities = _probabilities(model, data.test.images.permute(0, 3, 1, 2).numpy())
    numbers = zip(data.test.indices.tolist(), data.test.labels.tolist(), probabilities, strict=True)
    return [Row({"index": index, "label": data.class_names[label]}, p) for index, label, p in numbers]


def _table(rows: Sequence[Row], class_names: Sequence[str], top: int) -> str:
    lines = [[*rows[0].about, "class", "probability", "next"]]
    for row in rows:
        best, *others = row.ranked()
        following = ", ".join(f"{class_names[label]} {_percent(row, label)}" for label in others[:top])
        lines.append([*map(str, row.about.values()), class_names[best], _percent(row, best), following])
    return "".join(f"{line.rstrip()}\n" for line in text_table.align(lines))


def _percent(row: Row, label: int) -> str:
    return f"{100 * row.probabilities[label]:.1f} %"


def _csv(rows: Sequence[Row], class_names: Sequence[str], top: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*rows[0].about, "class", "probability", *class_names])
    for row in rows:
        best, *_ = row.ranked()
        numbers = [f"{value:.6f}" for value in (row.probabilities[best], *row.probabilities)]
        writer.writerow([*row.about.values(), class_names[best], *numbers])
    return text.getvalue()


def _json(rows: Sequence[Row], class_names: Sequence[str], top: int) -> str:
    objects = []
    for row in rows:
        numbers = [round(value, 6) for value in row.probabilities]
        best, *_ = row.ranked()
        prediction = {"class": class_names[best], "probability": numbers[best]}
        probabilities = dict(zip(class_names, numbers, strict=True))
        objects.append(json.dumps(row.about | prediction | {"probabilities": probabilities}))
    lines = ",\n ".join(objects)
    return f"[{lines}]\n"


FORMATS = {"table": _table, "csv": _csv, "json": _json}


def _write(options: argparse.Namespace, rows: Sequence[Row], class_names: Sequence[str]) -> None:
    text = FORMATS[options.format](rows, class_names, options.top)
    if options.out:
        _write_file(options, "--out", text.encode())
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has stopped reading, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python complains at its end


def _write_file(options: argparse.Namespace, option: str, content: bytes) -> None:
    path = getattr(options, option.removeprefix("--"))
    output.write(option, path, content, replace=path in options.there)
    output.note(f"written: {path}")


def _draw(
    options: argparse.Namespace, pictures: Sequence[image_files.ImageFile], rows: Sequence[Row], model: "Trained"
) -> None:
    from zoo.plots import contact_sheet, png  # matplotlib takes a second to import

    shown = []
    for picture, row in zip(pictures[:MOST_ON_SHEET], rows, strict=False):
        assert picture.thumbnail is not None
        best, *_ = row.ranked()
        prediction = f"{model.class_names[best]} {_percent(row, best)}"
        shown.append(contact_sheet.Shown(printable(picture.path.name), prediction, picture.thumbnail, picture.pixels))
    if len(pictures) > len(shown):
        output.note(f"the sheet shows the first {len(shown)} of {len(pictures)} pictures")
    sheet = contact_sheet.draw(shown, f"{type(model.model).__name__} ({printable(model.path)})")
    _write_file(options, "--sheet", png.encode(sheet))
