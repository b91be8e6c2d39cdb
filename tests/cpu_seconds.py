"""`pytest -p tests.cpu_seconds`: print the CPU-seconds of test files and slow tests, subprocesses included."""

import os
from collections import Counter

import pytest

from tests import forked

SLOWEST = 40
NAME = "cpu_seconds"
BEGAN = pytest.StashKey[float]()


def _spent() -> float:
    return sum(os.times()[:4]) + forked.seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    item.stash[BEGAN] = _spent()
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "teardown":
        report.user_properties = [(NAME, _spent() - item.stash[BEGAN])]  # which reaches the process that prints
    return report


class _Table:
    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            self.tests[report.nodeid] += dict(report.user_properties)[NAME]

    def pytest_terminal_summary(self, terminalreporter):
        files: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            files[test.partition("::")[0]] += seconds
        terminalreporter.section(f"{sum(files.values()):.0f} CPU-seconds")
        for name, seconds in [*files.most_common(), *self.tests.most_common(SLOWEST)]:
            terminalreporter.write_line(f"{seconds:7.1f}  {name}")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Table())
