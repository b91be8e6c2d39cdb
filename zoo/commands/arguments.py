"""Arguments and checks that several commands share."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from datamodules.errors import Ended, InputError, did_you_mean
from datamodules.paths import user_path


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors instead of printing its usage, and expands `~` in arguments of type `Path`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register("type", Path, user_path)

    def print_help(self, file: Any = None) -> None:
        """Print the help; unlike argparse's own method, raise OSError if it cannot be written."""
        print(self.format_help(), end="", file=file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the command after its help."""
        raise Ended(status)

    def error(self, message: str) -> NoReturn:
        """Raise `message` as an InputError that begins with the command."""
        raise InputError(f"{self.prog.removeprefix('python cli.py ')}: {message}")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a trained model, as `zoo.trained.trained_model.load` takes them."""
    add = parser.add_argument
    add(
        "--ckpt", "--ckpt_path", metavar="CHECKPOINT", default="best",
        help="best or last of the newest run, a checkpoint file, or a run's directory (default: %(default)s)",
    )  # fmt: skip
    add("--model", metavar="MODEL", help="the class of the model if it is not in the zoo: my_module.MyNet")
    add("--runs_dir", metavar="DIR", type=Path, default=Path("runs"), help="folder of the runs (default: %(default)s)")
    add(
        "--accelerator", metavar="KIND", default="auto",
        help="compute on cpu, gpu, cuda or mps (default: %(default)s, a GPU if there is one)",
    )  # fmt: skip


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Raise InputError, with the nearest choice, unless an option has one of its values."""
    names = list(choices)
    if value not in names:
        raise InputError(f"{option} {value} is unknown.{did_you_mean(value, names)} Known are: {', '.join(names)}")


def check_unknown(command: str, unknown: Sequence[str], names: Iterable[str]) -> None:
    """Raise InputError, with the nearest option, if a parser left words over.

    Args:
        command: the command, for the message.
        unknown: the words that were left over.
        names: the options of the command, without their dashes.
    """
    if unknown:
        name, known = unknown[0].partition("=")[0], [f"--{key}" for key in names]
        if not name.startswith("-"):
            raise InputError(f"{command}: unexpected argument '{name}'. Options are: {', '.join(known)}")
        hint = f"{did_you_mean(name, known)} Options are: {', '.join(known)}"
        raise InputError(f"{command}: unknown option '{name}'.{hint}")
