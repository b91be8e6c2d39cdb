"""The command line: looks at the command first, and imports what that command needs."""

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

# A module of `zoo.commands` each, which imports what it needs: most of them no torch.
OWN = {
    "list": "the models of the zoo: their size, and what they reached",
    "info": "all about a model: its arguments, its layers, its paper",
    "config": "write a commented config to start from",
    "predict": "classify pictures of your own",
    "explain": "show what a trained model looks at: class activation, attributions, filters, features, neighbours",
    "evaluate": "write a report on a trained model: calibration, robustness, mistakes, whether it beats another",
    "export": "write a trained model as ONNX, PyTorch program, safetensors or NumPy arrays",
    "data": "download CIFAR-10 (data prepare), check its files (data check), draw some images (data show)",
    "compare": "finished runs in a table for each data set, their seeds taken together, and a plot of their curves",
    "speedrun": "run a record recipe several times: its accuracy over the seeds, and its seconds",
    "doctor": "look for what is wrong with the installation, and say how to mend it",
}
LIGHTNING = {
    "fit": "train a model, evaluate its best checkpoint on the test set",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
}
COMMANDS = LIGHTNING | OWN

USAGE = """\
usage: python cli.py COMMAND [--config CONFIG ...] [--model MODEL] [--SECTION.OPTION VALUE ...]

Train and compare neural networks on CIFAR-10.

commands:
{commands}

examples:
  python cli.py fit --config configs/improved_cnn.yaml
  python cli.py fit --config configs/improved_cnn.yaml --config configs/synthetic.yaml   # no download
  python cli.py fit --config cnn --data.batch_size 64 --optimizer.lr 0.01 --trainer.max_epochs 5
  python cli.py fit --help                                                                # all options
  python cli.py data prepare                                                              # the download alone
"""


def run() -> NoReturn:
    """Run the command of this process, and end the process with its exit code.

    What was imported is not taken apart at the end: that takes a second where PyTorch and Lightning are. All else takes
    place as always: threads end, and the functions that libraries have registered by `atexit` are called.
    """
    code = 1  # of an error that nobody expects, which Python prints

    def leave() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):  # which `main` has told
                stream.flush()
        os._exit(code)

    atexit.register(leave)  # before all others, and so called after them
    code = main()
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0; 2 for bad input; 1 where a check fails or a run ends before its time,
    or 128 and the number of the signal that ended it. `sys.exit` in somebody else's code, a model's for example, is an
    error, whatever code it was called with.

    Args:
        argv: the command and its options; by default those of the process.
    """
    if "" not in sys.path:
        sys.path.append("")  # so that a model of one's own is found where one stands
    return reporting_errors(_run, sys.argv[1:] if argv is None else argv)


def reporting_errors(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command, print what goes wrong as one line, and return the exit code (see `main`)."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # where a terminal cannot show a letter
    try:
        if not _open_closed_streams():
            raise InputError("the standard output is closed: redirect it to a file, or to /dev/null")
        try:
            with stopping_at_once():
                code = command(argv)
        except Ended as end:
            code = _fail(end.message, end.exit_code) if end.message else end.exit_code
        sys.stdout.flush()  # what cannot be written is to be noticed here, not at exit
        return code
    except InputError as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, error.exit_code)
    except Stopped as stop:
        if os.environ.get("LOCAL_RANK", "0") != "0":  # of several processes of a run, one says it
            return stop.exit_code
        return _fail(stop, stop.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except SystemExit as end:  # of somebody else's code
        if isinstance(end.__context__, KeyboardInterrupt):  # which Lightning turns into this
            return _fail("interrupted", 130)
        return _fail(foreign_exit(end), end.code if isinstance(end.code, int) and end.code else 1)
    except BrokenPipeError:  # whoever read the output, as `head` does, has seen enough
        _drop_output()
        return 128 + 13
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return _fail(f"a name is too long for the file system: {error.filename}: give a shorter one", 2)
        if error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO) or error.filename is not None:
            raise
        _drop_output()
        why = "no space is left where it goes" if error.errno == errno.ENOSPC else error.strerror
        return _fail(f"the output cannot be written: {why}", 1)


def _fail(error: object, exit_code: int) -> int:
    """Print an error as one line; return the exit code."""
    print(f"error: {error_line(error)}", file=sys.stderr)
    return exit_code


def _open_closed_streams() -> bool:
    """Open the null device in place of each standard stream that is closed; return whether there is an output.

    Otherwise the next file to be opened, a checkpoint for example, would get the number of the closed stream, and
    whatever a library prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the system gives it the lowest free number
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    return sys.stdout is not None


def _drop_output() -> None:
    """Let what is left of the output, which Python writes at exit, go nowhere."""
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
    if argv[0] in OWN:
        return import_module(f"zoo.commands.{argv[0]}").main(argv[1:])
    if argv[0] not in LIGHTNING:
        raise InputError(
            f"unknown command '{argv[0]}'.{did_you_mean(argv[0], COMMANDS)} Commands are: {', '.join(COMMANDS)}"
        )
    _run_lightning(argv)
    return 0


def _run_lightning(argv: list[str]) -> None:
    """Run one of Lightning's commands, or print its help. What needs no torch, whose import takes seconds, is first."""
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

    going_on = slurm.take_up(command_line) if argv[0] == "fit" else command_line
    if going_on is not None:
        run_command(going_on)


if __name__ == "__main__":
    run()
