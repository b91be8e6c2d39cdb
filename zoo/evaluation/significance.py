"""Whether a result is more than chance: intervals, and tests of two models on the same images.

Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms",
https://doi.org/10.1162/089976698300017197, recommends McNemar's test if each model was trained once. These tests ask
whether other test images could have changed the result. The effect of the training seed takes several runs to measure.
"""

import math
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # standard normal quantile of 97.5 %, for intervals of 95 %
RESAMPLES = 10_000
LEVEL = 0.05


class McNemar(NamedTuple):
    """McNemar's test (1947) of the images that only one of two models classifies correctly.

    If both models are equally good, each of these images is a coin toss. With b and c images on which one model alone
    is correct, `chi_squared` is (|b - c| - 1)^2 / (b + c), with the continuity correction.
    """

    exact: float  # two-sided p-value from the binomial distribution
    chi_squared: float
    approximate: float  # p-value of `chi_squared`, with one degree of freedom


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return a 95 % interval for a share, given `successes` of `n`; (NaN, NaN) if n is 0.

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
    """Test two models, given the numbers of images that only one of them classifies correctly."""
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return McNemar(1.0, 0.0, 1.0)
    ways = sum(math.comb(tosses, k) for k in range(fewer + 1))  # integers, which never overflow
    chi_squared = (abs(only_first - only_second) - 1) ** 2 / tosses
    return McNemar(min(1.0, 2 * ways / 2**tosses), chi_squared, math.erfc(math.sqrt(chi_squared / 2)))


def bootstrap(only_first: int, only_second: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return a paired bootstrap 95 % interval of the second model's accuracy minus the first model's.

    Each of `RESAMPLES` data sets has n images drawn from the n with replacement. The interval holds the middle 95 % of
    the differences (Efron 1979). Only the numbers of images of each kind matter, and these are multinomial.
    """
    kinds = np.array([only_first, only_second, n - only_first - only_second])
    drawn = rng.multinomial(n, kinds / n, size=RESAMPLES)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / n, [0.025, 0.975])
    return float(low), float(high)
