"""`benchmark` times the NumPy nets beside PyTorch, scikit-learn and the bare loop, in one run."""

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from zoo.commands import output
from zoo.commands.parser import Parser, check_unknown
from zoo.evaluation.results import versions

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
    from zoo.benchmarks import numpy_nets

    print(machine(), flush=True)
    print(
        f"3072-64-10, batch 64, momentum, float32: {options.rounds} rounds in turns, after one to warm up", flush=True
    )
    stopwatch = numpy_nets.measure(options.rounds, options.images)
    print("\n".join(_table(stopwatch, numpy_nets.COMPARISONS, options.images)))
    if options.json is not None:
        content = {"machine": machine(), "versions": versions(), "images": options.images, "seconds": stopwatch.seconds}
        output.write("--json", options.json, f"{json.dumps(content, indent=2)}\n".encode())
    return 0


def machine() -> str:
    """Return one line about the processor and the versions."""
    found = versions()
    packages = ", ".join(f"{name} {found[name]}" for name in ("numpy", "torch", "lightning"))
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {found['python']}, {packages}"


def _table(stopwatch: Any, comparisons: list[tuple[str, str]], images: int) -> list[str]:
    widest = max(len(name) for name in stopwatch.seconds)
    lines = ["", f"{'seconds for':<{widest}}    median", f"{images:,} images"]
    lines += [f"{name:<{widest}}  {stopwatch.median(name):8.3f}" for name in stopwatch.seconds]
    lines += ["", "median ratio (the middle half of the rounds)"]
    for name, other in comparisons:
        if {name, other} <= stopwatch.seconds.keys():
            ratio = stopwatch.ratio(name, other)
            lines.append(f"{ratio.median:6.2f}  ({ratio.low:.2f} to {ratio.high:.2f})  {name} / {other}")
        else:
            lines.append(f"   not measured  {name} / {other}: pip install scikit-learn")
    return lines


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py benchmark", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", metavar="N", type=_at_least_1, default=15, help="default: %(default)s")
    parser.add_argument("--images", metavar="N", type=_at_least_1, default=IMAGES, help="of an epoch; default: 50,000")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all seconds to a file too")
    options, unknown = parser.parse_known_args(argv)
    check_unknown("benchmark", unknown, vars(options))
    if options.json is not None:
        output.check_file("--json", options.json)
    return options


def _at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 1")
    return int(text)
