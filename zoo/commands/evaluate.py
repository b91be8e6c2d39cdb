"""Write a report on a trained model: report.html, a single file that opens without a network, report.md with its
pictures, and report.json. The report has the confusion matrix, metrics of each class, calibration, the worst mistakes,
robustness, learning curves and speed; with --against also whether another model is really better."""

import argparse
from pathlib import Path

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from zoo.commands import output
from zoo.commands.arguments import Parser, add_checkpoint, add_views, check_choice
from zoo.core.installation import check_torch
from zoo.core.views import VIEWS
from zoo.runs.run_directory import REPORT, folder_of

STAGES = ("test", "val")


def main(argv: list[str]) -> int:
    """Run `evaluate` and return its exit code, 0."""
    options = parse(argv)
    from zoo.evaluation import external_test_sets  # needs no torch: what is wrong with these files is told at once

    cifar10_c = external_test_sets.cifar10_c(options.cifar10_c) if options.cifar10_c else None
    cifar10_1 = external_test_sets.cifar10_1(options.cifar10_1) if options.cifar10_1 else None

    check_torch()
    from zoo.evaluation import composition, report_writer, subject
    from zoo.trained import trained_model

    if options.out is not None:
        report_writer.check_free(options.out, options.overwrite)
    chosen = options.ckpt, options.runs_dir, options.model, options.accelerator, options.net, options.tta
    first = trained_model.load(*chosen)
    against = options.against, options.runs_dir, options.against_model, options.accelerator, options.against_net
    other = trained_model.load(*against, options.tta) if options.against else None
    out = options.out or output.from_here(folder_of(first.path, REPORT))
    report_writer.check_free(out, options.overwrite)
    for name in ("cifar10_c", "cifar10_1"):
        if getattr(options, name) and first.data_title != CIFAR10.title:
            problem = f"is a test set of {CIFAR10.title}, and {first.path} was trained on {first.data_title}"
            raise InputError(f"--{name} {problem}: leave it out")
    if other is not None:
        subject.check_comparable(first, other, options.stage)

    output.note_unused_gpu(first, options.accelerator)
    classified = subject.classify(first, options.stage, options.data_dir)
    output.note(classified.data.describe())
    report, verdict = composition.compose(classified, other, options.corruption_images, cifar10_c, cifar10_1)
    report_writer.write(report, out, options.overwrite)
    output.say(f"{report.title}\n{report.subtitle}\n")
    for fact in report.highlights:
        output.say(f"  {fact.label:<25} {fact.shown():<9} {fact.note}".rstrip())
    if verdict:
        output.say(f"\n{verdict}")
    output.say("")
    output.say_line(f"report: {out / report_writer.HTML}")
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py evaluate", description=__doc__)
    add_checkpoint(parser)
    add_views(parser)
    add = parser.add_argument
    add("--against", metavar="CHECKPOINT", help="another one, B: is it better than A, that of --ckpt?")
    add("--against_model", metavar="MODEL", help="the class of B if it is not in the zoo")
    add("--against_net", metavar="NET", help="the network of B if B is a model Wrapped")
    add("--stage", default="test", help="the images, test or val; make choices on val (default: %(default)s)")
    add("--out", metavar="DIR", type=Path, help=f"a folder for the report (default: {REPORT} in the run's directory)")
    add("--overwrite", action="store_true", help="replace a report that is there already")
    add(
        "--data_dir",
        metavar="DIR",
        type=Path,
        help="of the data (default: the run's, CIFAR10_DIR or the like, or data)",
    )
    cell = "images of each corruption and severity; 0 leaves them out (default: %(default)s)"
    add("--corruption_images", metavar="N", type=int, default=1000, help=cell)
    add(
        "--cifar10_c",
        metavar="DIR",
        type=Path,
        help="evaluate a model of CIFAR-10 on CIFAR-10-C too, whose files lie there",
    )
    add(
        "--cifar10_1",
        metavar="DIR",
        type=Path,
        help="evaluate a model of CIFAR-10 on CIFAR-10.1 too, whose files lie there",
    )
    options = parser.parse_args(argv)

    check_choice("--stage", options.stage, STAGES)
    check_choice("--tta", options.tta, VIEWS)
    if options.corruption_images < 0:
        raise InputError(f"--corruption_images {options.corruption_images} is out of range: give at least 0")
    if options.cifar10_c and not options.corruption_images:
        raise InputError("--corruption_images 0 leaves nothing of CIFAR-10-C: give a number, or leave out --cifar10_c")
    for name in ("cifar10_c", "cifar10_1"):
        if getattr(options, name) and options.stage == "val":
            raise InputError(f"--{name} has test images, and --stage val is for choices: leave out one of the two")
    return options
