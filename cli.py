"""The command line: imports only what a command needs."""

import atexit
import contextlib
import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from datamodules.errors import Ended, InputError, RunError, did_you_mean, error_line, foreign_exit
from zoo.core.signals import Stopped, stopping_at_once

# Each is a module of `zoo.commands`. Most of them import no torch.
ZOO_COMMANDS = {
    "list": "the models, their sizes and best results; list --data: the data sets",
    "info": "all about a model: its arguments, layers and paper",
    "config": "write a commented config to start from",
    "predict": "classify your own images",
    "explain": "show which pixels a prediction depends on, filters, features and similar images",
    "evaluate": "write a report on a trained model: calibration, robustness, mistakes, a comparison",
    "export": "write a trained model as ONNX, a PyTorch program, safetensors or NumPy arrays",
    "data": "download a data set, check its files, or draw some of its images",
    "compare": "compare finished runs in a table for each data set, and plot their curves",
    "speedrun": "run a record recipe with several seeds: accuracy and seconds",
    "doctor": "find out what is wrong with the installation, and how to fix it",
}
LIGHTNING_COMMANDS = {
    "fit": "train a model, evaluate its best checkpoint on the test set",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
}
COMMANDS = LIGHTNING_COMMANDS | ZOO_COMMANDS

USAGE = """\
usage: python cli.py COMMAND [--config CONFIG ...] [--model MODEL] [--SECTION.OPTION VALUE ...]

Train and compare neural networks on CIFAR-10 and other small images.

commands:
{commands}

examples:
  python cli.py fit --config configs/improved_cnn.yaml
  python cli.py fit --config improved_cnn --config synthetic                 # no download
  python cli.py fit --config cnn --optimizer.lr 0.01 --trainer.max_epochs 5
  python cli.py fit --config resnet --data CIFAR100
  python cli.py fit --config cnn --data ImageFolder --data.data_dir photos   # your own images
  python cli.py fit --help                                                   # the options
  python cli.py data prepare                                                 # the download alone
"""


def run() -> NoReturn:
    """Run the command of this process, and end the process with its exit code.

    Modules are not torn down at the end, which takes a second with PyTorch and Lightning. Threads end as always, and
    functions registered with `atexit` are called.
    """
    code = 1  # for an unexpected error, which Python prints

    def leave() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):  # `main` has reported it
                stream.flush()
        os._exit(code)

    atexit.register(leave)  # registered first, so called last
    code = main()
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run a command with its options, by default those of the process, and return its exit code.

    The code is 0; 2 for bad input; 1 if a check fails or a run ends early; or 128 plus the number of the signal that
    ended the run. `sys.exit` in the code of others, such as a model, is an error, whatever its code.
    """
    if "" not in sys.path:
        sys.path.append("")  # to find a user's model in the working directory
    return reporting_errors(_run, sys.argv[1:] if argv is None else argv)


def reporting_errors(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command, print what goes wrong as one line, and return the exit code (see `main`)."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # for letters that a terminal cannot show
    try:
        if not _open_closed_streams():
            raise InputError("the standard output is closed: redirect it to a file, or to /dev/null")
        try:
            with stopping_at_once():
                code = command(argv)
        except Ended as end:
            code = _fail(end.message, end.exit_code) if end.message else end.exit_code
        sys.stdout.flush()  # report an output error here, not at exit
        return code
    except InputError as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, error.exit_code)
    except Stopped as stop:
        if os.environ.get("LOCAL_RANK", "0") != "0":  # one of several processes reports it
            return stop.exit_code
        return _fail(stop, stop.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except SystemExit as end:  # of the code of others
        if isinstance(end.__context__, KeyboardInterrupt):  # Lightning turns it into SystemExit
            return _fail("interrupted", 130)
        return _fail(foreign_exit(end), end.code if isinstance(end.code, int) and end.code else 1)
    except BrokenPipeError:  # a reader such as `head` has closed the output
        _drop_output()
        return 128 + 13
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return _fail(f"a name is too long for the file system: {error.filename}: give a shorter one", 2)
        if error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO) or error.filename is not None:
            raise
        _drop_output()
        reason = "no space is left" if error.errno == errno.ENOSPC else error.strerror
        return _fail(f"the output cannot be written: {reason}", 1)


def _fail(error: object, exit_code: int) -> int:
    """Print an error as one line; return the exit code."""
    print(f"error: {error_line(error)}", file=sys.stderr)
    return exit_code


def _open_closed_streams() -> bool:
    """Open the null device in place of each closed standard stream; return whether there is an output.

    Otherwise the next file to be opened, such as a checkpoint, would get the number of the closed stream, and the
    messages of libraries would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    return sys.stdout is not None


def _drop_output() -> None:
    """Discard the rest of the output, which Python writes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE.format(commands="\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())), end="")
        return 0
    if argv[0] == "--version":
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"cifar10-zoo {version('cifar10-zoo')}")
        except PackageNotFoundError:
            raise InputError("cifar10-zoo is not installed: pip install -e .") from None
        return 0
    if argv[0] in ZOO_COMMANDS:
        return import_module(f"zoo.commands.{argv[0]}").main(argv[1:])
    if argv[0] not in LIGHTNING_COMMANDS:
        hint = f"{did_you_mean(argv[0], COMMANDS)} Commands are: {', '.join(COMMANDS)}"
        raise InputError(f"unknown command '{argv[0]}'.{hint}")
    _run_lightning(argv)
    return 0


def _run_lightning(argv: list[str]) -> None:
    """Run `fit`, `validate` or `test`, or print its help. Checks without torch come first."""
    from zoo.commands import help
    from zoo.runs.command_line import CommandLine

    command_line = CommandLine(argv)
    section = command_line.help_section
    if section == "":
        print(help.page(argv[0]))
        return
    if section is not None and section not in help.SECTIONS:
        hint = f"{did_you_mean(section, help.SECTIONS)} There are: {', '.join(help.SECTIONS)}"
        raise InputError(f"--help {section} is unknown.{hint}")
    command_line.check_names()
    from zoo.core import installation

    with installation.quick_imports():
        installation.check_torch()
        from zoo.training import slurm
        from zoo.training.main import run_command

    continued = slurm.take_up(command_line) if argv[0] == "fit" else command_line
    if continued is not None:
        run_command(continued)


if __name__ == "__main__":
    run()
