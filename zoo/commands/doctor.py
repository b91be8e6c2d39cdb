"""`doctor` looks for what is wrong with the installation, and says how to mend it.

Every check is a function that yields findings, and has a process of its own: one that raises, crashes or hangs costs
its own findings and becomes one itself. This module imports nothing but the standard library before a check asks for
it, as anything else may be what is broken.
"""

import argparse
import contextlib
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datamodules.errors import InputError, one_line
from zoo.catalogue import registry
from zoo.commands import output
from zoo.commands.arguments import Parser, check_unknown
from zoo.core import installation
from zoo.core.installation import OK, PROBLEM, WARNING, Finding

if TYPE_CHECKING:
    from datamodules.readers.cifar import Verdict

# Far above what a cold disk needs to import torch.
CHECK_SECONDS = 150.0
PLUGIN_SECONDS = 60.0
DRIVER_SECONDS = 15.0
ENOUGH_ROOM = 10**9  # bytes

GET_TORCH = "install a torch for this machine as https://pytorch.org/get-started/locally says"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CGROUP = Path("/sys/fs/cgroup")


class Check(NamedTuple):
    """A look at one thing.

    Attributes:
        group: the heading that its findings stand under.
        subject: what it is called where it does not come to an end.
        look: yields the findings.
        fix: for where it does not come to an end.
    """

    group: str
    subject: str
    look: Callable[..., Iterable[Finding]]
    fix: str


def main(argv: list[str]) -> int:
    """Run `doctor` and return its exit code: 0 where there is no problem, else 1.

    Args:
        argv: what follows `doctor` on the command line.

    Raises:
        InputError: for a misspelled command line.
    """
    options = _parse(argv)
    checks = all_checks()
    found: list[Finding] = []
    group = ""
    with ThreadPoolExecutor(len(checks)) as pool:
        for check, answer in zip(checks, [pool.submit(apart, check) for check in checks], strict=True):
            if check.group != group and not options.json:
                group = check.group
                print(group)
            for finding in answer.result():
                found.append(finding)
                if not options.json:
                    output.say_line(_line(finding))
    levels = [finding.level for finding in found]
    if options.json:
        output.say_json([finding._asdict() for finding in found])
    else:
        print(_summary(levels.count(PROBLEM), levels.count(WARNING)))
    return int(PROBLEM in levels)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python cli.py doctor", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print a list of findings for programs")
    options, unknown = parser.parse_known_args(argv)
    check_unknown("doctor", unknown, vars(options))
    return options


def _line(finding: Finding) -> str:
    fix = f". Fix: {finding.fix}" if finding.fix else ""
    return f"  {finding.level:<8} {finding.subject:<14} {finding.text}{fix}"


def _summary(problems: int, warnings: int) -> str:
    if not problems + warnings:
        return "all is well"
    counts = [f"{n} {word}{'s' * (n > 1)}" for n, word in ((problems, "problem"), (warnings, "warning")) if n]
    return " and ".join(counts)


def all_checks() -> list[Check]:
    """Return the checks, quick ones first."""
    reinstall = installation.install_command()
    return [
        Check("Installation", "Python", installation.python_version, reinstall),
        Check("Installation", installation.PROJECT, installation.this_project, reinstall),
        Check("Installation", "packages", installation.required_packages, reinstall),
        Check("Installation", "modules", installation.own_modules, reinstall),
        Check("Installation", "imports", installation.imports, reinstall),
        Check("Installation", "export", installation.export_packages, reinstall),
        Check("Installation", "plugins", plugins, reinstall),
        Check("Directories", "directories", directories, reinstall),
        Check("Data", "CIFAR-10", data, reinstall),
        Check("Machine", "torch", torch_and_machine, installation.REINSTALL_TORCH),
    ]


# Processes.


def apart(check: Check, *arguments: str, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Run a check in a process of its own, and return what it finds.

    Where it does not come to its end, by an exception, a signal, or because it takes longer than `seconds`, that is
    the last finding.
    """
    # The path is this process's, so that the check sees what the other commands see.
    code = f"import sys; sys.path[:] = {sys.path!r}; from zoo.commands import doctor; doctor.answer(*sys.argv[1:])"
    printed, end = _run([sys.executable, "-c", code, check.look.__module__, check.look.__name__, *arguments], seconds)
    lines = [json.loads(line) for line in printed.splitlines()]
    findings = [Finding(*line) for line in lines if line is not None]
    if None not in lines:
        fix = installation.install_command() if end.startswith("ModuleNotFoundError") else check.fix
        text = f"the look at it failed: {end or 'it ended its process'}"
        findings.append(Finding(PROBLEM, check.subject, text, fix))
    return findings


def answer(module: str, function: str, *arguments: str) -> None:
    """Print what a check finds, a line of JSON each, and null where it came to its end; then end the process."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a package prints when it is imported is no finding
    for finding in getattr(import_module(module), function)(*arguments):
        print(json.dumps(finding), file=lines, flush=True)
    print(json.dumps(None), file=lines, flush=True)
    os._exit(0)  # whatever threads a package may have started


def _run(command: list[str], seconds: float) -> tuple[str, str]:
    """Run a command; return what it prints, and how it ended: "", or its last words, its signal or the time it took."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        return "", one_line(error)
    try:
        printed, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace"), f"it takes longer than {seconds:g} seconds"
    finally:
        process.kill()  # and not waited for: a driver that hangs keeps a process from dying
    code, said = process.returncode, errors.decode(errors="replace").strip()
    if code < 0:
        end = f"it was ended by signal {-code} ({signal.strsignal(-code)})"
    elif code:
        end = one_line(said.splitlines()[-1]) if said else f"it ended with exit code {code}"
    else:
        end = ""
    return printed.decode(errors="replace"), end


# What is looked at, beside the packages.


def plugins() -> Iterator[Finding]:
    """Look at the models that other packages add: load each."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # where the registry says what it leaves out
        found = [entry for entry in registry.entries().values() if entry.distribution != registry.DISTRIBUTION]
    for line in said.getvalue().splitlines():
        yield Finding(PROBLEM, "plugin", line.removeprefix("warning: "), "mend that package, or pip uninstall it")
    if not found and not said.getvalue():
        yield Finding(OK, "plugins", "no package adds models")
    elif found and (installation.malicious() or installation.wrong_variable()):
        yield Finding(WARNING, "plugins", "not looked at: they import lightning", "mend the problems above first")
    elif found:
        checks = [Check("", entry.name, plugin, f"mend or pip uninstall {entry.distribution}") for entry in found]
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


def directories() -> Iterator[Finding]:
    """Look at whether there is room where runs and temporary files are written."""
    yield _folder("runs", Path("runs"), "start in another folder, or name one by --runs_dir")
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        yield Finding(PROBLEM, "temporary", one_line(error), "let TMPDIR name a folder that can be written to")
    else:
        yield _folder("temporary", temporary, "let TMPDIR name another folder")


def _folder(subject: str, folder: Path, fix: str) -> Finding:
    """Look at whether a folder, or the one it would be made in, can be written to and has room."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
            file.flush()
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(PROBLEM, subject, f"'{folder}' cannot be written to: {error.strerror or error}", fix)
    if free < ENOUGH_ROOM:
        return Finding(WARNING, subject, f"only {free / 1e9:.2f} GB are free in '{folder}'", f"make room, or {fix}")
    return Finding(OK, subject, f"'{folder}' can be written to, {free / 1e9:,.0f} GB are free")


def data() -> Iterator[Finding]:
    """Look at CIFAR-10: at its files where there are any, else at the folder that it is downloaded to."""
    from datamodules.data_sets import CIFAR10
    from datamodules.paths import default_data_dir

    folder, prepare = default_data_dir(), "python cli.py data prepare"
    try:
        location = CIFAR10.find(folder)
    except InputError as error:
        yield Finding(PROBLEM, "CIFAR-10", one_line(error), "let CIFAR10_DIR name another folder")
        return
    if location is not None:
        yield _data_finding(location, CIFAR10.check(location))
        return
    if os.environ.get("CIFAR10_DIR") and not folder.exists():
        text = f"CIFAR10_DIR is '{folder}', which does not exist"
        yield Finding(
            PROBLEM, "CIFAR-10", text, f"let it name another folder, or unset it; to download there: {prepare}"
        )
    else:
        yield Finding(
            WARNING,
            "CIFAR-10",
            one_line(CIFAR10.missing(folder)),
            f"{prepare}, or train without it: --config synthetic",
        )
    room = f"let CIFAR10_DIR name another folder (the download needs {CIFAR10.archive.room / 1e6:.0f} MB)"
    yield _folder("data", folder, room)


def _data_finding(location: Path, verdicts: "list[Verdict]") -> Finding:
    """Return the finding on CIFAR-10's files, given the verdicts of `CIFARDataSet.check`."""
    again = "move it away, and run: python cli.py data prepare"
    unusable = [verdict for verdict in verdicts if verdict.problem]
    if all(verdict.official for verdict in verdicts):
        return Finding(OK, "CIFAR-10", f"'{location}' is the official one")
    if unusable:
        names = ", ".join(verdict.name for verdict in unusable)
        text = f"'{location}' cannot be used because of {names} ({one_line(unusable[0].problem)})"
        return Finding(PROBLEM, "CIFAR-10", text, again)
    text = f"'{location}' does not hold the official files: accuracies are not comparable with those of others"
    return Finding(WARNING, "CIFAR-10", text, f"{again}; or, to use it knowingly: --data.verify_checksums=false")


def torch_and_machine() -> Iterator[Finding]:
    """Look at torch, and at the accelerators and threads that it sees."""
    installation.forget_unknown_backend()  # of which `installation.imports` tells
    if misfit := installation.torch_misfit():
        yield Finding(PROBLEM, "torch", misfit, installation.REINSTALL_TORCH)
        return
    versions = ", ".join(f"{name} {installation.version(name)}" for name in ("torch", "torchvision"))
    yield from installation.torchvision_pin()
    yield Finding(OK, "torch", f"{versions}: can be imported")
    if not installation.malicious() and not installation.wrong_variable():
        yield lightning()
    yield from accelerators()
    yield threads()


def lightning() -> Finding:
    """Look at whether lightning can be imported, which imports torch, torchvision and torchmetrics."""
    what = installation.version("lightning") or "not installed"
    try:
        import_module("lightning.pytorch")
    except Exception as error:  # any of the many packages that it imports can be broken
        text = f"{what}, cannot be imported: {type(error).__name__}: {one_line(error)}"
        return Finding(PROBLEM, "lightning", text, "pip install --force-reinstall lightning torchmetrics")
    return Finding(OK, "lightning", f"{what}: can be imported")


def accelerators() -> Iterator[Finding]:
    """Look at the GPUs: those that torch sees, and why it sees none where there are some."""
    import torch

    with warnings.catch_warnings(record=True) as said:  # torch warns about a driver that it cannot use
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        yield from map(_cuda_device, range(torch.cuda.device_count()))
    elif torch.backends.mps.is_available():
        yield Finding(OK, "GPU", "Apple's, by MPS")
    else:
        yield _no_gpu(torch.version.cuda, " ".join(one_line(warning.message) for warning in said))


def _cuda_device(number: int) -> Finding:
    import torch

    try:
        device = torch.cuda.get_device_properties(number)
        # A GPU that this torch has no kernels for, or that others have filled, is seen too.
        (torch.ones(1, device=f"cuda:{number}") + 1).item()
    except RuntimeError as error:
        fix = f"see by nvidia-smi whether others use it; if not, {GET_TORCH}"
        return Finding(PROBLEM, "GPU", f"cuda:{number} does not compute: {one_line(error)}", fix)
    return Finding(OK, "GPU", f"cuda:{number}, {device.name}, {device.total_memory / 2**30:.0f} GiB")


def _no_gpu(built_for: str | None, said: str) -> Finding:
    """Return why torch sees no GPU.

    Args:
        built_for: the version of CUDA that torch was built for; None for a build without CUDA.
        said: what torch says about it; "" where it says nothing.
    """
    none = Finding(OK, "GPU", "none: the CPU trains")
    if shutil.which("nvidia-smi") is None:
        return none
    listing, end = _run(["nvidia-smi", "-L"], DRIVER_SECONDS)
    gpus = re.findall(r"^GPU \d+: .*", listing, re.MULTILINE)
    if not gpus:
        if not end:
            return none
        fix = "restart the machine, or reinstall NVIDIA's driver"
        return Finding(WARNING, "GPU", f"nvidia-smi fails: {one_line(listing) or end}", fix)
    names = f"{len(gpus)} from NVIDIA"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and _hides_all(visible, listing, len(gpus)):
        return Finding(
            WARNING, "GPU", f"{names}, hidden by CUDA_VISIBLE_DEVICES='{visible}'", "unset CUDA_VISIBLE_DEVICES"
        )
    if built_for is None:
        return Finding(WARNING, "GPU", f"{names}, but this torch is built for the CPU alone", GET_TORCH)
    text = f"{names}, but torch, built for CUDA {built_for}, cannot use the driver, most often because it is too old"
    fix = f"update NVIDIA's driver, or {GET_TORCH}, for an older CUDA"
    return Finding(PROBLEM, "GPU", f"{text}{f' ({said})' if said else ''}", fix)


def _hides_all(visible: str, listing: str, gpus: int) -> bool:
    """Whether a CUDA_VISIBLE_DEVICES leaves no GPU: it counts up to the first that there is not."""
    first = visible.split(",")[0].strip()
    if first.isdecimal():
        return int(first) >= gpus
    return not first.startswith(("GPU-", "MIG-")) or first not in listing  # an identifier, or how it begins


def threads() -> Finding:
    """Look at whether there are more threads than cores, which slows all of them down."""
    import threadpoolctl
    import torch

    cores = _cores()
    # Sorted: of several pools of one kind, the largest counts.
    found = sorted((pool["num_threads"], pool["internal_api"]) for pool in threadpoolctl.threadpool_info())
    pools = {name: n for n, name in found}
    threads = {"torch": torch.get_num_threads()} | pools
    settings = [name for name in THREAD_VARIABLES if name in os.environ]
    text = f"{cores} core{'s' * (cores > 1)}; threads: " + ", ".join(f"{name} {n}" for name, n in threads.items())
    text += "".join(f", {name}={os.environ[name]}" for name in settings)
    if max(threads.values()) <= cores:
        return Finding(OK, "CPU", text)
    fix = " ".join(f"{name}={cores}" for name in settings or THREAD_VARIABLES[:1])
    return Finding(WARNING, "CPU", f"{text}: more threads than cores", f"export {fix}")


def _cores() -> int:
    """Return how many cores this process may use: of the machine's, its affinity's, its container's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_limit()
    return cores if limit is None else min(cores, max(1, math.ceil(limit)))


def _cgroup_limit() -> float | None:
    """Return the limit of a container in cores; None where there is none."""
    # Version 2 has quota and period in one file, version 1 in two; "max" and -1 are no limit.
    # https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
            if int(quota) > 0:
                return int(quota) / int(period)
    return None
