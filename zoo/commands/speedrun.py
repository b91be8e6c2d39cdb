"""`speedrun` runs a record recipe with several seeds: accuracy with and without test-time augmentation, and seconds."""

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from zoo.commands import output
from zoo.commands.arguments import Parser, check_choice
from zoo.core.installation import check_torch
from zoo.runs import command_line, metrics_json
from zoo.runs.command_line import CommandLine

# The target accuracy of each recipe, with test-time augmentation.
TARGETS = {"speedrun94": 0.94, "speedrun95": 0.95, "speedrun96": 0.96}
# Options of fit that do not fit a recipe. Each of several processes would take itself for the command.
REFUSED = {
    "--seed_everything": "it trains with the seeds from 0 to --seeds - 1",
    "--resume": "it trains from the start",
    "--ckpt": "it trains from the start",
    "--ckpt_path": "it trains from the start",
    "--trainer.fast_dev_run": "it tests what it has trained",
    "--trainer.limit_test_batches": "it tests on all test images (--data.test_size takes fewer)",
    "--trainer.devices": "it trains on one device",
    "--trainer.num_nodes": "it trains on one device",
    "--trainer.strategy": "it trains on one device",
}
ONE_PROCESS = ("--trainer.devices", "1", "--trainer.num_nodes", "1", "--trainer.strategy", "auto")
PARTS = ("whitening_seconds", "train_seconds", "test_seconds")


def main(argv: list[str]) -> int:
    """Run `speedrun` and return its exit code, 0."""
    options, words = parse(argv)
    check_torch()  # before the import of what needs a torch that works
    runs: list[dict[str, Any]] = []
    was_there = options.json is not None and options.json.exists()
    for seed in range(options.seeds):
        run = fit_seed(options, words, seed)
        if not runs:
            packages = ", ".join(f"{package} {run['versions'][package]}" for package in ("torch", "lightning"))
            data = run["data"]["source"]
            print(f"{options.recipe}: {data}, {run['epochs']} epochs, {run['hardware']}, {packages}")
        runs.append(run)
        print(_line(f"seed {seed}", [run]), flush=True)
        if options.json is not None:  # what is done is kept, whatever happens to the next one
            content = {"recipe": options.recipe, "options": words, "target": TARGETS[options.recipe], "runs": runs}
            text = f"{json.dumps(content, indent=2)}\n"
            output.write("--json", options.json, text.encode(), replace=was_there or len(runs) > 1)
    print(_line(f"mean of {len(runs)}", runs))
    print(verdict(options.recipe, runs))
    return 0


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of the command, and the words for `fit`."""
    parser = Parser(
        prog="python cli.py speedrun",
        usage="%(prog)s [RECIPE] [--seeds N] [--json FILE] [options of fit]",
        description=f"{__doc__} All other options are those of fit, as --config synthetic.",
    )
    add, recipes = parser.add_argument, ", ".join(TARGETS)
    add("recipe", metavar="RECIPE", nargs="?", default="speedrun94", help=f"{recipes}; default: the first")
    add("--seeds", metavar="N", type=int, default=1, help="how many runs, of seeds 0 to N - 1; default: 1")
    add("--json", metavar="FILE", type=Path, help="write the metrics of all runs to a file, too")
    # Argparse alone would take the value of an option of fit for the recipe.
    named = argv[:1] if argv and not argv[0].startswith("-") else []
    own, words = command_line.take(argv[len(named) :], ("-h", "--help", "--seeds", "--json"))
    options = parser.parse_args(named + [word for option in own.items() for word in option if word is not None])
    check_choice("speedrun: the recipe", options.recipe, TARGETS)
    if options.seeds < 1:
        raise InputError(f"speedrun: --seeds '{options.seeds}' must be a positive integer")
    for option, _, _ in command_line.split(words):
        if option in REFUSED:
            raise InputError(f"speedrun does not take {option}: {REFUSED[option]}")
    CommandLine(["fit", *words]).check_names()
    if options.json is not None:
        output.check_file("--json", options.json)
    return options, words


def fit_seed(options: argparse.Namespace, words: Sequence[str], seed: int) -> dict[str, Any]:
    """Train and test with a seed, as `fit` does; return the metrics, and what they were measured with.

    The seconds are those that the records count: whitening, training steps, and the test with its views, without
    start-up, compilation, checkpoints and plots.
    """
    from zoo.training.fit_command import Fit
    from zoo.training.main import run_command

    with contextlib.redirect_stdout(sys.stderr):  # the output of fit goes there, the metrics go to stdout
        seeded = ["--seed_everything", str(seed)]
        done = run_command(CommandLine(["fit", "--config", options.recipe, *words, *ONE_PROCESS, *seeded]))
    assert isinstance(done, Fit)
    assert done.run_dir is not None
    if not done.history.rows or "test" not in done.model.results:
        missing = "epoch" if not done.history.rows else "test"
        cause = "--trainer.max_epochs or --trainer.limit_..._batches is 0"
        raise InputError(f"speedrun: the run has no {missing}: {cause}")
    facts = json.loads((done.run_dir / metrics_json.FILE).read_text(encoding="utf-8"))
    parts = {part: getattr(done.model, part, 0.0) for part in PARTS}
    parts["train_seconds"] = sum(row["train_seconds"] for row in done.history.rows)
    return {
        "seed": seed,
        "run": str(done.run_dir),
        "acc": facts["test/acc"],
        "acc_tta": facts.get("test/acc_tta"),
        "seconds": sum(parts.values()),
        **parts,
        **{name: facts[name] for name in ("epochs", "data", "hardware", "versions")},
    }


def _line(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """Return the metrics of one run, or mean and spread of several runs."""
    accuracy, with_views = (_summary([run[metric] for run in runs], ".4f") for metric in ("acc", "acc_tta"))
    seconds = _summary([run["seconds"] for run in runs], ".2f")
    return f"{name:<12}accuracy {accuracy}   with test-time augmentation {with_views}   in {seconds} s"


def _summary(values: Sequence[Any], form: str) -> str:
    if None in values:
        return "-"
    spread = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{spread}"


def verdict(recipe: str, runs: Sequence[dict[str, Any]]) -> str:
    """Return whether the recipe has reached its target on average, and in how many seconds."""
    target, data = f"target {TARGETS[recipe]:.0%}", runs[0]["data"]
    is_asked = (data["task"], data["test"]) == ("multiclass", CIFAR10.test_images)
    if not is_asked or data["source"] not in map(CIFAR10.title_of, (True, False)):
        return f"{target}: not asked, it is for the ten classes of CIFAR-10 and all {CIFAR10.test_images:,} test images"
    reached = [run["acc_tta"] for run in runs]
    if None in reached:
        return f"{target}: not measured, the model tests without test-time augmentation"
    if statistics.mean(reached) < TARGETS[recipe]:
        copy = "" if data["source"] == CIFAR10.title else ", which is for the official images"
        return f"{target}: not reached{copy}"
    median = statistics.median(run["seconds"] for run in runs)
    return f"{target}: reached in {median:.2f} s (median; whitening, training steps and test, as the records count)"
