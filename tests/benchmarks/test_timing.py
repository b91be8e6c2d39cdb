"""The turns of contestants, the tables of `benchmark`, and its command line. No time is asserted."""

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import cli
from datamodules.errors import InputError
from tests.benchmarks import command
from tests.benchmarks.stopwatch import Ratio, Stopwatch, ratio
from zoo.commands import output


def clock(monkeypatch, *seconds: float) -> None:
    """Let every second reading of the clock be so much later than the one before it."""
    readings = itertools.accumulate(itertools.chain.from_iterable((0, more) for more in seconds))
    monkeypatch.setattr("time.perf_counter", readings.__next__)


def measured() -> Stopwatch:
    stopwatch = Stopwatch(100)
    stopwatch.seconds = {"a": [2, 4, 6], "b": [1, 1, 1.2], "the end": [1, 1, 4]}
    stopwatch.fixed = {"the end"}
    stopwatch.missing = {"c": "no compiler"}
    return stopwatch


# Turns.


def test_the_first_turn_does_not_count_and_seconds_are_for_all_images(monkeypatch):
    """Of 40 images, `a` deals with 20 at a time, and `b` with 10."""
    clock(monkeypatch, 100, 200, 2, 1, 3, 7)  # a, b; b, a; a, b
    stopwatch = Stopwatch(40)
    stopwatch.turns({"a": lambda: 20, "b": lambda: 10}, rounds=2)
    assert stopwatch.seconds == {"a": [2, 6], "b": [8, 28]}


def test_seconds_are_for_a_turn_where_there_are_no_images(monkeypatch):
    clock(monkeypatch, 5, 7)
    stopwatch = Stopwatch()
    stopwatch.time("a", lambda: 20)
    stopwatch.time("a", lambda: None)
    assert stopwatch.seconds == {"a": [5, 7]}


def test_every_other_round_goes_backwards():
    turns = []
    Stopwatch(1).turns({name: lambda name=name: turns.append(name) or 1 for name in "abc"}, rounds=2)
    assert "".join(turns) == "abccbaabc"


def test_ratios_are_those_of_each_round():
    assert ratio([2, 4, 6], [1, 1, 1.2]) == pytest.approx(Ratio(4, 3, 4.5))
    assert ratio([3], [2]) == Ratio(1.5, 1.5, 1.5)
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])
    with pytest.raises(ValueError, match="no pair"):
        ratio([], [])


# What is shown.


def test_table():
    stopwatch = measured()
    assert command.table(stopwatch) == [
        "",
        "seconds for 100 images  median  images/s",
        "a                        4.000        25",
        "b                        1.000       100",
        "the end                  1.000          ",
    ]
    stopwatch.operations, stopwatch.megabytes = {"a": 8e9}, {"a": [10, 20, 60]}
    assert command.table(stopwatch) == [
        "",
        "seconds for 100 images  median  images/s  GFLOP/s  MB at most",
        "a                        4.000        25      200          20",
        "b                        1.000       100                     ",
        "the end                  1.000                               ",
    ]


def test_table_of_runs():
    stopwatch = Stopwatch()
    stopwatch.add("--help", 0.25)
    assert command.table(stopwatch) == ["", "seconds for a run  median", "--help              0.250"]


def test_ratios_and_why_there_are_none():
    assert command.ratios(measured(), [("a", "b"), ("b", "a"), ("a", "c"), ("c", "b")]) == [
        "median ratio (the middle half of the rounds)",
        "   4.00  (3.00 to 4.50)  a / b",
        "   0.25  (0.22 to 0.38)  b / a",
        "   not measured  a / c: no compiler",
        "   not measured  c / b: no compiler",
    ]


def given(monkeypatch, measure) -> None:
    """Put a benchmark in the place of the first one."""
    module = SimpleNamespace(TITLE="nothing", COMPARISONS=[("a", "b")], measure=measure)
    monkeypatch.setitem(sys.modules, "tests.benchmarks.numpy_nets", module)


def test_the_file_has_all_seconds(monkeypatch, capsys):
    given(monkeypatch, lambda rounds, images: measured())
    assert cli.reporting_errors(command.main, ["--rounds=3", "--images=600", "--json=new/speed.json"]) == 0
    assert "nothing: 3 rounds in turns, after one to warm up" in capsys.readouterr().out
    content = json.loads(Path("new/speed.json").read_text())
    assert content["seconds"] == {"a": [2, 4, 6], "b": [1, 1, 1.2], "the end": [1, 1, 4]}
    assert (content["images"], content["title"], content["benchmark"]) == (600, "nothing", "numpy")


# The command line.


@pytest.mark.parametrize("images", ["0", "1", "63", "64", "65", "511", "50001", "200001", "9" * 5000, "-600", "6e3"])
@pytest.mark.parametrize("name", ["numpy", "start"])
def test_images_out_of_range_are_refused_before_anything_is_imported(monkeypatch, name, images):
    monkeypatch.setattr("zoo.core.installation.check_torch", lambda: pytest.fail("it goes on"))
    message = rf"^python -m tests.benchmarks: argument --images: '{images}' is no .* at least 512 and at most 50,000$"
    with pytest.raises(InputError, match=message):
        command.main([name, f"--images={images}"])


@pytest.mark.parametrize("rounds", ["0", "1001", "100000000000"])
def test_rounds_out_of_range(rounds):
    with pytest.raises(InputError, match=rf"--rounds: '{rounds}' is no .* at least 1 and at most 1,000$"):
        command.main([f"--rounds={rounds}"])


def test_every_benchmark_can_take_the_images():
    from datamodules.synthetic import MOST_IMAGES
    from tests.benchmarks import data_path, numpy_nets, steps, tax

    subjects = (*steps.SUBJECTS, *data_path.SUBJECTS, *tax.SUBJECTS)
    batches = [numpy_nets.BATCH_SIZE, *data_path.BATCH_SIZES, *(subject.batch_size for subject in subjects)]
    assert max(batches) <= command.LEAST_IMAGES
    assert command.MOST_IMAGES <= MOST_IMAGES


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_file_that_cannot_be_made_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("zoo.core.installation.check_torch", lambda: pytest.fail("it goes on"))
    with pytest.raises(InputError, match=r"^--json /proc/x.json cannot be written: No such file .*: give a place"):
        command.main(["--json=/proc/x.json"])
    Path("link.json").symlink_to("/proc/x.json")
    with pytest.raises(InputError, match=r"^--json link.json cannot be written: No such file"):
        command.main(["--json=link.json"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_refused_at_once(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written: Permission denied"):
        output.check_file("--json", tmp_path / "x.json")


def test_a_look_at_a_file_changes_nothing(tmp_path):
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json", "folder/new.json"):
        output.check_file("--json", tmp_path / name)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.json": "old"}


def test_sigterm_ends_with_its_exit_code_and_cleans_up(monkeypatch):
    cleaned = []

    def measure(rounds, images):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("it goes on")
        finally:
            cleaned.append(True)

    given(monkeypatch, measure)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 128 + 15
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before
