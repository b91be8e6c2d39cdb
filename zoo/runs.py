"""Run directories: `runs/<name>/<when>/` holds all that a run leaves behind.

config.yaml           the full config: `fit --config` with it repeats the run
checkpoints/          best.ckpt (by val/acc) and last.ckpt
metrics.csv           one row an epoch
metrics.json          the results on the test set, and what they were measured with
confusion_matrix.png, learning_curves.png
tensorboard/          logs
"""

import os
import time
from pathlib import Path

from datamodules.errors import InputError

_INHERITED = "CIFAR10_ZOO_RUN_DIRECTORY"


def create(runs_dir: Path, name: str, *, is_first_process: bool = True) -> Path:
    """Make and return a new directory `runs_dir/name/<date and time>`.

    The first process of a run decides; those that it launches inherit its choice through the environment.

    Raises:
        InputError: where it cannot be made.
    """
    if not is_first_process and _INHERITED in os.environ:
        return Path(os.environ[_INHERITED])
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        directory = runs_dir / name / (started if attempt == 1 else f"{started}_{attempt}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if directory.is_dir():
                continue
            raise InputError(f"--runs_dir={runs_dir}: '{directory.parent}' is not a folder") from None
        except OSError as error:
            raise InputError(f"--runs_dir={runs_dir}: a run directory cannot be made there ({error})") from error
        os.environ[_INHERITED] = str(directory)
        return directory
    raise InputError(f"--runs_dir={runs_dir}: no free name for a run that started at {started}")


def of_checkpoint(checkpoint: Path) -> Path:
    """Return the run directory that a checkpoint lies in, or its own folder where it lies in none."""
    run = checkpoint.resolve().parent.parent
    return run if (run / "config.yaml").is_file() else checkpoint.resolve().parent
