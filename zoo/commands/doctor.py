"""`doctor` finds what is wrong with the installation and says how to fix it.

Each check runs in a process of its own, so that a check that raises, crashes or hangs stops no other check. This module
imports only the standard library, because any other package may be broken.
"""

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from zoo.commands import doctor_checks, output
from zoo.commands.arguments import Parser
from zoo.commands.doctor_checks import PROBLEM, WARNING, Finding, run_program
from zoo.core import installation

CHECK_SECONDS = 150.0  # far above what a cold disk needs to import torch
REPORT = [sys.executable, "-P", "-m", "torch.utils.collect_env"]
PACKAGES = (doctor_checks.modules, doctor_checks.versions, doctor_checks.pip_check, doctor_checks.imports)
CHECKS = dict.fromkeys(PACKAGES, doctor_checks.install_command()) | {  # each with what to do if it fails
    doctor_checks.plugins: "mend the package of that model, or uninstall it",
    doctor_checks.directories: "let TMPDIR name a folder that can be written to",
    doctor_checks.data: "let CIFAR10_DIR name another folder",
    doctor_checks.torch_and_machine: installation.REINSTALL_TORCH,
}


def main(argv: list[str]) -> int:
    """Run `doctor` with the options in `argv`, and return its exit code: 1 if there is a problem, else 0."""
    parser = Parser(prog="python cli.py doctor", description=__doc__.partition("\n")[0])
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print a list of findings for programs")
    formats.add_argument("--verbose", action="store_true", help="add PyTorch's report on the machine")
    options = parser.parse_args(argv)
    findings = []
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        for finding in itertools.chain.from_iterable(pool.map(apart, CHECKS, CHECKS.values())):
            findings.append(finding)
            if not options.json:
                fix = f". Fix: {finding.fix}" if finding.fix else ""
                output.say_line(f"{finding.level:<8} {finding.subject:<14} {finding.text}{fix}")
    levels = [finding.level for finding in findings]
    if options.json:
        output.say_json([finding._asdict() for finding in findings])
    else:
        print(f"problems: {levels.count(PROBLEM)}, warnings: {levels.count(WARNING)}")
    if options.verbose:
        output.say("\n".join(run_program(REPORT, CHECK_SECONDS)))
    return int(PROBLEM in levels)


def apart(check: Callable[[], Iterable[Finding]], fix: str, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Run a check in a process of its own and return its findings.

    The last finding, with `fix`, says so if the check raises, crashes or takes longer than `seconds`.
    """
    # The process gets the path of this one, so that the check sees what the other commands see.
    code = f"import sys; sys.path[:] = {sys.path!r}; from zoo.commands import doctor; doctor.answer(*sys.argv[1:])"
    output, failure = run_program([sys.executable, "-c", code, check.__module__, check.__name__], seconds)
    lines = [json.loads(line) for line in output.splitlines()]
    findings = [Finding(*line) for line in lines if line is not None]
    if None not in lines:
        if "ImportError: " in failure or "ModuleNotFoundError: " in failure:
            fix = doctor_checks.install_command()
        text = f"the check failed: {failure or 'it ended its process'}"
        return [*findings, Finding(PROBLEM, check.__name__, text, fix)]
    return findings


def answer(module: str, function: str) -> None:
    """Print each finding of a check as a line of JSON, then null if the check ran to its end, and end the process."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keep what a package prints on import out of the findings
    for finding in itertools.chain(getattr(import_module(module), function)(), [None]):
        print(json.dumps(finding), file=lines, flush=True)
    os._exit(0)  # a package may have started threads
