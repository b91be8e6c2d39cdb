"""Whether one model is really better than another on the same images."""

import numpy as np

from datamodules.errors import printable
from zoo.evaluation.document import Block, Fact, Facts, Section, Table, Text, Value
from zoo.evaluation.sections.common import KINDS
from zoo.evaluation.significance import LEVEL, RESAMPLES, McNemar, bootstrap, mcnemar
from zoo.evaluation.subject import Subject, predict
from zoo.trained.trained_model import Trained

SEED = 0  # of the bootstrap


def section(subject: Subject, other: Trained) -> tuple[Section, str]:
    """Return the comparison of a model, A, with another model, B, and its verdict alone."""
    first, second = subject.predictions.correct, predict(other, subject.images).correct
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    test = mcnemar(only_first, only_second)
    difference = (only_second - only_first) / n
    interval = bootstrap(only_first, only_second, n, np.random.default_rng(SEED))
    verdict = conclusion(only_first, only_second, difference, interval, test)
    facts = {
        "a": Fact("A", f"{subject.name}, {printable(subject.trained.path)}"),
        "b": Fact("B", f"{type(other.model).__name__}, {printable(other.path)}"),
        "images": Fact("Number of images", n, ",", f"{KINDS[subject.stage]} images, the same for both"),
        "accuracy_a": Fact("Accuracy of A", float(first.mean()), ".2%"),
        "accuracy_b": Fact("Accuracy of B", float(second.mean()), ".2%"),
        "difference": Fact("B - A", difference, "+.2%", "in percentage points"),
        "difference_interval": Fact("95 % interval", interval, "+.2%", f"paired bootstrap, {RESAMPLES:,} resamples"),
        "p_exact": Fact("McNemar, exact", test.exact, ".3g", f"two-sided p-value{_underflow(test.exact)}"),
        "chi_squared": Fact("McNemar, chi-squared", test.chi_squared, ".4g", "corrected for continuity"),
        "p_chi_squared": Fact(
            "Its p-value", test.approximate, ".3g", f"one degree of freedom{_underflow(test.approximate)}"
        ),
    }
    rows: dict[str, list[Value]] = {
        "A right": [int((first & second).sum()), only_first],
        "A wrong": [only_second, int((~first & ~second).sum())],
    }
    explanation = (
        "McNemar's test looks at the images that only one of the two models classifies correctly. If both models were "
        "equally good, each of these would be a coin toss. The bootstrap draws as many images again, with replacement, "
        "and compares both models on them. Both ask whether other images could have changed the result. Neither asks "
        "about other training seeds: for that, train several runs of each and use compare."
    )
    blocks: list[Block] = [
        Text(verdict),
        Facts(facts),
        Table("table", "", {"B right": ",", "B wrong": ","}, rows, "Numbers of images."),
        Text(explanation, "https://doi.org/10.1162/089976698300017197"),
    ]
    return Section("comparison", "Is B better than A?", blocks), verdict


def _underflow(probability: float) -> str:
    return "" if probability else "; less than 1e-300"


def conclusion(
    only_first: int, only_second: int, difference: float, interval: tuple[float, float], test: McNemar
) -> str:
    """Return one paragraph on which of two models is better.

    `difference` is the accuracy of B minus that of A, and `interval` its 95 % interval. `test` is McNemar's test of the
    two counts.
    """
    if only_first == only_second:
        return f"These images do not tell A and B apart: each alone is right about {only_first:,} of them."
    better, worse = ("B", "A") if difference > 0 else ("A", "B")
    low, high = sorted(100 * (end if difference > 0 else -end) for end in interval)
    lead = f"{100 * abs(difference):.2f} percentage points more of them (95 % interval: {low:+.2f} to {high:+.2f})"
    probability = f"{test.exact:.2g}" if test.exact else "less than 1e-300"
    chance = f"if both were equally good, so large a difference would have a probability of {probability}"
    if test.exact < LEVEL:
        return f"{better} is better than {worse} on images like these: it is right about {lead}; {chance}."
    close = " The interval and the probability disagree: it is too close to call." if low > 0 else ""
    return f"These images do not tell A and B apart: {better} is right about {lead}, but {chance}.{close}"
