"""`data prepare` downloads CIFAR-10, `data check` gives a verdict on each of its files, `data show` draws some images.

None of them needs torch.
"""

import argparse
from pathlib import Path

import numpy as np

from datamodules import download, synthetic
from datamodules.errors import InputError, did_you_mean, one_line
from datamodules.readers import cifar
from zoo.commands import output
from zoo.commands.arguments import Parser, check_unknown

ACTIONS = {
    "prepare": "download CIFAR-10 where there is none, then check it",
    "check": "give a verdict on each file of CIFAR-10",
    "show": "draw random training images of each class",
}
SOURCES = ("cifar10", "synthetic")
MOST_ROWS = 100  # of `data show`: a picture of 10,000 pixels' height


def main(argv: list[str]) -> int:
    """Run `data` and return its exit code: 0 where there are data to train on, else 1.

    Args:
        argv: what follows `data` on the command line.

    Raises:
        InputError: for a misspelled command line, where the download fails, or where there is nothing to show.
    """
    if not argv or (argv[0] not in ACTIONS and argv[0] not in ("-h", "--help")):
        problem = (
            f"unknown command 'data {argv[0]}'." + did_you_mean(argv[0], ACTIONS) if argv else "data needs a command."
        )
        raise InputError(f"{problem} Commands are: {', '.join(f'data {action}' for action in ACTIONS)}")
    options, unknown = build_parser().parse_known_args(argv)
    check_unknown(f"data {options.action}", unknown, (key for key in vars(options) if key != "action"))
    if options.action == "show":
        show(options)
        return 0
    if options.action == "prepare":
        prepare(options.data_dir, options.mirrors)
    return check(options.data_dir)


def build_parser() -> Parser:
    """Return the parser of `data`."""
    parser = Parser(prog="python cli.py data", description="Get CIFAR-10, or look it over.")
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", required=True, parser_class=Parser)
    for action, text in ACTIONS.items():
        options = actions.add_parser(action, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        place = options.add_mutually_exclusive_group()
        place.add_argument(
            "--data_dir",
            metavar="DIR",
            type=Path,
            default=cifar.default_dir(),
            help=f"where CIFAR-10 lies{' or is to be downloaded to' * (action == 'prepare')}; "
            "by default CIFAR10_DIR, else data (now: %(default)s)",
        )
        if action == "show":
            place.add_argument("--source", default=SOURCES[0], help=f"{' or '.join(SOURCES)} (default: %(default)s)")
            rows = f"images of each class, 1 to {MOST_ROWS} (default: %(default)s)"
            options.add_argument("--rows", metavar="N", type=int, default=6, help=rows)
            options.add_argument("--seed", type=int, default=0, help="another one shows other images (default: 0)")
            options.add_argument(
                "--out", metavar="FILE.png", type=Path, default=Path("samples.png"), help="default: %(default)s"
            )
        if action == "prepare":
            options.add_argument(
                "--mirrors",
                metavar="URL",
                nargs="+",
                action="extend",
                default=[],
                help="further addresses of the archive, asked first",
            )
    return parser


def prepare(data_dir: Path, mirrors: list[str]) -> None:
    """Download CIFAR-10 to `data_dir` where there is none.

    Raises:
        InputError: see `datamodules.download.fetch`.
    """
    if (location := cifar.find(data_dir)) is not None:
        output.say_line(f"'{location}' is there: nothing is downloaded")
        return
    download.fetch(data_dir, mirrors)


def check(data_dir: Path) -> int:
    """Print a line on each file and one on the whole; return 0 where there are data to train on, else 1.

    Raises:
        InputError: where `data_dir` cannot be looked into.
    """
    location = cifar.find(data_dir)
    if location is None:
        way_out = f"download it by: python cli.py data prepare --data_dir {data_dir}"
        output.say_line(one_line(f"{cifar.missing(data_dir)}: {way_out}"))
        return 1
    verdicts = cifar.check(location)
    for verdict in verdicts:
        size = "-" if verdict.size is None else f"{verdict.size:,} bytes"
        output.say_line(f"{verdict.name:<12}  {size:>16}  {_in_words(verdict)}")

    if all(verdict.official for verdict in verdicts):
        output.say_line(f"'{location}' is the official CIFAR-10")
        return 0
    unusable = [verdict.name for verdict in verdicts if verdict.problem]
    if not unusable:
        output.say_line(
            f"'{location}' has the structure of CIFAR-10, but other contents: if that is meant to be (a re-encoded "
            "copy), train with --data.verify_checksums=false; if not, move it away and run: python cli.py data prepare"
        )
        return 0
    output.say_line(
        f"'{location}' cannot be used because of {', '.join(unusable)}: move it away, and download it anew by: "
        "python cli.py data prepare"
    )
    return 1


def _in_words(verdict: cifar.Verdict) -> str:
    if verdict.official:
        return "official"
    if verdict.md5 is None:
        return one_line(verdict.problem)
    what = f"unusable: {one_line(verdict.problem)}" if verdict.problem else "of the right structure"
    return f"not official: MD5 {verdict.md5} (a re-encoded copy, or damaged), {what}"


def show(options: argparse.Namespace) -> None:
    """Draw random training images to a PNG file, a column for each class, and say where.

    Args:
        options: data_dir, source, rows, seed and out, as the command line has them.

    Raises:
        InputError: for one that is out of range, where there are no data, or the file cannot be written.
    """
    if options.source not in SOURCES:
        hint = did_you_mean(options.source, SOURCES)
        raise InputError(f"--source {options.source} is unknown.{hint} Known are: {', '.join(SOURCES)}")
    if not 1 <= options.rows <= MOST_ROWS:
        raise InputError(f"--rows {options.rows} is out of range: give a number from 1 to {MOST_ROWS}")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed} is out of range: give a number of at least 0")
    if options.out.suffix.lower() != ".png" or options.out.is_dir():
        raise InputError(f"--out {options.out}: give a file whose name ends in .png")
    was_there = options.out.exists()
    images, labels, class_names, name = _training_images(options)

    rng = np.random.default_rng(options.seed)
    of_classes = [rng.choice(np.flatnonzero(labels == label), options.rows, replace=False) for label in range(10)]

    from zoo.plots import mosaic, samples  # matplotlib takes a second to import

    figure = samples.columns(images[np.stack(of_classes)], class_names, f"{name}, training images")
    output.write("--out", options.out, mosaic.as_png(figure), replace=was_there)
    output.say_line(f"drawn: {options.out}")


def _training_images(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], str]:
    """Return images, uint8 (n, 3, 32, 32), their labels, int64 (n,), the names of the classes and of the source."""
    if options.source == "synthetic":
        drawn = synthetic.generate(10 * options.rows, split="train", seed=options.seed)
        return *drawn, synthetic.CLASS_NAMES, "synthetic"
    if cifar.find(options.data_dir) is None:
        raise InputError(
            f"{cifar.missing(options.data_dir)}: download it by: python cli.py data prepare; "
            "or show what needs no download: --source synthetic"
        )
    # What they are is told above the picture: a copy is fit to be looked at.
    images, labels, official = cifar.read(options.data_dir, "train", verify_checksums=False)
    return images, labels, cifar.CLASS_NAMES, "CIFAR-10" if official else "CIFAR-10 copy (not the official files)"
