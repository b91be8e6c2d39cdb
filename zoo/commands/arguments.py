"""Arguments and checks that several commands share."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from datamodules.errors import Ended, InputError, did_you_mean
from datamodules.paths import user_path
from zoo.core.views import VIEWS


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors instead of printing its usage, and expands `~` in arguments of type `Path`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self.register("type", Path, user_path)

    def parse_args(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the options; raise InputError, with the nearest option, for words that are none."""
        options, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            name = unknown[0].partition("=")[0]
            known = [action.option_strings[0] for action in self._actions[1:] if action.option_strings]  # after --help
            problem = f"unexpected argument '{name}'."
            if name.startswith("-"):
                problem = f"unknown option '{name}'.{did_you_mean(name, known)}"
            self.error(f"{problem} Options are: {', '.join(known)}")
        return options

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's own method, raise OSError if it cannot be written."""
        print(self.format_help(), end="", file=file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise Ended(status)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog.removeprefix('python cli.py ')}: {message}")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a trained model, as `zoo.trained.trained_model.load` takes them."""
    add = parser.add_argument
    checkpoint = "best or last of the newest run, a checkpoint file, or a run's directory (default: %(default)s)"
    add("--ckpt", "--ckpt_path", metavar="CHECKPOINT", default="best", help=checkpoint)
    add("--model", metavar="MODEL", help="the class of the model if it is not in the zoo: my_module.MyNet")
    add("--model.net", dest="net", metavar="NET", help="the network of the model Wrapped: my_module.MyNet")
    add("--runs_dir", metavar="DIR", type=Path, default=Path("runs"), help="folder of the runs (default: %(default)s)")
    device = "compute on cpu, gpu, cuda or mps (default: %(default)s, a GPU if there is one)"
    add("--accelerator", metavar="KIND", default="auto", help=device)


def add_views(parser: argparse.ArgumentParser) -> None:
    """Add the option for test-time augmentation; `check_choice("--tta", options.tta, VIEWS)` checks its value."""
    views = f"average the predictions over views of each image: {', '.join(VIEWS)} (default: as the run was tested)"
    parser.add_argument("--tta", metavar="VIEWS", help=views)


def check_choice(option: str, value: str | None, choices: Iterable[str]) -> None:
    """Raise InputError, with the nearest choice, unless an option has one of its values, or is not given."""
    names = list(choices)
    if value is not None and value not in names:
        raise InputError(f"{option} {value} is unknown.{did_you_mean(value, names)} Known are: {', '.join(names)}")
