"""`doctor` finds what is wrong with the installation and says how to fix it.

Every check is a function that yields findings. Each runs in a process of its own, so that a check that raises, crashes
or hangs stops no other check. This module imports only the standard library, because any other package may be broken.
"""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import NamedTuple

from datamodules.errors import InputError, one_line
from zoo.catalogue import registry
from zoo.commands import machine_checks, output, package_checks
from zoo.commands.arguments import Parser
from zoo.commands.findings import OK, PROBLEM, WARNING, Finding, run_program
from zoo.core import installation

CHECK_SECONDS = 150.0  # far above what a cold disk needs to import torch
PLUGIN_SECONDS = 60.0


class Check(NamedTuple):
    """A check that runs in a process of its own.

    Attributes:
        group: the heading above its findings.
        subject: what it checks, for the finding that it failed.
        look: yields the findings.
        fix: what to do if it fails.
    """

    group: str
    subject: str
    look: Callable[..., Iterable[Finding]]
    fix: str


def main(argv: list[str]) -> int:
    """Run `doctor` and return its exit code: 1 if there is a problem, else 0."""
    options = _parse(argv)
    checks = all_checks()
    findings: list[Finding] = []
    group = ""
    with ThreadPoolExecutor(len(checks)) as pool:
        for check, result in zip(checks, [pool.submit(apart, check) for check in checks], strict=True):
            if check.group != group and not options.json:
                group = check.group
                print(group)
            for finding in result.result():
                findings.append(finding)
                if not options.json:
                    output.say_line(_line(finding))
    levels = [finding.level for finding in findings]
    if options.json:
        output.say_json([finding._asdict() for finding in findings])
    else:
        print(_summary(levels.count(PROBLEM), levels.count(WARNING)))
    return int(PROBLEM in levels)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py doctor", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print a list of findings for programs")
    return parser.parse_args(argv)


def _line(finding: Finding) -> str:
    fix = f". Fix: {finding.fix}" if finding.fix else ""
    return f"  {finding.level:<8} {finding.subject:<14} {finding.text}{fix}"


def _summary(problems: int, warnings: int) -> str:
    counts = [f"{n} {word}{'s' * (n > 1)}" for n, word in ((problems, "problem"), (warnings, "warning")) if n]
    return " and ".join(counts) or "all is well"


def all_checks() -> list[Check]:
    """Return the checks, quick ones first."""
    reinstall = package_checks.install_command()
    return [
        Check("Installation", "Python", package_checks.python_version, reinstall),
        Check("Installation", package_checks.PROJECT, package_checks.this_project, reinstall),
        Check("Installation", "packages", package_checks.required_packages, reinstall),
        Check("Installation", "modules", package_checks.own_modules, reinstall),
        Check("Installation", "imports", package_checks.imports, reinstall),
        Check("Installation", "export", package_checks.export_packages, reinstall),
        Check("Installation", "plugins", plugins, reinstall),
        Check("Directories", "directories", machine_checks.directories, reinstall),
        Check("Data", "CIFAR-10", machine_checks.data, reinstall),
        Check("Machine", "torch", machine_checks.torch_and_machine, installation.REINSTALL_TORCH),
    ]


def apart(check: Check, *arguments: str, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Run a check in a process of its own and return its findings.

    The last finding says so if the check raises, crashes or takes longer than `seconds`.
    """
    # The process gets the path of this one, so that the check sees what the other commands see.
    code = f"import sys; sys.path[:] = {sys.path!r}; from zoo.commands import doctor; doctor.answer(*sys.argv[1:])"
    command = [sys.executable, "-c", code, check.look.__module__, check.look.__name__, *arguments]
    printed, end = run_program(command, seconds)
    lines = [json.loads(line) for line in printed.splitlines()]
    findings = [Finding(*line) for line in lines if line is not None]
    if None not in lines:
        fix = package_checks.install_command() if end.startswith("ModuleNotFoundError") else check.fix
        text = f"the check failed: {end or 'it ended its process'}"
        findings.append(Finding(PROBLEM, check.subject, text, fix))
    return findings


def answer(module: str, function: str, *arguments: str) -> None:
    """Print each finding of a check as a line of JSON, then null if the check ran to its end, and end the process."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a package prints on import is no finding
    for finding in getattr(import_module(module), function)(*arguments):
        print(json.dumps(finding), file=lines, flush=True)
    print(json.dumps(None), file=lines, flush=True)
    os._exit(0)  # a package may have started threads


def plugins() -> Iterator[Finding]:
    """Load each model that another package adds."""
    warnings = io.StringIO()
    with contextlib.redirect_stderr(warnings):  # the registry says there which models it leaves out
        entries = [entry for entry in registry.entries().values() if entry.distribution != registry.DISTRIBUTION]
    for line in warnings.getvalue().splitlines():
        yield Finding(PROBLEM, "plugin", line.removeprefix("warning: "), "mend that package, or pip uninstall it")
    if not entries and not warnings.getvalue():
        yield Finding(OK, "plugins", "no package adds models")
    elif entries and (package_checks.malicious() or installation.process_variable_problem()):
        yield Finding(WARNING, "plugins", "not checked: they import lightning", "fix the problems above first")
    elif entries:
        checks = [Check("", entry.name, plugin, f"mend or pip uninstall {entry.distribution}") for entry in entries]
        with ThreadPoolExecutor(len(checks)) as pool:
            for findings in pool.map(lambda check: apart(check, check.subject, seconds=PLUGIN_SECONDS), checks):
                yield from findings


def plugin(name: str) -> Iterator[Finding]:
    """Load a model that another package adds."""
    package = registry.find(name).distribution
    try:
        registry.load(name)
    except InputError as error:
        yield Finding(PROBLEM, name, one_line(error), f"mend that package, or pip uninstall {package}")
    else:
        yield Finding(OK, name, f"a model of the package '{package}', can be loaded")
