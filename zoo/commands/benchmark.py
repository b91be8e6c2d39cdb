"""`benchmark` times a part of the project beside its peers, in one run."""

import argparse
import importlib
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from datamodules.errors import InputError, did_you_mean
from zoo.commands import output
from zoo.commands.parser import Parser, check_unknown
from zoo.evaluation.results import versions

ABOUT = """\
Time a part of the project beside its peers, in one run in which they take turns, and show medians and ratios:

  numpy  the NumPy nets, beside PyTorch and scikit-learn
  data   images into augmented batches, beside torchvision's transforms
  step   a training step of the CNNs in variants, and the machine's peak
  fit    the CNNs through fit, beside a bare loop
  start  start-up and memory, beside a plain LightningCLI and a plain script"""
# Modules of zoo.benchmarks, the first by default. Each has a TITLE; `measure(rounds, images)`, which lets contestants
# take turns; COMPARISONS, the pairs of contestants whose ratios are shown; and UNIT, what its seconds are for:
# "images", as many as --images says, or "runs" of a program.
BENCHMARKS = {"numpy": "numpy_nets", "data": "data_path", "step": "steps", "fit": "tax", "start": "start"}
IMAGES = 50_000


def main(argv: list[str]) -> int:
    """Run `benchmark` and return its exit code, 0.

    Args:
        argv: what follows `benchmark` on the command line.

    Raises:
        InputError: for a misspelled command line.
    """
    options = _parse(argv)
    from zoo.installation import check_torch

    check_torch()  # before the import of what needs a torch that works
    benchmark = importlib.import_module(f"zoo.benchmarks.{BENCHMARKS[options.benchmark]}")

    print(machine(), flush=True)
    print(f"{benchmark.TITLE}: {options.rounds} rounds in turns, after one to warm up", flush=True)
    stopwatch = benchmark.measure(options.rounds, options.images)
    images = options.images if benchmark.UNIT == "images" else None
    print("\n".join([*_table(stopwatch, images), "", *_ratios(stopwatch, benchmark.COMPARISONS)]))
    if options.json is not None:
        content = {
            "benchmark": options.benchmark,
            "title": benchmark.TITLE,
            "machine": machine(),
            "versions": versions(),
            "images": options.images,
            **vars(stopwatch),
        }
        output.write("--json", options.json, f"{json.dumps(content, indent=2)}\n".encode())
    return 0


def machine() -> str:
    """Return one line about the processors and the versions."""
    import torch  # it has been checked that there is one that works

    found = versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("numpy", "torch", "lightning"))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{gpu}, Python {found['python']}, {packages}"


def _table(stopwatch: Any, images: int | None) -> list[str]:
    """Return a row for each contestant, with the medians.

    Args:
        stopwatch: what was measured.
        images: what its seconds are for; None: for a run.
    """
    head, rows = ["seconds for" + (f" {images:,} images" if images else " a run"), "median"], []
    head += ["images/s"] * bool(images)
    head += ["GFLOP/s"] * bool(stopwatch.operations) + ["MB at most"] * bool(stopwatch.megabytes)
    for name in stopwatch.seconds:
        seconds = stopwatch.median(name)
        row = [name, f"{seconds:.3f}"]
        row += [f"{images / seconds:,.0f}"] if images else []
        if stopwatch.operations:
            operations = stopwatch.operations.get(name)
            row.append(f"{operations * (images or 1) / seconds / 1e9:,.0f}" if operations else "")
        if stopwatch.megabytes:
            megabytes = stopwatch.megabytes.get(name)
            row.append(f"{statistics.median(megabytes):,.0f}" if megabytes else "")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["", *(_line(row, widths) for row in (head, *rows))]


def _line(row: list[str], widths: list[int]) -> str:
    name, *figures = row
    return "  ".join([name.ljust(widths[0]), *(it.rjust(width) for it, width in zip(figures, widths[1:], strict=True))])


def _ratios(stopwatch: Any, comparisons: list[tuple[str, str]]) -> list[str]:
    """Return a row for each pair of contestants."""
    lines = ["median ratio (the middle half of the rounds)"]
    for name, other in comparisons:
        if {name, other} <= stopwatch.seconds.keys():
            median, low, high = (_number(value) for value in stopwatch.ratio(name, other))
            lines.append(f"{median:>7}  ({low} to {high})  {name} / {other}")
        else:
            lines.append(f"   not measured  {name} / {other}: not installed")
    return lines


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.5f}"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="python cli.py benchmark",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    default = next(iter(BENCHMARKS))
    names = ", ".join(BENCHMARKS)
    parser.add_argument("benchmark", metavar="WHAT", nargs="?", default=default, help=f"{names} (default: %(default)s)")
    parser.add_argument("--rounds", metavar="N", type=_at_least_1, default=15, help="default: %(default)s")
    parser.add_argument("--images", metavar="N", type=_at_least_1, default=IMAGES, help="of an epoch; default: 50,000")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all seconds to a file too")
    options, unknown = parser.parse_known_args(argv)
    check_unknown("benchmark", unknown, (name for name in vars(options) if name != "benchmark"))
    if options.benchmark not in BENCHMARKS:
        hint = did_you_mean(options.benchmark, BENCHMARKS)
        raise InputError(f"benchmark: there is no '{options.benchmark}'.{hint} There are: {names}")
    if options.json is not None:
        output.check_file("--json", options.json)
    return options


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 1")
    return int(text)
