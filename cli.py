"""The command line: looks at the command first, and imports what that command needs."""

import sys

from datamodules.errors import InputError, did_you_mean, one_line

LIGHTNING = {
    "fit": "train a model, evaluate its best checkpoint on the test set",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
    "predict": "write a checkpoint's predictions for the test set",
}

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
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0, or 2 for bad input.

    Args:
        argv: the command and its options; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE.format(commands="\n".join(f"  {name:<10} {text}" for name, text in LIGHTNING.items())), end="")
        return 0
    try:
        if argv[0] == "--version":
            from importlib.metadata import PackageNotFoundError, version

            try:
                print(f"cifar10-zoo {version('cifar10-zoo')}")
            except PackageNotFoundError:
                raise InputError("cifar10-zoo is not installed: pip install -e .") from None
            return 0
        if argv[0] not in LIGHTNING:
            raise InputError(
                f"unknown command '{argv[0]}'.{did_you_mean(argv[0], LIGHTNING)} Commands are: {', '.join(LIGHTNING)}"
            )
        from zoo.installation import check_torch

        check_torch()
        from zoo.lightning_cli import main as run

        run(argv)
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
