"""Intervals and tests, against SciPy's and published figures."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from zoo.evaluation.significance import bootstrap, mcnemar, wilson

# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
NEWCOMBE = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
COUNTS = [(0, 1), (1, 0), (3, 12), (25, 40), (40, 25), (942, 1375), (0, 2000), (5000, 4900)]


@pytest.mark.parametrize(("successes", "n", "low", "high"), NEWCOMBE)
def test_wilson_is_the_published_interval(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (7, 10), (5610, 10_000), (10_000, 10_000)])
def test_wilson_is_scipys(successes, n):
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_no_number():
    assert all(math.isnan(end) for end in wilson(0, 0))


@pytest.mark.parametrize(("b", "c"), COUNTS)
def test_mcnemar_is_scipys(b, c):
    found = mcnemar(b, c)
    assert found.exact == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-9)
    assert found.approximate == pytest.approx(chi2.sf(found.chi_squared, 1), rel=1e-9)
    assert found == mcnemar(c, b)


def test_mcnemar_corrects_for_continuity():
    assert mcnemar(86, 150).chi_squared == pytest.approx((64 - 1) ** 2 / 236)


@pytest.mark.parametrize("both", [0, 1, 17])
def test_no_difference_is_no_evidence(both):
    assert mcnemar(both, both) == (1.0, 0.0, 1.0)


def test_bootstrap_is_that_of_resampled_images():
    only_first, only_second, n = 30, 55, 400
    differences = np.array([-1] * only_first + [1] * only_second + [0] * (n - only_first - only_second))
    rng = np.random.default_rng(5)
    means = [differences[rng.integers(0, n, n)].mean() for _ in range(10_000)]
    expected = np.quantile(means, [0.025, 0.975])
    found = bootstrap(only_first, only_second, n, np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=0.004)
    spread = 1.96 * differences.std() / math.sqrt(n)  # the normal distribution's
    assert found == pytest.approx((differences.mean() - spread, differences.mean() + spread), abs=0.004)


def test_bootstrap_follows_its_seed():
    first, again, other = (bootstrap(30, 50, 999, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_bootstrap_of_equal_answers_is_a_point():
    assert bootstrap(0, 0, 10, np.random.default_rng(0)) == (0.0, 0.0)
    assert bootstrap(0, 10, 10, np.random.default_rng(0)) == (1.0, 1.0)
