"""The table of faults that `python -m tests.mutations` plants."""

from tests.faults import FAULTS, problem


def test_every_fault_fits_the_code():
    """Code that moves takes its faults along."""
    assert [found for found in map(problem, FAULTS) if found] == []


def test_no_fault_is_planted_twice():
    assert len({fault[:3] for fault in FAULTS}) == len(FAULTS) >= 100
