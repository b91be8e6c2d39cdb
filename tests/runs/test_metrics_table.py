"""The table of metrics that a command prints, for few classes and for many."""

import numpy as np
import torch

from tests.other_data import HUNDRED
from zoo.core.confusions import most_confused
from zoo.core.metrics import summarize
from zoo.runs import metrics_json


def table(confusion: np.ndarray, names) -> list[str]:
    summary = summarize(torch.from_numpy(confusion)) | {"loss": 0.5}
    return metrics_json.table("title", summary, names).splitlines()


def test_a_hundred_classes_are_summarized_in_a_terminals_width():
    confusion = 10 * np.eye(100, dtype=int)
    for label, wrong in ((7, 9), (70, 8), (3, 6), (50, 5), (60, 4), (99, 1)):
        confusion[label, label] -= wrong
        confusion[label, 0] += wrong
    confusion[42] = 0  # a class without images has no accuracy
    lines = table(confusion, HUNDRED)
    assert max(map(len, lines)) <= 80
    assert len(lines) < 30
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == ["lowest"])
    assert [line.split() for line in lines[start : start + 6]] == [
        ["lowest", "of", "100", "classes", "accuracy"],
        ["kind", "07", "0.1000"],
        ["kind", "70", "0.2000"],
        ["kind", "03", "0.4000"],
        ["kind", "50", "0.5000"],
        ["kind", "60", "0.6000"],
    ]
    assert lines[start + 6].split() == ["highest"]
    assert all(line.endswith("1.0000") for line in lines[start + 7 : start + 12])
    assert [line.strip().rpartition("  ")[::2] for line in lines[-5:-3]] == [
        ("kind 07 taken for kind 00 ", "9 of 10"),
        ("kind 70 taken for kind 00 ", "8 of 10"),
    ]
    assert not any("nan" in line or "kind 42" in line for line in lines)


def test_without_a_mistake_no_pair_is_named():
    lines = table(np.eye(30, dtype=int), HUNDRED[:30])
    assert not any("taken for" in line or "confused" in line for line in lines)


def test_up_to_twenty_classes_have_their_matrix():
    lines = table(np.arange(400).reshape(20, 20), HUNDRED[:20])
    assert lines[-1].split()[:3] == ["kind", "19", f"{399 / np.arange(380, 400).sum():.4f}"]
    assert lines[-1].split()[3:] == [str(count) for count in range(380, 400)]


def test_pairs_are_in_the_order_of_their_share_of_the_true_class():
    confusion = [[185, 10, 5], [3, 3, 0], [0, 2, 3]]
    expected = [(1, 0, 3, 6), (2, 1, 2, 5), (0, 1, 10, 200), (0, 2, 5, 200)]
    assert most_confused(confusion, 9) == expected
    assert most_confused(confusion, 2) == expected[:2]
