"""`data prepare` downloads CIFAR-10, `data check` checks its files, `data show` draws some images; none needs torch."""

import argparse
from pathlib import Path

import numpy as np

from datamodules import download, synthetic
from datamodules.data_sets import CIFAR10, DATA_SETS, SYNTHETIC
from datamodules.errors import InputError, did_you_mean, one_line
from datamodules.paths import default_data_dir
from datamodules.readers.cifar import Verdict
from zoo.commands import output
from zoo.commands.arguments import Parser, check_choice

ACTIONS = {
    "prepare": "download CIFAR-10 if it is missing, then check it",
    "check": "check each file of CIFAR-10",
    "show": "draw random training images of each class",
}
MOST_ROWS = 100  # of `data show`: a plot of 10,000 pixels' height


def main(argv: list[str]) -> int:
    """Run `data` and return its exit code: 0 if there are data to train on, else 1."""
    options = parse(argv)
    if options.action == "show":
        show(options)
        return 0
    options.data_dir = options.data_dir or default_data_dir()
    if options.action == "prepare":
        if (location := CIFAR10.find(options.data_dir)) is not None:
            output.say_line(f"'{location}' is there: nothing is downloaded")
        else:
            download.fetch(CIFAR10, options.data_dir, options.mirrors)
    return check(options.data_dir)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py data", description="Download, check or show the data.")
    actions = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for action, text in ACTIONS.items():
        options = actions.add_parser(action, help=text, description=f"{text[0].upper()}{text[1:]}.")
        options.set_defaults(action=action)
        purpose = "folder of the data, and of the download" if action == "prepare" else "folder of the data"
        where = f"{purpose} (default: CIFAR10_DIR, else data; now {default_data_dir()})"
        options.add_argument("--data_dir", metavar="DIR", type=Path, help=where.replace("%", "%%"))
        if action == "show":
            sources = f"{', '.join(DATA_SETS)} (default: %(default)s)"
            options.add_argument("--source", default=CIFAR10.name, help=sources)
            rows = f"images of each class, 1 to {MOST_ROWS} (default: %(default)s)"
            options.add_argument("--rows", metavar="N", type=int, default=6, help=rows)
            options.add_argument("--seed", type=int, default=0, help="selects the images (default: 0)")
            file = Path("samples.png")
            options.add_argument("--out", metavar="FILE.png", type=Path, default=file, help="default: %(default)s")
        if action == "prepare":
            mirrors = "further addresses of the archive, tried first"
            options.add_argument("--mirrors", metavar="URL", nargs="+", action="extend", default=[], help=mirrors)
    if argv and argv[0] in ACTIONS:
        return actions.choices[argv[0]].parse_args(argv[1:])
    if argv and argv[0] in ("-h", "--help"):
        parser.print_help()
        parser.exit()
    hint = did_you_mean(argv[0], ACTIONS) if argv else ""
    problem = f"unknown command 'data {argv[0]}'.{hint}" if argv else "data needs a command."
    raise InputError(f"{problem} Commands are: {', '.join(f'data {action}' for action in ACTIONS)}")


def check(data_dir: Path) -> int:
    """Print a line on each file and one on the whole; return 0 if there are data to train on, else 1."""
    location = CIFAR10.find(data_dir)
    if location is None:
        advice = f"download it by: python cli.py data prepare --data_dir {data_dir}"
        output.say_line(one_line(f"{CIFAR10.missing(data_dir)}: {advice}"))
        return 1
    verdicts = CIFAR10.check(location)
    for verdict in verdicts:
        size = "-" if verdict.size is None else f"{verdict.size:,} bytes"
        output.say_line(f"{verdict.name:<12}  {size:>16}  {_in_words(verdict)}")

    if all(verdict.official for verdict in verdicts):
        output.say_line(f"'{location}' is the official CIFAR-10")
        return 0
    again = "move it away and run: python cli.py data prepare"
    if unusable := [verdict.name for verdict in verdicts if verdict.problem]:
        output.say_line(f"'{location}' cannot be used because of {', '.join(unusable)}: {again}")
        return 1
    output.say_line(
        f"'{location}' has the structure of CIFAR-10, but other contents: to train on a re-encoded copy, add "
        f"--data.verify_checksums=false; if it should be the original, {again}"
    )
    return 0


def _in_words(verdict: Verdict) -> str:
    if verdict.official:
        return "official"
    if verdict.md5 is None:
        return one_line(verdict.problem)
    structure = f"unusable: {one_line(verdict.problem)}" if verdict.problem else "of the right structure"
    return f"not official: MD5 {verdict.md5} (a re-encoded copy, or damaged), {structure}"


def show(options: argparse.Namespace) -> None:
    """Draw random training images to a PNG file, a column for each class."""
    check_choice("--source", options.source, DATA_SETS)
    if options.source == SYNTHETIC.name and options.data_dir:
        raise InputError(f"data show: --data_dir is not allowed with --source {SYNTHETIC.name}, which reads no files")
    if not 1 <= options.rows <= MOST_ROWS:
        raise InputError(f"--rows {options.rows} is out of range: give a number from 1 to {MOST_ROWS}")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed} is out of range: give a number of at least 0")
    if options.out.suffix.lower() != ".png" or options.out.is_dir():
        raise InputError(f"--out {options.out}: give a file whose name ends in .png")
    was_there = options.out.exists()
    images, labels, class_names, title = _training_images(options)

    rng = np.random.default_rng(options.seed)
    classes = range(len(class_names))
    positions = [rng.choice(np.flatnonzero(labels == label), options.rows, replace=False) for label in classes]

    from zoo.plots import image_table, png  # matplotlib takes a second to import

    pixels = image_table.draw(images[np.stack(positions, axis=1)], class_names, title=f"{title}, training images")
    output.write("--out", options.out, png.encode(pixels), replace=was_there)
    output.say_line(f"drawn: {options.out}")


def _training_images(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """Return images, uint8 (n, 3, 32, 32), labels, class names, and the title of the data."""
    data_set, data_dir = DATA_SETS[options.source], options.data_dir or default_data_dir()
    if data_set is SYNTHETIC:
        images, labels = synthetic.generate(len(data_set.class_names) * options.rows, split="train", seed=options.seed)
        return images, labels, data_set.class_names, data_set.title
    if data_set.find(data_dir) is None:
        raise InputError(
            f"{data_set.missing(data_dir)}: download it by: python cli.py data prepare; "
            "or show images that need no download: --source synthetic"
        )
    # The title of the plot says whether the files are a copy.
    images, labels, official = data_set.read(data_dir, "train", verify_checksums=False)
    return images, labels, data_set.class_names, data_set.title_of(official)
