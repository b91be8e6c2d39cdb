"""The soak script, in short."""

from tests.soak import soak


def test_killed_runs_end_as_if_nothing_had_happened(capsys):
    assert soak(kills=2, per_run=2, seed=0) == 0, capsys.readouterr().out
    assert "after 2 kills" in capsys.readouterr().out
