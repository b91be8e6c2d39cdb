"""`data prepare` downloads a published data set, `data check` checks its files, `data show` draws some images.

None of them needs torch, unless the data are a user's own.
"""

import argparse
from pathlib import Path

import numpy as np

from datamodules import download, synthetic
from datamodules.data_set import DataSet, Verdict
from datamodules.data_sets import CIFAR10, PUBLISHED, SOURCES, SYNTHETIC, prepare_command
from datamodules.errors import InputError, did_you_mean, one_line
from datamodules.paths import default_data_dir, variable
from zoo.catalogue import registry
from zoo.commands import output
from zoo.commands.arguments import Parser, check_choice

ACTIONS = {
    "prepare": "download a data set if it is missing, then check it",
    "check": "check each file of a data set",
    "show": "draw random training images of each class",
}
MOST_ROWS = 100  # of `data show`: a plot of 10,000 pixels' height


def main(argv: list[str]) -> int:
    """Run `data` and return its exit code: 0 if there are data to train on, else 1."""
    options = parse(argv)
    if options.action == "show":
        show(options)
        return 0
    data_set = _data_set(options)
    options.data_dir = options.data_dir or default_data_dir(data_set.name)
    if options.action == "prepare":
        if not data_set.archives:
            raise InputError(f"data prepare: {options.data} is not downloaded: name your own data by --data_dir")
        if (location := data_set.find(options.data_dir)) is not None:
            output.say_line(f"'{location}' is there: nothing is downloaded")
        else:
            download.fetch(data_set, options.data_dir, options.mirrors)
    return check(data_set, options.data_dir)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py data", description="Download, check or show the data.")
    actions = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for action, text in ACTIONS.items():
        options = actions.add_parser(action, help=text, description=f"{text[0].upper()}{text[1:]}.")
        options.set_defaults(action=action)
        purpose = "folder of the data, and of the download" if action == "prepare" else "folder of the data"
        where = f"{purpose} (default: {variable('NAME')}, such as {variable(CIFAR10.name)}, else data)"
        options.add_argument("--data_dir", metavar="DIR", type=Path, help=where.replace("%", "%%"))
        names = "the data set, one of: python cli.py list --data (default: %(default)s)"
        options.add_argument("--data", metavar="DATA", default=next(iter(PUBLISHED)), help=names)
        if action == "show":
            sources = f"of CIFAR10: {', '.join(SOURCES)} (default: %(default)s)"
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


def _data_set(options: argparse.Namespace) -> DataSet:
    """Return the data set that the options name."""
    if options.data in PUBLISHED:
        return PUBLISHED[options.data]
    arguments = {} if options.data_dir is None else {"data_dir": str(options.data_dir)}
    name = registry.data.find(options.data).name
    return registry.data.load(name)(**arguments).data_set


def check(data_set: DataSet, data_dir: Path) -> int:
    """Print a line on each file and one on the whole; return 0 if there are data to train on, else 1."""
    location = data_set.find(data_dir)
    if location is None:
        advice = f"download it by: {prepare_command(data_set)} --data_dir {data_dir}" if data_set.archives else ""
        output.say_line(one_line(": ".join(filter(None, (data_set.missing(data_dir), advice)))))
        return 1
    if not data_set.md5:
        return _check_splits(data_set, data_dir)
    verdicts = data_set.check(location)
    width = max(12, *(len(verdict.name) for verdict in verdicts))
    for verdict in verdicts:
        size = "-" if verdict.size is None else f"{verdict.size:,} bytes"
        output.say_line(f"{verdict.name:<{width}}  {size:>16}  {_in_words(verdict)}")

    title = data_set.title
    if all(verdict.official for verdict in verdicts):
        output.say_line(f"'{location}' is the official {title}")
        return 0
    again = f"move it away and run: {prepare_command(data_set)}"
    if unusable := [verdict.name for verdict in verdicts if verdict.problem]:
        output.say_line(f"'{location}' cannot be used because of {', '.join(unusable)}: {again}")
        return 1
    output.say_line(
        f"'{location}' has the structure of {title}, but other contents: to train on a re-encoded copy, add "
        f"--data.verify_checksums=false; if it should be the original, {again}"
    )
    return 0


def _check_splits(data_set: DataSet, data_dir: Path) -> int:
    """Read the splits of a user's own data, and print a line on each; return 0 if all can be read, else 1."""
    code = 0
    for split in data_set.splits:
        try:
            images, labels, _ = data_set.read(data_dir, split)
            shape = " x ".join(map(str, images.shape[1:]))
            told = f"{len(images):,} images of {shape}, {len(np.unique(labels))} of {len(data_set.class_names)} classes"
        except InputError as error:
            code, told = 1, one_line(error)
        output.say_line(f"{split:<6}{told}")
    return code


def _in_words(verdict: Verdict) -> str:
    if verdict.official:
        return "official"
    if verdict.md5 is None:
        return one_line(verdict.problem)
    structure = f"unusable: {one_line(verdict.problem)}" if verdict.problem else "of the right structure"
    return f"not official: MD5 {verdict.md5} (a re-encoded copy, or damaged), {structure}"


def show(options: argparse.Namespace) -> None:
    """Draw random training images to a PNG file, a column for each class."""
    check_choice("--source", options.source, SOURCES)
    if options.source == SYNTHETIC.name and options.data not in ("CIFAR10", "CIFAR10DataModule"):
        raise InputError(f"data show: --source {SYNTHETIC.name} stands in for CIFAR-10 alone, not for {options.data}")
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
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() < options.rows:
        fewest = f"'{class_names[counts.argmin()]}' has {counts.min()} training images"
        raise InputError(f"--rows {options.rows} is out of range: the class {fewest}")
    positions = [rng.choice(np.flatnonzero(labels == label), options.rows, replace=False) for label in classes]

    from zoo.plots import image_table, png  # matplotlib takes a second to import

    pixels = image_table.draw(images[np.stack(positions, axis=1)], class_names, title=f"{title}, training images")
    output.write("--out", options.out, png.encode(pixels), replace=was_there)
    output.say_line(f"drawn: {options.out}")


def _training_images(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """Return images, uint8 (n, channels, side, side), labels, class names, and the title of the data."""
    if options.source == SYNTHETIC.name:
        count = len(SYNTHETIC.class_names) * options.rows
        images, labels = synthetic.generate(count, split="train", seed=options.seed)
        return images, labels, SYNTHETIC.class_names, SYNTHETIC.title
    data_set = _data_set(options)
    data_dir = options.data_dir or default_data_dir(data_set.name)
    if data_set.find(data_dir) is None:
        advice = [f"download it by: {prepare_command(data_set)}"] * bool(data_set.archives)
        advice += ["or show images that need no download: --source synthetic"] * (data_set is CIFAR10)
        raise InputError(f"{data_set.missing(data_dir)}: {'; '.join(advice)}")
    # The title of the plot says whether the files are a copy.
    images, labels, official = data_set.read(data_dir, "train", verify_checksums=False)
    return images, labels, data_set.class_names, data_set.title_of(official)
