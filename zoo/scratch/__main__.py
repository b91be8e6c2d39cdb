"""The lesson runs: a network with one hidden layer learns to tell ten classes of images apart.

    python -m zoo.scratch                        # on CIFAR-10, read with NumPy alone
    python -m zoo.scratch --source synthetic     # on drawn images, without a download

The part to read is `learn`; the rest reads options and images.

A tenth of the images is held out: the network never learns from them, and its accuracy is measured there. After five
epochs it is about 45 % on a JPEG copy of CIFAR-10. The first epoch's loss can be above the held-out one: it is the mean
over an epoch in which the network was still learning, and the held-out loss is measured at the epoch's end.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np
from threadpoolctl import threadpool_limits

from datamodules import synthetic
from datamodules.data_sets import CIFAR10
from datamodules.errors import Ended, InputError, one_line
from datamodules.paths import default_data_dir, user_path
from zoo.scratch.activations import ReLU
from zoo.scratch.batches import Batches
from zoo.scratch.fast import FastMomentum, FastNetwork
from zoo.scratch.initializers import he
from zoo.scratch.layers import Dense, Flatten
from zoo.scratch.losses import CategoricalCrossEntropy
from zoo.scratch.training import evaluate, train_epoch

HIDDEN_UNITS = 64
BATCH_SIZE = 64
LEARNING_RATE = 0.01
HELD_OUT = 0.1  # of the images


def main(argv: list[str] | None = None) -> int:
    """Run the lesson and return its exit code: 0, or 2 for bad input.

    Args:
        argv: the options; by default those of the process.
    """
    try:
        options = build_parser().parse_args(argv)
        images, labels = read_images(options)
        # Products of matrices as small as these gain little from a second core, and suffer where it is busy.
        with threadpool_limits(1, user_api="blas"):
            learn(images, labels, epochs=options.epochs, rng=np.random.default_rng(options.seed))
    except Ended as end:
        return end.exit_code
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def read_images(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that the user asked for, uint8 (M, 32, 32, 3), and their labels, (M,).

    Raises:
        InputError: if there is no CIFAR-10 to read, or it cannot be read.
    """
    if options.source == "synthetic":
        count = options.images or 10_000
        print(f"{count:,} drawn images of ten figures; an accuracy on them says nothing about photographs")
        images, labels = synthetic.generate(count, split="train")
        return images.transpose(0, 2, 3, 1), labels
    if CIFAR10.find(options.data_dir) is None:
        raise InputError(
            f"{CIFAR10.missing(options.data_dir)}: name its folder with --data_dir, download it with "
            "'python cli.py data prepare', or take the drawn images with '--source synthetic'"
        )
    images, labels, official = CIFAR10.read(options.data_dir, "train", verify_checksums=False)
    images, labels = images[: options.images], labels[: options.images]
    print(f"{len(images):,} images of CIFAR-10{'' if official else ', a copy (not the official files)'}")
    return images.transpose(0, 2, 3, 1), labels  # (M, 3, 32, 32) in the file


def learn(images: np.ndarray, labels: np.ndarray, epochs: int, rng: np.random.Generator) -> None:
    """Train the network and print a line for each epoch.

    Args:
        images: uint8, shape (M, 32, 32, 3).
        labels: integers from 0 to 9, shape (M,).
        epochs: how often to go through the images.
        rng: source of all random numbers.
    """
    # All numbers 0..M-1 in random order, cut in two: the first tenth is held out, the network learns from the rest.
    held_out, learned = np.split(rng.permutation(len(images)), [int(HELD_OUT * len(images))])
    learned_images, learned_labels = images[learned], labels[learned]
    held_out_images, held_out_labels = images[held_out], labels[held_out]

    inputs, classes = images[0].size, len(CIFAR10.class_names)
    hidden_layer, last_layer = Dense(inputs, HIDDEN_UNITS, he, rng), Dense(HIDDEN_UNITS, classes, he, rng)
    # Network and Momentum do the same, a little slower.
    network = FastNetwork([Flatten(), hidden_layer, ReLU(), last_layer])
    loss = CategoricalCrossEntropy()
    optimizer = FastMomentum(network.parameters)
    learned_batches = Batches(learned_images, learned_labels, BATCH_SIZE, rng)
    held_out_batches = Batches(held_out_images, held_out_labels, BATCH_SIZE)

    print(f"a network {inputs}-{HIDDEN_UNITS}-{classes} of {network.flat.size:,} parameters")
    print(
        f"a guess among {classes} classes has an accuracy of {100 / classes:.0f} % and a loss of {np.log(classes):.3f}"
    )
    print()
    print(f"       {len(learned):,} to learn from  {len(held_out):,} held out")
    print("epoch            loss      loss  accuracy  seconds")
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        learned_loss = train_epoch(network, loss, optimizer, learned_batches, LEARNING_RATE)
        seconds = time.perf_counter() - start
        held_out_loss, accuracy = evaluate(network, loss, held_out_batches)
        print(f"{epoch:5}{learned_loss:16.3f}{held_out_loss:10.3f}{100 * accuracy:8.1f} %{seconds:9.1f}", flush=True)


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors instead of printing its usage."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise Ended(status)

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the lesson."""
    parser = _Parser(prog="python -m zoo.scratch", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--source", choices=["cifar10", "synthetic"], default="cifar10", help="default: %(default)s")
    parser.add_argument(
        "--data_dir",
        metavar="DIR",
        type=user_path,
        default=default_data_dir(),
        help="where CIFAR-10 lies; by default CIFAR10_DIR, else data (now: %(default)s)",
    )
    parser.add_argument("--epochs", metavar="N", type=_at_least(1), default=5, help="default: %(default)s")
    parser.add_argument("--images", metavar="N", type=_at_least(10), help="default: all, or 10,000 drawn ones")
    parser.add_argument("--seed", metavar="N", type=_at_least(0), default=0, help="default: %(default)s")
    return parser


def _at_least(minimum: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {minimum}")
        return int(text)

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
