"""The checks of `doctor`, on packages and on the machine.

This module imports only the standard library, because any other package may be broken.
"""

import io
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import InputError, error_line
from datamodules.paths import default_data_dir
from zoo.catalogue import registry
from zoo.catalogue.registry import DISTRIBUTION
from zoo.core import installation
from zoo.core.installation import version

OK, WARNING, PROBLEM = LEVELS = ("ok", "warning", "problem")
HOME = Path(__file__).resolve().parents[2]  # the folder of the code that runs
OUR_FILES = {f"{module}{end}" for module in ("cli", "zoo", "datamodules") for end in (".py", "/__init__.py")}
# Packages that are often damaged and do not import torch. The check of torch imports those that do.
IMPORTED = ("numpy", "matplotlib.figure", "jsonargparse", "tensorboard.summary.writer")
EXTRAS = ("export", "timm", "svhn", "loggers")  # for users; "test" is for developers
MALICIOUS = [(name, upload) for name in ("lightning", "pytorch-lightning") for upload in ("2.6.2", "2.6.3")]
ADVISORY = "https://github.com/Lightning-AI/pytorch-lightning/security/advisories/GHSA-w37p-236h-pfx3"
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container


class Finding(NamedTuple):
    """One line on what was checked; `fix` is a command to type or a setting to change, "" if all is well."""

    level: str  # one of LEVELS
    subject: str
    text: str
    fix: str = ""


def run_program(command: list[str], seconds: float) -> tuple[str, str]:
    """Run a program; return its output and why it failed, with its last line on stderr; "" if it did not fail."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        output, errors = process.communicate(timeout=seconds)
        code = process.returncode
        cause = f"exit code {code}" if code > 0 else str(signal.strsignal(-code)) if code < 0 else ""
    except subprocess.TimeoutExpired as late:
        process.kill()  # without waiting: a driver that hangs keeps a process from dying
        output, errors, cause = late.stdout or b"", late.stderr or b"", f"it takes longer than {seconds:g} seconds"
    words = [cause, *errors.decode(errors="replace").strip().splitlines()[-1:]]
    return output.decode(errors="replace"), error_line(": ".join(words)) if cause else ""


def malicious() -> list[str]:
    """Return the names of installed packages that must not even be imported."""
    return [name for name, upload in MALICIOUS if version(name) == upload]


def install_command(extra: str = "") -> str:
    """Return the command that installs this project with its requirements, and those of an extra such as "[export]"."""
    if (HOME / "pyproject.toml").is_file():
        return f"pip install -e '{HOME}{extra}'"
    return f"pip install '{DISTRIBUTION}{extra}'" if extra else f"pip install --force-reinstall {DISTRIBUTION}"


def requirements() -> list[str]:
    """Return what this project requires, in the form of package metadata: an extra is a marker.

    In a checkout, pyproject.toml decides: it can be newer than what was installed from it.
    """
    if (file := HOME / "pyproject.toml").is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        extras = {extra: project["optional-dependencies"].get(extra, []) for extra in EXTRAS}
        of_extras = [f"{text}; extra == '{extra}'" for extra, texts in extras.items() for text in texts]
        return project["dependencies"] + of_extras
    return metadata.requires(DISTRIBUTION) or []


def versions() -> Iterator[Finding]:
    """Check the versions of the packages that this project and its extras require."""
    from packaging.requirements import Requirement

    for name in malicious():
        text = f"{version(name)} is a malicious upload that steals passwords, keys and tokens, see {ADVISORY}"
        fix = f"pip uninstall {name}, then {install_command()}; change every password, key and token of this machine"
        yield Finding(PROBLEM, name, text, fix)
    required = [Requirement(text) for text in requirements()]
    for extra in ("", *EXTRAS):
        wrong, level = [], OK
        applying = [r for r in required if (r.marker.evaluate({"extra": extra}) if r.marker else not extra)]
        if not applying:
            continue
        for requirement in applying:
            installed = version(requirement.name)
            fits = installed and requirement.specifier.contains(installed, prereleases=True)
            if not fits and requirement.name not in malicious():
                wrong.append(f"{requirement.name}{requirement.specifier} is needed, not {installed or 'installed'}")
                level = PROBLEM if not extra else WARNING if installed else level  # an extra may be missing
        fix = install_command(extra and f"[{extra}]") if wrong else ""
        yield Finding(level, extra or "packages", ", ".join(wrong) or "all have the required versions", fix)


def pip_check() -> Iterator[Finding]:
    """Let pip look for packages that do not fit each other, such as a torchvision for another torch."""
    output, failure = run_program([sys.executable, "-P", "-m", "pip", "check"], 60.0)
    if failure and not output:
        yield Finding(WARNING, "pip check", failure, "python -m ensurepip --upgrade")
    for line in output.splitlines() if failure else []:
        name = line.split()[0]
        fix = installation.REINSTALL_TORCH if name == "torchvision" else f"pip install --upgrade {name}"
        if name != DISTRIBUTION:  # whose requirements `versions` checks
            yield Finding(WARNING, name, line, fix)


def modules() -> Iterator[Finding]:
    """Check that this project is installed and that no other module has the name of one of its own."""
    installed = version(DISTRIBUTION)
    text = f"{installed or 'not installed'}, '{HOME}', Python {platform.python_version()}, '{sys.executable}'"
    yield Finding(OK, DISTRIBUTION, text) if installed else Finding(WARNING, DISTRIBUTION, text, install_command())
    for distribution in metadata.distributions():
        with suppress(Exception):  # an interrupted installation leaves metadata that cannot be read
            files = OUR_FILES.intersection(map(str, distribution.files or ()))
            if files and registry.canonical(distribution.name) != DISTRIBUTION:
                text = f"its {', '.join(sorted(files))} can hide ours in '{HOME}'"
                fix = f"pip uninstall {distribution.name}, then {install_command()}"
                yield Finding(PROBLEM, distribution.name, text, fix)
    for folder in sorted({Path(entry).resolve() for entry in sys.path} - {HOME}):
        if files := {file for file in OUR_FILES if (folder / file).is_file()}:
            text = f"{', '.join(sorted(files))} in '{folder}' can hide ours in '{HOME}'"
            level, fix = PROBLEM, "uninstall its package, rename it, or take its folder out of PYTHONPATH"
            if (folder / "zoo/commands/doctor.py").is_file():  # another copy of this project
                level, fix = WARNING, f"pip install -e '{HOME}'"
            yield Finding(level, "modules", text, fix)


def imports() -> Iterator[Finding]:
    """Check what keeps packages from being imported, and import those that are often damaged."""
    if problem := installation.process_variable_problem():
        yield Finding(PROBLEM, "environment", f"the environment variable {problem}", f"unset {problem.split()[0]}")
    if text := installation.forget_unknown_backend():
        yield Finding(WARNING, "environment", text, "unset MPLBACKEND")
    yield from map(import_package, IMPORTED)


def import_package(module: str) -> Finding:
    """Import a module, and say whether its package works."""
    package = module.partition(".")[0]
    installed = version(package)
    try:
        import_module(module)
    except Exception as error:  # a broken package can raise anything
        text = f"{installed or 'not installed'}, cannot be imported: {type(error).__name__}: {error_line(error)}"
        fix = f"pip install --force-reinstall {package}" if installed else install_command()
        return Finding(PROBLEM, package, text, fix)
    return Finding(OK, package, f"{installed}, can be imported")


def plugins() -> Iterator[Finding]:
    """Load each model that another package adds."""
    with redirect_stderr(io.StringIO()) as warnings:  # the registry says there which models it leaves out
        entries = [entry for entry in registry.entries().values() if entry.distribution != DISTRIBUTION]
    for line in warnings.getvalue().splitlines():
        yield Finding(PROBLEM, "plugins", line.removeprefix("warning: "), "mend that package, or pip uninstall it")
    if entries and (malicious() or installation.process_variable_problem()):
        yield Finding(WARNING, "plugins", "not checked: they import lightning", "fix the problems above first")
        return
    for name, _, package in entries:
        print(f"while loading {name} of the package {package}", file=sys.stderr)  # for `run_program`, if it crashes
        try:
            registry.load(name)
            yield Finding(OK, name, f"a model of the package '{package}', can be loaded")
        except InputError as error:
            yield Finding(PROBLEM, name, error_line(error), f"mend that package, or pip uninstall {package}")


def directories() -> Iterator[Finding]:
    """Check that there is room where runs and temporary files are written."""
    yield _folder("runs", Path("runs"), "start in another folder, or name one by --runs_dir")
    yield _folder("temporary", Path(tempfile.gettempdir()), "let TMPDIR name another folder")


def _folder(subject: str, folder: Path, fix: str) -> Finding:
    """Check that a folder, or the folder that it would be made in, can be written to and has room."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(PROBLEM, subject, f"'{folder}' cannot be written to: {error.strerror or error}", fix)
    if free < 10**9:
        return Finding(WARNING, subject, f"only {free / 1e9:.2f} GB are free in '{folder}'", f"make room, or {fix}")
    return Finding(OK, subject, f"'{folder}' can be written to, {free / 1e9:,.0f} GB are free")


def data() -> Iterator[Finding]:
    """Check the files of CIFAR-10, or else the folder that they are downloaded to."""
    from datamodules.data_sets import CIFAR10

    folder, prepare = default_data_dir(), "python cli.py data prepare"
    if (location := CIFAR10.find(folder)) is None:
        level = PROBLEM if os.environ.get("CIFAR10_DIR") and not folder.exists() else WARNING
        fix = f"{prepare}, let CIFAR10_DIR name another folder, or train on --config synthetic"
        yield Finding(level, "CIFAR-10", error_line(CIFAR10.missing(folder)), fix)
        yield _folder("data", folder, "let CIFAR10_DIR name another folder")
        return
    verdicts, fix = CIFAR10.check(location), f"move it away, and run: {prepare}"
    if unusable := [verdict for verdict in verdicts if verdict.problem]:
        causes = ", ".join(f"{verdict.name} ({error_line(verdict.problem)})" for verdict in unusable)
        yield Finding(PROBLEM, "CIFAR-10", f"'{location}' cannot be used because of {causes}", fix)
    elif all(verdict.official for verdict in verdicts):
        yield Finding(OK, "CIFAR-10", f"'{location}' is the official one")
    else:
        text = f"'{location}' does not hold the official files: accuracies are not comparable with published ones"
        yield Finding(WARNING, "CIFAR-10", text, f"{fix}; or, to use it knowingly: --data.verify_checksums=false")


def torch_and_machine() -> Iterator[Finding]:
    """Check torch, and the GPUs and threads that it sees."""
    installation.forget_unknown_backend()  # `imports` reports it
    if misfit := installation.torch_misfit():
        yield Finding(PROBLEM, "torch", misfit, installation.REINSTALL_TORCH)
        return
    yield from map(import_package, ("torch", "torchvision"))
    if not malicious() and not installation.process_variable_problem():
        yield import_package("lightning.pytorch")
    yield from gpus()
    yield threads()


def gpus() -> Iterator[Finding]:
    """Check the GPUs that torch sees, or let torch say why it cannot use them."""
    import torch

    try:
        torch.cuda.init()
        for number in range(torch.cuda.device_count()):
            # torch also sees a GPU that it has no kernels for, or whose memory is full.
            (torch.ones(1, device=f"cuda:{number}") + 1).item()
            yield Finding(OK, "GPU", f"cuda:{number}, {torch.cuda.get_device_name(number)}")
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        if shutil.which("nvidia-smi") or torch.cuda.is_initialized():
            fix = "update the driver, or install a torch for it as https://pytorch.org/get-started/locally says"
            if "CUDA_VISIBLE_DEVICES" in os.environ:
                fix = f"unset CUDA_VISIBLE_DEVICES, {fix}"
            level = PROBLEM if torch.cuda.is_initialized() else WARNING
            yield Finding(level, "GPU", f"torch cannot use NVIDIA's GPU: {error_line(error)}", fix)
        else:
            yield Finding(OK, "GPU", "Apple's, by MPS" if torch.backends.mps.is_available() else "none: the CPU trains")


def threads() -> Finding:
    """Check that there are no more threads than cores: more threads slow each other down."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # "max" stands for no limit
        quota, period = map(int, CPU_LIMIT.read_text().split())
        cores = min(cores, math.ceil(quota / period))
    is_crowded = torch.get_num_threads() > cores
    fix = f"export OMP_NUM_THREADS={cores}" if is_crowded else ""
    return Finding(WARNING if is_crowded else OK, "CPU", f"cores: {cores}, threads: {torch.get_num_threads()}", fix)
