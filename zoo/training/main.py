"""Run `fit`, `validate` and `test` from a command line, and `fit` from Python."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from datamodules.data_set import Split
from datamodules.errors import Ended, InputError, RunError
from datamodules.image_data_module import shared_reads
from zoo.core.classifier import Classifier
from zoo.core.signals import Stopped
from zoo.runs import metrics_json, resume
from zoo.runs.command_line import CommandLine
from zoo.runs.configs import as_word
from zoo.trained import inference
from zoo.training import option_checks, processes
from zoo.training.fit_command import Fit
from zoo.training.quiet import quiet
from zoo.training.trainer_command import FULL, TrainerCommand
from zoo.training.validate_test_command import Evaluation

_READ: dict[Any, Split] = {}  # the images of the last `fit`, for the next one
# Errors of classes for wrong arguments.
ARGUMENT_ERRORS = (ValueError, TypeError, RuntimeError, ImportError, LookupError, MisconfigurationException)


def run_command(command_line: CommandLine) -> TrainerCommand:
    """Run `fit`, `validate` or `test`, and return the finished command.

    Raises:
        InputError, Ended: for bad input that the parser accepts, or refuses.
        RunError, Stopped: for a run that ends early, or a signal before there is a run.
    """
    processes.end_with_first()
    with quiet():
        try:
            command = _build(command_line)
            command.run()
        except (RunError, Stopped) as error:
            if not processes.is_first():  # which reports it
                raise Ended(error.exit_code) from None
            raise
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise RunError(f"the disk is full ({error}): make room, and start again") from error
        except ARGUMENT_ERRORS as error:  # jsonargparse and Lightning wrap errors of functions that they call
            if (cause := _input_error_behind(error)) is None:
                raise
            raise cause from error
    return command


def _build(command_line: CommandLine) -> TrainerCommand:
    """Build the command. An error while it is built is bad input; a later one is worth a traceback."""
    origin = resume.find(command_line)
    is_fit, asks_for_help = command_line.command == "fit", command_line.help_section is not None
    if not is_fit and origin.path is None and not asks_for_help:
        checkpoint = "--ckpt best, last, or runs/.../checkpoints/best.ckpt"
        raise InputError(f"{command_line.command} needs a trained model: {checkpoint}")
    try:
        return (Fit if is_fit else Evaluation)(command_line, origin)
    except ARGUMENT_ERRORS as error:
        raise _input_error_behind(error) or option_checks.name_culprit(error, command_line) from error


def _input_error_behind(error: BaseException | None) -> InputError | None:
    """Return the InputError that caused `error`, if there is one."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


@dataclass(frozen=True)
class FinishedRun:
    """A run that `fit` has finished.

    Attributes:
        path: of its directory; None after `{"trainer.fast_dev_run": True}`.
        model: with the tested weights, in evaluation mode.
        metrics: the content of metrics.json, such as "test/acc".
        class_names: in the order of the probabilities.
    """

    path: Path | None
    model: Classifier
    metrics: dict[str, Any]
    class_names: tuple[str, ...]

    def predict(self, images: Tensor | np.ndarray) -> Tensor:
        """Return the probabilities of the classes, float32 (n, classes), for uint8 images (n, c, h, w).

        With the option `tta`, the model's logits are averaged, as in the test.
        """
        return inference.probabilities(self.model, images, self.model.tta)


def fit(*configs: str | Path | Mapping[str, Any]) -> FinishedRun:
    """Train a model as `python cli.py fit` does, and evaluate its best checkpoint on the test set.

        run = zoo.fit("cnn", "synthetic", {"optimizer.lr": 0.01})

    Args:
        configs: names or paths of configs, of which later ones override earlier ones; and options by their dotted
            keys, as on the command line.

    Several calls in one process read the images once.

    Raises:
        InputError: for bad input, with the message that the command prints.
        RunError: for a run that ends early.
    """
    argv = ["fit"]
    for config in configs:
        if isinstance(config, Mapping):
            for key, value in config.items():
                argv.append(f"--{key}={value if isinstance(value, (str, Path)) else as_word(value)}")
        else:
            argv += ["--config", str(config)]
    command_line = CommandLine(argv)
    command_line.check_names()
    try:
        with shared_reads(_READ):
            command = run_command(command_line)
    except Ended as end:
        raise (InputError if end.exit_code == 2 else RunError)(end.message) from None
    path = command.run_dir
    metrics = {} if path is None else json.loads((path / metrics_json.FILE).read_text(encoding="utf-8"))
    return FinishedRun(path, command.model.eval(), metrics, command.data.class_names)
