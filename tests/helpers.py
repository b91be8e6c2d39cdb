"""What several test modules share: models, data, trainers, runs, hostile texts, files of CIFAR-10."""

import csv
import pickle
import re
from collections.abc import Iterable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cli
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from zoo.catalogue import registry

# Models.

MODELS = [name for name in registry.BUILT_IN if name != "Wrapped"]  # those that their default arguments make
# The heavy checks (two processes, programs, class-activation maps, torch.compile) run for these, and for all others by
# `pytest -m full`.
ALWAYS_CHECKED = ("CNN", "NumPyMLP", "TimmModel")


def heavy(models: Iterable) -> list:
    """Return the parameters of a heavy check, models or their names: most of them are marked `full`."""
    names = [model if isinstance(model, str) else model.__name__ for model in models]
    marks = [() if name in ALWAYS_CHECKED else pytest.mark.full for name in names]
    return [pytest.param(*case, marks=mark) for *case, mark in zip(models, marks, strict=True)]


# Training.


def tiny_data(**options) -> CIFAR10DataModule:
    """Return drawn images: 64 to train on, 32 for validation and 32 for the test, in batches of 16."""
    return CIFAR10DataModule(
        source="synthetic", **{"train_size": 64, "val_size": 32, "test_size": 32, "batch_size": 16} | options
    )


def quiet_trainer(**options) -> L.Trainer:
    """Return a trainer for one epoch on the CPU that prints, logs and saves nothing."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(accelerator="cpu", **quiet | {"max_epochs": 1, "num_sanity_val_steps": 0} | options)


def random_images(n: int) -> torch.Tensor:
    """Return the same random pixels each time, uint8 (n, 3, 32, 32)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8))


# Commands.


def refusal(capsys, *command: object, notes: tuple[str, ...] = ()) -> str:
    """Run a command that is refused with exit code 2 and one line on stderr, and return the line.

    Args:
        capsys: the fixture.
        command: the command and its options.
        notes: the beginnings of other lines that may stand on stderr.
    """
    capsys.readouterr()
    assert cli.main([str(word) for word in command]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = [line for line in output.err.splitlines() if not line.startswith(notes)]
    assert line.startswith("error: ")
    return line


def contents(folder: Path) -> dict[Path, bytes]:
    """Return all paths below a folder: of a file its bytes, of a folder none."""
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


# Runs.


def run_of(*command: str, code: int = 0) -> Path:
    """Run a command that makes a run below the working directory, and return the run's absolute path.

    Args:
        command: `fit` and its options.
        code: the expected exit code.
    """
    before = set(Path("runs").glob("*/2*"))
    assert cli.main(list(command)) == code
    (run,) = set(Path("runs").glob("*/2*")) - before
    return run.resolve()


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """Return the weights in a run's checkpoint of that name."""
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def rows(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's `metrics.csv`, without the seconds, which differ."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in csv.DictReader(file)]


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return a run's TensorBoard curves by tag, over epochs and over steps, without timings, which differ."""
    found = {}
    for folder in ("tensorboard", "tensorboard/steps"):
        log = EventAccumulator(str(run / folder))
        log.Reload()
        found |= {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}
    return {tag: curve for tag, curve in found.items() if not tag.startswith(("perf/", "hp/"))}


# Texts of strangers.


class Hostile:
    """Makes texts that would be HTML or Markdown if a writer did not escape them, and keeps them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self) -> str:
        # Letters around the number tell all texts apart: x1y is not a part of x11y.
        self.texts.append(f"x{len(self.texts)}y <b>&amp;\" onload='z' *_`|~$[#]\\")
        return self.texts[-1]


def in_markdown(text: str) -> str:
    """Return a text as Markdown in which nothing is markup: with a backslash before whatever could be."""
    return re.sub(r"([\\`*_\[\]<>#|&~$])", r"\\\1", text)


# Files of CIFAR-10.


def batch_file(name: str, **changes) -> dict:
    """Return the content of a batch file of the official layout; each image has one color.

    Args:
        name: of the file.
        changes: entries to replace.
    """
    number = CIFAR10.files.index(name)
    rng = np.random.default_rng(number)
    labels = rng.permutation(np.arange(10_000) % 10)
    data = np.zeros((10_000, 3072), dtype=np.uint8)
    data += (labels * 20 + 5 + number).astype(np.uint8)[:, None]
    titles = {**CIFAR10.batches["train"], **CIFAR10.batches["test"]}
    return {"batch_label": titles[name], "labels": labels.tolist(), "data": data} | changes


def write_pickle(path: Path, value: object) -> None:
    """Pickle `value` by the protocol of the official files."""
    path.write_bytes(pickle.dumps(value, protocol=2))


class Malicious:
    """Creates the file "it-ran" when it is unpickled."""

    def __reduce__(self):
        return (open, ("it-ran", "w"))
