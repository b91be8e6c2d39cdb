"""Whether a figure is more than chance: intervals, and two models on the same images.

Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms",
https://doi.org/10.1162/089976698300017197, recommends McNemar's test where each model was trained once. All of this
asks whether other test images could have decided otherwise. It cannot know what another seed of the training would
have given: that takes several runs of each.
"""

import math
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # standard normal quantile of 97.5 %, for intervals of 95 %
RESAMPLES = 10_000
LEVEL = 0.05


class McNemar(NamedTuple):
    """McNemar's test (1947): it looks at the images that only one of two models gets right.

    If both are equally good, each of these is a toss of a coin.

    Attributes:
        exact: two-sided p-value of the binomial distribution of these tosses.
        chi_squared: (|b - c| - 1)^2 / (b + c), with b and c images that one model alone gets right: the approximation
            with the correction for continuity.
        approximate: its p-value, of the chi-squared distribution with one degree of freedom.
    """

    exact: float
    chi_squared: float
    approximate: float


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return an interval of 95 % for a share, given `successes` of `n`; (NaN, NaN) where n is 0.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: the shares p with |successes / n - p| of at most Z
    standard deviations, sqrt(p (1 - p) / n).
    """
    if n == 0:
        return math.nan, math.nan
    share = successes / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)  # rounding errors can leave the range


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Test whether two models are equally good, given the images that only the first, only the second gets right."""
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return McNemar(1.0, 0.0, 1.0)
    ways, term = 0, 1
    for k in range(fewer + 1):  # whole numbers, which overflow nowhere: term is "tosses choose k"
        ways += term
        term = term * (tosses - k) // (k + 1)
    chi_squared = (abs(only_first - only_second) - 1) ** 2 / tosses
    return McNemar(min(1.0, 2 * ways / 2**tosses), chi_squared, math.erfc(math.sqrt(chi_squared / 2)))


def bootstrap(only_first: int, only_second: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return a paired bootstrap interval of 95 % of the second model's accuracy minus the first one's.

    Each of `RESAMPLES` data sets has n images drawn from the n with replacement, both models' answers together; the
    interval holds the middle 95 % of their differences (Efron 1979). Only how many images of each kind are drawn
    matters, and those numbers are multinomial.

    Args:
        only_first: images that only the first model gets right.
        only_second: likewise.
        n: images.
        rng: the randomness.
    """
    kinds = np.array([only_first, only_second, n - only_first - only_second])
    drawn = rng.multinomial(n, kinds / n, size=RESAMPLES)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / n, [0.025, 0.975])
    return float(low), float(high)
