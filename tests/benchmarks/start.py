"""How long the command line takes to start, and how much memory `fit` has at most: each a process of its own.

Beside them: the same model and data in a plain LightningCLI; Python with PyTorch, Lightning and one tiny training
step, which no fit can do without; and the plainest training script, with torchvision's images and transforms. The
script imports Lightning too, as the models do. Memory is what is resident, with the libraries' own code.

The images that a fit holds are noise, in files like CIFAR-10's: drawn ones take minutes to draw. It has a few steps
and one batch of validation, by when it has about the memory that a longer one has. The plain script holds all 50,000
training images, as torchvision reads them, however many it learns from.
"""

import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.data_sets import CIFAR10
from tests.benchmarks import process, start_programs
from tests.benchmarks.stopwatch import Stopwatch
from zoo.runs import configs

HELP, LIST, FIT_HELP, LONG_HELP, FIRST_STEP = "--help", "list", "fit --help", "fit --help all", "fit, to its first step"
PLAIN_HELP, PLAIN_FIRST_STEP = "plain LightningCLI, fit --help", "plain LightningCLI, fit, to its first step"
IMPORTS = "import of torch and Lightning, a tiny step"
MODELS = {"CNN": "cnn", "ImprovedCNN": "improved_cnn"}  # with their configs
STEPS, EVAL_BATCH_SIZE = 10, 250
TITLE = f"processes from start to exit (those that learn from --images: at most {STEPS} steps, and once only)"
COMPARISONS = [(FIT_HELP, PLAIN_HELP), (LONG_HELP, PLAIN_HELP), (FIRST_STEP, PLAIN_FIRST_STEP)]

Commands = dict[str, list[str]]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants run in turns, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has; those whose memory is the point run once at the end, as it scatters little.
        images: that those learn from, a tenth of them for validation; at most 50,000.

    Returns:
        The seconds and the megabytes of each run.

    Raises:
        RunError: where a contestant fails.
    """
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def run(name: str, command: list[str]) -> None:
            usage = process.run(name, command, folder)
            stopwatch.add(name, usage.seconds)
            if usage.megabytes is not None:
                stopwatch.add_megabytes(name, usage.megabytes)

        commands = start_up()
        for _ in range(rounds + 1):
            for name in stopwatch.order(commands):
                run(name, commands[name])
        stopwatch.drop_warm_up()
        write_noise(folder)
        for name, command in memory(folder, images).items():
            run(name, command)
    return stopwatch


def start_up() -> Commands:
    """Return those whose seconds are the point."""
    options = ["--data.source=synthetic", "--data.train_size=256", "--data.val_size=32", "--data.test_size=32"]
    options.append("--trainer.num_sanity_val_steps=0")  # the default of `fit`, not of a LightningCLI
    options.append(f"--trainer.callbacks=[{{class_path: {start_programs.__name__}.EndAtFirstStep}}]")
    return {
        HELP: _ours("--help"),
        LIST: _ours("list"),
        FIT_HELP: _ours("fit", "--help"),
        LONG_HELP: _ours("fit", "--help", "all"),
        PLAIN_HELP: [*_call(start_programs.plain_lightning_cli), "fit", "--help"],
        FIRST_STEP: _ours("fit", "--model=CNN", *options),
        PLAIN_FIRST_STEP: [*_call(start_programs.plain_lightning_cli), "fit", *options],
    }


def memory(folder: Path, images: int) -> Commands:
    """Return those whose memory is the point.

    Args:
        folder: of CIFAR-10, or what looks like it.
        images: see `measure`.
    """
    commands = {IMPORTS: _call(start_programs.tiny_step)}
    for model, config in MODELS.items():
        options = {
            "config": config,
            "data.data_dir": folder,
            "data.verify_checksums": False,
            "data.train_size": images - images // 10,
            "data.val_size": images // 10,
            "data.test_size": 10,
            "data.drop_last": True,  # no last batch of one, on which batch norm could not train
            "data.eval_batch_size": EVAL_BATCH_SIZE,
            "trainer.max_epochs": 1,
            "trainer.limit_train_batches": STEPS,
            "trainer.limit_val_batches": 1,
        }
        commands[f"fit of {model}, {images:,} images"] = _ours("fit", *(f"--{key}={it}" for key, it in options.items()))
        data = configs.read(configs.find(config))["data"]
        arguments = (STEPS, data["batch_size"], data["crop_padding"], EVAL_BATCH_SIZE)
        script = _call(start_programs.plain_script, model, str(folder), images, *arguments)
        commands[f"plain script of {model}, {images:,} of 50,000 images"] = script
    return commands


def _ours(*arguments: str) -> list[str]:
    return [sys.executable, str(process.ROOT / "cli.py"), *arguments]


def _call(function: Callable[..., object], *arguments: Any) -> list[str]:
    """Return the command that calls a function of a module with plain values."""
    call = f"from {function.__module__} import {function.__name__} as run; run(*{arguments!r})"
    return [sys.executable, "-c", call]


def write_noise(folder: Path) -> None:
    """Write 60,000 images of noise in CIFAR-10's official layout, 184 MB."""
    rng = np.random.default_rng(0)
    contents: dict[str, dict[str, Any]] = {"batches.meta": {"label_names": list(CIFAR10.class_names)}}
    for name in CIFAR10.files[:-1]:
        pixels = rng.integers(0, 256, (10_000, 3072), dtype=np.uint8)
        contents[name] = {"data": pixels, "labels": rng.integers(0, 10, 10_000).tolist()}
    (folder / CIFAR10.folder).mkdir()
    for name, content in contents.items():
        # Protocol 4 keeps bytes as bytes, and calls no more than `reader` lets it.
        (folder / CIFAR10.folder / name).write_bytes(pickle.dumps(content, protocol=4))
