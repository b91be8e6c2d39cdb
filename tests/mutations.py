"""Plants the faults of `tests.faults` in the code, one at a time, and reports those that no test notices.

    python -m tests.mutations -k scratch --jobs 4

A fault is killed if a test fails with it and passes without it. The tests that reach the faulty module by imports run,
the likeliest first (see `concerned`), until one fails. A test that takes two minutes counts as one that fails, and is
marked. Exits with 1 if a fault survives, or if the table does not fit the code. A fault takes some five to ten seconds,
one that survives minutes.
"""

import argparse
import ast
import contextlib
import importlib
import math
import multiprocessing
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

# Before NumPy and PyTorch are imported: more threads than processors slow each other down.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import pytest

from tests.faults import FAULTS, ROOT, Fault, problem

# Imported once, for all the processes to come. None of the modules below may be among them.
PRELOADED = (
    "torch", "lightning.pytorch.cli", "torchmetrics", "torch.utils.tensorboard", "tensorboard.plugins.hparams.metadata",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "captum.attr", "onnx", "onnxruntime", "onnxscript",
    "safetensors.torch", "sklearn.metrics", "torch._dynamo", "torch.distributed", "threadpoolctl", "filelock",
)  # fmt: skip
OURS = ("cli", "datamodules", "tests", "zoo")
EVALUATING = ("fit", "validate", "test")  # the commands of zoo.training.main
TEST_SECONDS = 120  # a test that takes longer does not end
PORTIONS = (10, 30, 120)  # so many of the likeliest tests are tried before whole test files


class Outcome(NamedTuple):
    """What the tests say of a fault.

    Attributes:
        fault: that was planted.
        verdict: "killed", "survived", or "red", if the test that failed fails without the fault too.
        details: the test that failed, or why there is none.
        seconds: that it took.
        output: of pytest.
    """

    fault: Fault
    verdict: str
    details: str
    seconds: float
    output: str


# Which tests concern a fault.


def _module(path: Path) -> str:
    """Return the name of the module in a file, given by its path from the root."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _is_test(module: str) -> bool:
    return module.startswith("tests.") and module.rpartition(".")[2].startswith("test_")


@cache
def _modules() -> dict[str, Path]:
    """Return the files of the product and of the tests, from the root, by the names of their modules."""
    return {_module(path): path for path in map(Path, _tracked()) if path.suffix == ".py" and path.parts[0] != "."}


@cache
def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@cache
def _imports(module: str) -> set[str]:
    """Return which modules of the product and the tests a module imports, anywhere in its code.

    The command line imports a command by its name. So a module that imports `cli` imports the commands that its texts
    name, too.
    """
    tree = ast.parse((ROOT / _modules()[module]).read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    if "cli" in found:
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        words = {word for text in texts for word in text.split()[:1]}
        found |= {f"zoo.commands.{word}" for word in words}
        found |= {"zoo.training.main"} if words & set(EVALUATING) else set()
    return found & _modules().keys() - {module}


def _distances(module: str) -> dict[str, int]:
    """Return how many imports lead from a test file to a module, by the test file's module."""
    distances, reached, steps = {module: 0}, {module}, 0
    while reached:
        steps += 1
        reached = {name for name in _modules() if name not in distances and _imports(name) & reached}
        distances |= dict.fromkeys(reached, steps)
    return {name: steps for name, steps in distances.items() if _is_test(name)}


def _words(text: str) -> set[str]:
    """Return the words of a text in small letters, those of names such as `random_bits` and `StepSeed` apart."""
    return {word.lower() for word in re.findall("[A-Z]?[a-z]{2,}|[A-Z]{3,}", text)}


@cache
def _tests(module: str) -> dict[str, set[str]]:
    """Return the words of each test of a module, and of what the test names in its module, by the test's pytest id."""
    path = _modules()[module]
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    texts: dict[str, set[str]] = {}  # of functions and constants
    for node in tree.body:
        targets = getattr(node, "targets", [node])
        texts |= {name: _words(ast.unparse(node)) for target in targets if (name := _name(target))}
    found = {}
    for node in tree.body:
        tests = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else [node]
        for test in tests:
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test"):
                place = f"{path}::{node.name}" if test is not node else str(path)
                named = {_name(part) for part in ast.walk(test)} & texts.keys()
                found[f"{place}::{test.name}"] = _words(ast.unparse(test)).union(*(texts[name] for name in named))
    return found


def _name(node: ast.AST) -> str:
    """Return the name that a node defines or uses, "" if there is none."""
    return next((value for key in ("name", "id", "arg") if isinstance(value := getattr(node, key, None), str)), "")


def _about(fault: Fault) -> dict[str, float]:
    """Return the words of a fault and of the function around it, with their weights."""
    text = (ROOT / fault.file).read_text(encoding="utf-8")
    line = text[: text.index(fault.before)].count("\n")
    kinds = (ast.ClassDef, ast.FunctionDef)
    tree = ast.parse(text if fault.file.endswith(".py") else "")  # a template has no functions
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    around = [node for node in nodes if node.lineno <= line + 1 <= (node.end_lineno or 0)]
    names = [fault.file, fault.before, fault.after, fault.why, text.splitlines()[line], *(node.name for node in around)]
    function = _words(" ".join(ast.unparse(node) for node in around[-1:]))
    return dict.fromkeys(function, 0.5) | dict.fromkeys(_words(" ".join(names)), 1.0)


def concerned(fault: Fault) -> list[str]:
    """Return the tests that concern a fault by their pytest ids, in the order in which they are tried.

    A test concerns a fault if its file imports the faulty module, directly or by other modules. First come the tests
    that share the rarest words with the fault and the function around it, in files that are called like the module and
    near by imports. Weights and powers are those for which the tests that kill the faults came earliest.
    """
    if fault.tests:
        distances = {module: 1 for module, path in _modules().items() if str(path) in fault.tests}
    else:
        distances = _distances(_module(Path(fault.file)))
    every = [words for module in _modules() if _is_test(module) for words in _tests(module).values()]
    weights = {
        word: weight * math.log(len(every) / (1 + sum(word in words for words in every)))
        for word, weight in _about(fault).items()
    }
    name = _words(fault.file) - {"zoo"}
    scores = {}
    for module, steps in distances.items():
        alike = 5 * len(name & _words(module))
        for test, words in _tests(module).items():
            shared = alike + sum(weights[word] for word in words & weights.keys())
            scores[test] = shared / math.sqrt(30 + len(words)) / steps**0.25
    return sorted(scores, key=lambda test: -scores[test])


def _portions(tests: Sequence[str]) -> Iterator[list[str]]:
    """Yield what pytest is asked for, one portion after the other: the likeliest tests, then whole test files."""
    start = 0
    for end in PORTIONS:
        files = list(dict.fromkeys(map(_file, tests[start:end])))
        yield sorted(tests[start:end], key=lambda test: files.index(_file(test)))  # fixtures of a file are made once
        start = end
    yield from ([file] for file in dict.fromkeys(map(_file, tests)))


def _file(test: str) -> str:
    return test.partition("::")[0]


# Running them.


class _Reporter:
    """A plugin of pytest that tells another process which test begins, and which one fails."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def _tell(self, event: str, test: str) -> None:
        os.write(self._pipe, f"{event} {test}\n".encode())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell("begins", nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._tell("fails", report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._tell("fails", report.nodeid)


_running: list[int] = []  # processes of pytest


def _run(tree: Path, arguments: Sequence[str], until: float = math.inf) -> tuple[str | None, str]:
    """Run pytest in a process of its own.

    Args:
        tree: a copy of the project.
        arguments: of pytest.
        until: when pytest is stopped, as `time.monotonic` counts.

    Returns:
        The first test that fails, None if all that ran pass; and the output.
    """
    pipe, end = os.pipe()
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if process == 0:
            os.setsid()  # a group of its own, which can be killed as a whole
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            os._exit(_pytest(tree, arguments, _Reporter(end)))
        _running.append(process)
        os.close(end)
        try:
            failed = _watch(process, pipe, arguments[-1], until)
        finally:
            _kill(process)
            os.close(pipe)
        output.seek(0)
        return failed, output.read().decode(errors="replace")


def _kill(process: int) -> None:
    """Kill a process of `_running` with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, 0)
    _running.remove(process)


def _stop(*_: Any) -> None:
    """Handle SIGTERM in a worker."""
    for process in list(_running):
        _kill(process)
    os._exit(1)


def _pytest(tree: Path, arguments: Sequence[str], reporter: _Reporter) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(tree)
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(place for place in sys.path if place and Path(place) != ROOT)]
    os.environ["PYTHONPATH"] = str(tree)  # of the processes that tests start
    options = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not second_device")
    try:
        code = int(pytest.main([*options, *arguments], plugins=[reporter]))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    return code


def _watch(process: int, pipe: int, target: str, until: float) -> str | None:
    """Wait for pytest, and return the first test that fails or does not end; None if all that ran pass.

    Args:
        process: pytest's.
        pipe: what its `_Reporter` writes to.
        target: that is blamed if pytest cannot even start.
        until: when to stop waiting.
    """
    running, failed, text, began = target, None, "", time.monotonic()
    while select.select([pipe], [], [], max(0.0, min(began + TEST_SECONDS, until) - time.monotonic()))[0]:
        content = os.read(pipe, 65536)
        if not content:
            _, status = os.waitpid(process, 0)
            passed = os.waitstatus_to_exitcode(status) in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
            return failed or (None if passed else running)
        *lines, text = (text + content.decode()).split("\n")
        for line in lines:
            event, _, test = line.partition(" ")
            if event == "fails":
                failed = failed or test
            else:
                running, began = test, time.monotonic()
    return failed or (None if time.monotonic() >= until else f"{running} (does not end)")


@contextlib.contextmanager
def _planted(tree: Path, fault: Fault) -> Iterator[None]:
    """Plant a fault in a copy of the project, and take it back."""
    path = tree / fault.file
    text, before = path.read_bytes(), path.stat()
    path.write_bytes(text.replace(fault.before.encode(), fault.after.encode()))
    stamp = zlib.crc32(str(fault).encode())
    # Python compares the time and the size of a file with those of the compiled one.
    os.utime(path, (stamp, stamp))
    try:
        yield
    finally:
        path.write_bytes(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


_passes: dict[str, bool] = {}  # whether a test passes without a fault


def _passes_without(tree: Path, test: str) -> bool:
    if test not in _passes:
        options = [] if "::" in test else ["--collect-only"]
        _passes[test] = _run(tree, [*options, test])[0] is None
    return _passes[test]


def judge(fault: Fault, place: Path, seconds: float) -> Outcome:
    """Plant a fault in this process's copy of the project, and run the tests that concern it.

    Args:
        fault: to plant.
        place: of the copies.
        seconds: after which no further test is tried.
    """
    tree = place / str(os.getpid())
    if not tree.exists():
        for name in _tracked():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    began, told, details = time.monotonic(), "", "all tests pass"
    for targets in filter(None, _portions(concerned(fault))):
        if time.monotonic() - began > seconds:
            details = "all tests pass that there was time for"
            break
        with _planted(tree, fault):
            failed, output = _run(tree, targets, began + seconds)
        told += output
        if failed is not None:
            verdict = "killed" if _passes_without(tree, failed.removesuffix(" (does not end)")) else "red"
            return Outcome(fault, verdict, failed, time.monotonic() - began, told)
    return Outcome(fault, "survived", details, time.monotonic() - began, told)


# The command.


def _line(outcome: Outcome) -> str:
    return f"{outcome.verdict:8} {outcome.seconds:5.1f} s  {outcome.fault}  [{outcome.details}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="TEXT", default="", help="plant only faults whose file, code or reason has it")
    parser.add_argument("-v", action="store_true", help="print what pytest prints")
    parser.add_argument(
        "--list", action="store_true", help="print the faults and the likeliest tests of each, and run none"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="this many faults at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=300, help="give a fault up after so long (default: %(default)s)"
    )
    options = parser.parse_args()
    problems = list(filter(None, map(problem, FAULTS)))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    chosen = [fault for fault in FAULTS if options.k.lower() in " ".join(map(str, fault)).lower()]
    if options.list:
        for fault in chosen:
            print("\n    ".join([str(fault), *concerned(fault)[:3]]))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    outcomes, began = [], time.monotonic()
    with tempfile.TemporaryDirectory(dir=os.path.realpath(tempfile.gettempdir())) as folder:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(options.jobs, context, partial(signal.signal, signal.SIGTERM, _stop)) as workers:
            try:
                for outcome in workers.map(partial(judge, place=Path(folder), seconds=options.seconds), chosen):
                    outcomes.append(outcome)
                    print(_line(outcome), flush=True)
                    if options.v:
                        print(outcome.output, flush=True)
            except BaseException:
                for worker in multiprocessing.active_children():
                    worker.terminate()
                raise
    others = [outcome for outcome in outcomes if outcome.verdict != "killed"]
    print("\n".join(["", *map(_line, others)]) if others else "")
    killed, survived = len(chosen) - len(others), sum(outcome.verdict == "survived" for outcome in others)
    print(
        f"{len(chosen)} faults: {killed} killed, {survived} survived, {len(others) - survived} met a test that fails "
        f"without them; {time.monotonic() - began:.0f} s"
    )
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
