"""`data prepare` downloads CIFAR-10, `data check` gives a verdict on each of its files. Neither needs torch."""

from pathlib import Path

from datamodules import download, reader
from datamodules.errors import InputError, did_you_mean, one_line
from zoo.commands.parser import Parser, check_unknown

ACTIONS = {
    "prepare": "download CIFAR-10 where there is none, then check it",
    "check": "give a verdict on each file of CIFAR-10",
}


def main(argv: list[str]) -> int:
    """Run `data` and return its exit code: 0 where there are data to train on, else 1.

    Args:
        argv: what follows `data` on the command line.

    Raises:
        InputError: for a misspelled command line, or where the download fails.
    """
    if not argv or (argv[0] not in ACTIONS and argv[0] not in ("-h", "--help")):
        problem = (
            f"unknown command 'data {argv[0]}'." + did_you_mean(argv[0], ACTIONS) if argv else "data needs a command."
        )
        raise InputError(f"{problem} Commands are: {', '.join(f'data {action}' for action in ACTIONS)}")
    options, unknown = _parser().parse_known_args(argv)
    check_unknown(f"data {options.action}", unknown, (key for key in vars(options) if key != "action"))
    if options.action == "prepare":
        prepare(options.data_dir, options.mirrors)
    return check(options.data_dir)


def _parser() -> Parser:
    parser = Parser(prog="python cli.py data", description="Get CIFAR-10, or look it over.")
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", required=True, parser_class=Parser)
    for action, text in ACTIONS.items():
        options = actions.add_parser(action, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
        options.add_argument(
            "--data_dir",
            metavar="DIR",
            type=Path,
            default=reader.default_dir(),
            help="where CIFAR-10 lies or is to be downloaded to; by default CIFAR10_DIR, else data (now: %(default)s)",
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
    if (location := reader.find(data_dir)) is not None:
        print(f"'{location}' is there: nothing is downloaded")
        return
    download.fetch(data_dir, mirrors)


def check(data_dir: Path) -> int:
    """Print a line on each file and one on the whole; return 0 where there are data to train on, else 1.

    Raises:
        InputError: where `data_dir` cannot be looked into.
    """
    location = reader.find(data_dir)
    if location is None:
        print(f"no CIFAR-10 in '{data_dir}': download it by: python cli.py data prepare --data_dir {data_dir}")
        return 1
    verdicts = reader.check(location)
    for verdict in verdicts:
        size = "-" if verdict.size is None else f"{verdict.size:,} bytes"
        print(f"{verdict.name:<12}  {size:>16}  {_in_words(verdict)}")

    if all(verdict.official for verdict in verdicts):
        print(f"'{location}' is the official CIFAR-10")
        return 0
    unusable = [verdict.name for verdict in verdicts if verdict.problem]
    if not unusable:
        print(
            f"'{location}' has the structure of CIFAR-10, but other contents: if that is meant to be (a re-encoded "
            "copy), train with --data.verify_checksums=false; if not, move it away and run: python cli.py data prepare"
        )
        return 0
    print(
        f"'{location}' cannot be used because of {', '.join(unusable)}: move it away, and download it anew by: "
        "python cli.py data prepare"
    )
    return 1


def _in_words(verdict: reader.Verdict) -> str:
    if verdict.official:
        return "official"
    if verdict.md5 is None:
        return one_line(verdict.problem)
    what = f"unusable: {one_line(verdict.problem)}" if verdict.problem else "of the right structure"
    return f"not official: MD5 {verdict.md5} (a re-encoded copy, or damaged), {what}"
