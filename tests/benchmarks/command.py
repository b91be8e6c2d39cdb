"""The command line of the benchmarks."""

import argparse
import importlib
import json
import os
import platform
import signal
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datamodules.errors import Ended, InputError, did_you_mean
from zoo.commands import output
from zoo.commands.arguments import Parser
from zoo.core import text_table
from zoo.runs.metrics_json import versions

RECORD = "record"  # whose `measure` gets a script, too
ABOUT = """\
Time a part of the project beside its peers, in one run in which they take turns, and show medians and ratios:

  numpy    the NumPy nets, beside PyTorch and scikit-learn
  cnn      the NumPy CNN, beside PyTorch
  data     images into augmented batches, beside torchvision's transforms
  augment  each augmentation, beside torchvision's transforms
  step     a training step of the CNNs in variants, beside its convolutions and products alone
  fit      the CNNs through fit, beside a bare loop
  start    start-up and memory, beside a plain LightningCLI and a plain script
  record   a training step of a record recipe, beside its author's script (--script)"""
# Modules of tests.benchmarks, the first by default. Each has a TITLE; `measure(rounds, images)`, which lets contestants
# take turns and returns a Stopwatch; and COMPARISONS, the pairs of contestants whose ratios are shown.
BENCHMARKS = {
    "numpy": "numpy_nets",
    "cnn": "numpy_cnn",
    "data": "data_path",
    "augment": "augmentations",
    "step": "steps",
    "fit": "tax",
    "start": "start",
    RECORD: "record",
}
# The largest batch, of which there is to be a whole one, and all training images of CIFAR-10.
LEAST_IMAGES, MOST_IMAGES = 512, 50_000
MOST_ROUNDS = 1000


def main(argv: list[str]) -> int:
    """Run a benchmark and return the exit code, 0.

    Args:
        argv: the benchmark and its options.

    Raises:
        InputError: for a misspelled command line, a number out of its range, a file that cannot be written.
        RunError: where a contestant fails or is interrupted.
        Ended: with code 143 for SIGTERM, once all temporary files and processes are gone.
    """
    options = parse(argv)
    from zoo.core.installation import check_torch

    check_torch()  # before the import of what needs a torch that works
    benchmark = importlib.import_module(f"tests.benchmarks.{BENCHMARKS[options.benchmark]}")

    was_there = options.json is not None and options.json.exists()
    print(machine(), flush=True)
    print(f"{benchmark.TITLE}: {options.rounds} rounds in turns, after one to warm up", flush=True)
    with _ended_by_sigterm():
        script = {"script": options.script} if options.benchmark == RECORD else {}
        stopwatch = benchmark.measure(options.rounds, options.images, **script)
    print("\n".join([*table(stopwatch), "", *ratios(stopwatch, benchmark.COMPARISONS), *stopwatch.notes]))
    if options.json is not None:
        content = {
            "benchmark": options.benchmark,
            "title": benchmark.TITLE,
            "machine": machine(),
            "versions": versions(),
            "images": options.images,
            "seconds": stopwatch.seconds,
            "operations": stopwatch.operations,
            "megabytes": stopwatch.megabytes,
            "notes": stopwatch.notes,
        }
        output.write("--json", options.json, f"{json.dumps(content, indent=2)}\n".encode(), replace=was_there)
    return 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise Ended, so that what is under way cleans up."""

    def end(number: int, frame: Any) -> None:
        raise Ended(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def machine() -> str:
    """Return one line about the processors and the versions."""
    import torch  # it has been checked that there is one that works

    found = versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("numpy", "torch", "lightning"))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{gpu}, Python {found['python']}, {packages}"


def table(stopwatch: Any) -> list[str]:
    """Return a row for each contestant of a Stopwatch, with the medians."""
    images = stopwatch.images
    head, rows = ["seconds for " + (f"{images:,} images" if images else "a run"), "median"], []
    head += ["images/s"] * bool(images)
    head += ["GFLOP/s"] * bool(stopwatch.operations) + ["MB at most"] * bool(stopwatch.megabytes)
    for name in stopwatch.seconds:
        seconds = stopwatch.median(name)
        row = [name, f"{seconds:.3f}"]
        if images:
            row.append("" if name in stopwatch.fixed else f"{images / seconds:,.0f}")
        if stopwatch.operations:
            operations = stopwatch.operations.get(name)
            row.append(f"{operations * images / seconds / 1e9:,.0f}" if operations else "")
        if stopwatch.megabytes:
            megabytes = stopwatch.megabytes.get(name)
            row.append(f"{statistics.median(megabytes):,.0f}" if megabytes else "")
        rows.append(row)
    return ["", *text_table.align([head, *rows], right=range(1, len(head)))]


def ratios(stopwatch: Any, comparisons: list[tuple[str, str]]) -> list[str]:
    """Return a row for each pair of contestants."""
    lines = ["median ratio (the middle half of the rounds)"]
    for name, other in comparisons:
        why = stopwatch.missing.get(name) or stopwatch.missing.get(other)
        if why:
            lines.append(f"   not measured  {name} / {other}: {why}")
        else:
            median, low, high = (_number(value) for value in stopwatch.ratio(name, other))
            lines.append(f"{median:>7}  ({low} to {high})  {name} / {other}")
    return lines


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.5f}"


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options on the command line."""
    parser = Parser(
        prog="python -m tests.benchmarks",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = next(iter(BENCHMARKS))
    names = ", ".join(BENCHMARKS)
    parser.add_argument("benchmark", metavar="WHAT", nargs="?", default=default, help=f"{names} (default: %(default)s)")
    rounds, images = _number_from(1, MOST_ROUNDS), _number_from(LEAST_IMAGES, MOST_IMAGES)
    parser.add_argument("--rounds", metavar="N", type=rounds, default=15, help="default: %(default)s")
    parser.add_argument("--images", metavar="N", type=images, default=MOST_IMAGES, help="of an epoch; default: 50,000")
    parser.add_argument("--script", metavar="FILE", type=Path, help="of record: the author's, as it was published")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all seconds to a file too")
    options = parser.parse_args(argv)
    if options.benchmark not in BENCHMARKS:
        hint = did_you_mean(options.benchmark, BENCHMARKS)
        raise InputError(f"benchmarks: there is no '{options.benchmark}'.{hint} There are: {names}")
    if options.benchmark == RECORD and options.script is None:
        raise InputError("benchmarks record needs --script FILE, such as airbench94_muon.py of the records' repository")
    if options.benchmark != RECORD and options.script is not None:
        raise InputError(f"benchmarks {options.benchmark}: --script {options.script} belongs to benchmarks record")
    if options.json is not None:
        output.check_file("--json", options.json)
    return options


def _number_from(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number of a range."""

    def number(text: str) -> int:
        # Python reads no number of thousands of digits.
        if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least {least:,} and at most {most:,}")
        return int(text)

    return number
