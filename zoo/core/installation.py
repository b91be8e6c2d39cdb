"""What every command needs before it can use torch: packages that fit each other in an environment that allows them.

This module imports only the standard library, because any other package may be broken.
"""

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata

from datamodules.errors import InputError, one_line

# Launchers of several processes set these variables, and Lightning reads them when it is imported.
SIZES = ["WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE"]
RANKS = ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK"]
RANKS += ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"]
REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries faster, without garbage collection, if PyTorch is not imported yet.

    Each garbage collection visits all objects, and PyTorch and Lightning define a million of them.
    """
    is_collecting = "torch" not in sys.modules and gc.isenabled()
    if is_collecting:
        gc.disable()
    try:
        yield
    finally:
        if is_collecting:
            gc.enable()


def check_torch() -> None:
    """Import torch and torchvision, after checking what would break the import of them, Lightning or matplotlib.

    Raises:
        InputError: if torch and torchvision cannot be imported, or an environment variable of a launcher is not valid.
    """
    if problem := process_variable_problem():
        raise InputError(f"the environment variable {problem}: unset it")
    forget_unknown_backend()
    if misfit := torch_misfit():
        raise InputError(f"{misfit}: install the two together from one place: {REINSTALL_TORCH}")


def process_variable_problem() -> str:
    """Return which environment variable has no valid size or rank of a process group, and its value; "" if none."""
    for name in SIZES + RANKS:
        value, least = os.environ.get(name), int(name in SIZES)
        if value is not None and not (re.fullmatch(r"[0-9]{1,9}", value.strip()) and least <= int(value) <= 10**6):
            return f"{name} is '{value}', expected an integer from {least} to {10**6}"
    return ""


def check_port() -> None:
    """Raise InputError unless MASTER_PORT, at which several processes meet, is unset or a port."""
    port = os.environ.get("MASTER_PORT", "0")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise InputError(f"the environment variable MASTER_PORT is '{port}', expected a port from 0 to 65535: unset it")


def forget_unknown_backend() -> str:
    """Remove MPLBACKEND from the environment if matplotlib does not know the backend; return the note on stderr, or "".

    Matplotlib cannot be imported with an unknown backend. This project draws to files, which needs no backend.
    """
    if "MPLBACKEND" not in os.environ or "matplotlib" in sys.modules:
        return ""
    backend, note = os.environ.pop("MPLBACKEND"), ""  # the import would fail halfway with it
    with suppress(Exception):  # a broken package can raise anything, and raises it again where it is used
        import matplotlib

        try:
            matplotlib.rcParams["backend"] = backend
        except ValueError:
            note = one_line(f"MPLBACKEND={backend} is unknown to matplotlib, and is ignored")
            print(f"note: {note}", file=sys.stderr)
    if not note:
        os.environ["MPLBACKEND"] = backend
    return note


def torch_misfit() -> str:
    """Import torch and torchvision; return why they do not fit each other, or ""."""
    try:
        with quick_imports():
            import torch  # noqa: F401
            import torchvision  # noqa: F401
    except Exception as error:  # a missing file, symbol or operator
        cause = str(error).strip().partition("\n")[0] or type(error).__name__
        versions = [f"{name} {version(name) or '(not installed)'}" for name in ("torch", "torchvision")]
        return f"{' and '.join(versions)} do not fit each other ({cause})"
    return ""


def version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed, or left without metadata."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None
