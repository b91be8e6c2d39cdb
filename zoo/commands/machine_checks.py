"""The checks of `doctor` on the machine: folders, CIFAR-10, torch, GPUs and threads.

This module imports only the standard library, because any other package may be broken.
"""

import contextlib
import math
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.errors import InputError, one_line
from zoo.commands import package_checks
from zoo.commands.findings import OK, PROBLEM, WARNING, Finding, run_program
from zoo.core import installation

if TYPE_CHECKING:
    from datamodules.readers.cifar import Verdict

DRIVER_SECONDS = 15.0
ENOUGH_ROOM = 10**9  # bytes

GET_TORCH = "install a torch for this machine as https://pytorch.org/get-started/locally says"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CGROUP = Path("/sys/fs/cgroup")


def directories() -> Iterator[Finding]:
    """Check that there is room where runs and temporary files are written."""
    yield _folder("runs", Path("runs"), "start in another folder, or name one by --runs_dir")
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        yield Finding(PROBLEM, "temporary", one_line(error), "let TMPDIR name a folder that can be written to")
    else:
        yield _folder("temporary", temporary, "let TMPDIR name another folder")


def _folder(subject: str, folder: Path, fix: str) -> Finding:
    """Check that a folder, or the folder that it would be made in, can be written to and has room."""
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
    """Check the files of CIFAR-10, or else the folder that they are downloaded to."""
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
        fix = f"let it name another folder, or unset it; to download there: {prepare}"
        yield Finding(PROBLEM, "CIFAR-10", text, fix)
    else:
        fix = f"{prepare}, or train without it: --config synthetic"
        yield Finding(WARNING, "CIFAR-10", one_line(CIFAR10.missing(folder)), fix)
    room = f"let CIFAR10_DIR name another folder (the download needs {CIFAR10.archive.room / 1e6:.0f} MB)"
    yield _folder("data", folder, room)


def _data_finding(location: Path, verdicts: "list[Verdict]") -> Finding:
    """Return the finding for the verdicts of `CIFARDataSet.check`."""
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
    """Check torch, and the accelerators and threads that it sees."""
    installation.forget_unknown_backend()  # `package_checks.imports` reports it
    if misfit := installation.torch_misfit():
        yield Finding(PROBLEM, "torch", misfit, installation.REINSTALL_TORCH)
        return
    versions = ", ".join(f"{name} {installation.version(name)}" for name in ("torch", "torchvision"))
    yield from package_checks.torchvision_pin()
    yield Finding(OK, "torch", f"{versions}: can be imported")
    if not package_checks.malicious() and not installation.process_variable_problem():
        yield lightning()
    yield from accelerators()
    yield threads()


def lightning() -> Finding:
    """Import lightning, and with it torch, torchvision and torchmetrics."""
    what = installation.version("lightning") or "not installed"
    try:
        import_module("lightning.pytorch")
    except Exception as error:  # it imports many packages, and any of them can be broken
        text = f"{what}, cannot be imported: {type(error).__name__}: {one_line(error)}"
        return Finding(PROBLEM, "lightning", text, "pip install --force-reinstall lightning torchmetrics")
    return Finding(OK, "lightning", f"{what}: can be imported")


def accelerators() -> Iterator[Finding]:
    """Check the GPUs that torch sees, or find out why it sees none."""
    import torch

    with warnings.catch_warnings(record=True) as caught:  # torch warns about a driver that it cannot use
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        yield from map(_cuda_device, range(torch.cuda.device_count()))
    elif torch.backends.mps.is_available():
        yield Finding(OK, "GPU", "Apple's, by MPS")
    else:
        yield _no_gpu(torch.version.cuda, " ".join(one_line(warning.message) for warning in caught))


def _cuda_device(number: int) -> Finding:
    import torch

    try:
        device = torch.cuda.get_device_properties(number)
        # torch also sees a GPU that it has no kernels for, or whose memory is full.
        (torch.ones(1, device=f"cuda:{number}") + 1).item()
    except RuntimeError as error:
        fix = f"see by nvidia-smi whether others use it; if not, {GET_TORCH}"
        return Finding(PROBLEM, "GPU", f"cuda:{number} does not compute: {one_line(error)}", fix)
    return Finding(OK, "GPU", f"cuda:{number}, {device.name}, {device.total_memory / 2**30:.0f} GiB")


def _no_gpu(built_for: str | None, message: str) -> Finding:
    """Return why torch sees no GPU.

    Args:
        built_for: the version of CUDA that torch was built for; None for a build without CUDA.
        message: torch's own warning, or "".
    """
    none = Finding(OK, "GPU", "none: the CPU trains")
    if shutil.which("nvidia-smi") is None:
        return none
    listing, end = run_program(["nvidia-smi", "-L"], DRIVER_SECONDS)
    gpus = re.findall(r"^GPU \d+: .*", listing, re.MULTILINE)
    if not gpus:
        if not end:
            return none
        fix = "restart the machine, or reinstall NVIDIA's driver"
        return Finding(WARNING, "GPU", f"nvidia-smi fails: {one_line(listing) or end}", fix)
    names = f"{len(gpus)} from NVIDIA"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and _hides_all(visible, listing, len(gpus)):
        text = f"{names}, hidden by CUDA_VISIBLE_DEVICES='{visible}'"
        return Finding(WARNING, "GPU", text, "unset CUDA_VISIBLE_DEVICES")
    if built_for is None:
        return Finding(WARNING, "GPU", f"{names}, but this torch is built for the CPU alone", GET_TORCH)
    text = f"{names}, but torch, built for CUDA {built_for}, cannot use the driver, most often because it is too old"
    fix = f"update NVIDIA's driver, or {GET_TORCH}, for an older CUDA"
    return Finding(PROBLEM, "GPU", f"{text}{f' ({message})' if message else ''}", fix)


def _hides_all(visible: str, listing: str, gpus: int) -> bool:
    """Return whether CUDA_VISIBLE_DEVICES leaves no GPU: CUDA stops at the first entry that does not exist."""
    first = visible.split(",")[0].strip()
    if first.isdecimal():
        return int(first) >= gpus
    return not first.startswith(("GPU-", "MIG-")) or first not in listing  # an identifier, or its beginning


def threads() -> Finding:
    """Check that there are no more threads than cores: more threads slow each other down."""
    import threadpoolctl
    import torch

    cores = _cores()
    threads = {"torch": torch.get_num_threads()}
    for pool in threadpoolctl.threadpool_info():
        threads[pool["internal_api"]] = max(pool["num_threads"], threads.get(pool["internal_api"], 0))
    settings = [name for name in THREAD_VARIABLES if name in os.environ]
    text = f"{cores} core{'s' * (cores > 1)}; threads: " + ", ".join(f"{name} {n}" for name, n in threads.items())
    text += "".join(f", {name}={os.environ[name]}" for name in settings)
    if max(threads.values()) <= cores:
        return Finding(OK, "CPU", text)
    fix = " ".join(f"{name}={cores}" for name in settings or THREAD_VARIABLES[:1])
    return Finding(WARNING, "CPU", f"{text}: more threads than cores", f"export {fix}")


def _cores() -> int:
    """Return how many cores this process may use, given its affinity and the limit of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_limit()
    return cores if limit is None else min(cores, max(1, math.ceil(limit)))


def _cgroup_limit() -> float | None:
    """Return the limit of the container in cores, or None."""
    # Version 2 has quota and period in one file, version 1 in two files; "max" and -1 mean no limit.
    # https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
            if int(quota) > 0:
                return int(quota) / int(period)
    return None
