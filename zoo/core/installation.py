"""What every command needs before it can use torch: packages that fit each other in an environment that allows them.

This module imports only the standard library, because any other package may be broken.
"""

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from datamodules.errors import InputError, one_line

# The environment variables by which launchers number their processes, with the least and the largest value.
PROCESS_VARIABLES = {
    **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE"), (1, 10**6)),
    **dict.fromkeys(("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"), (0, 10**6)),
    **dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), (0, 10**6)),
    **dict.fromkeys(("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK"), (0, 10**6)),
}
# Only runs of several processes use this port. Kubernetes sets it to an address if a service is called master.
PORT = "MASTER_PORT"
REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries faster, by not collecting garbage in the meantime.

    Each garbage collection visits all objects, and PyTorch and Lightning define a million of them. The context does
    nothing once PyTorch is imported.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def check_torch() -> None:
    """Import torch and torchvision, after checking what would break the import of them, Lightning or matplotlib.

    Raises:
        InputError: if torch or torchvision is missing, if they do not fit each other, or if an environment variable
            has no valid number of a process; says how to fix it.
    """
    if problem := process_variable_problem():
        raise InputError(f"the environment variable {problem}: unset it")
    forget_unknown_backend()
    if misfit := torch_misfit():
        raise InputError(f"{misfit}: install the two together from one place: {REINSTALL_TORCH}")


def process_variable_problem() -> str:
    """Return which environment variable has no valid number of a process, and its value; "" if all are valid.

    Lightning reads these variables when it is imported.
    """
    for name, (least, most) in PROCESS_VARIABLES.items():
        value = os.environ.get(name)
        if value is not None and not (re.fullmatch(r"[0-9]{1,9}", value.strip()) and least <= int(value) <= most):
            return f"{name} is '{value}', expected an integer from {least} to {most}"
    return ""


def check_port() -> None:
    """Check the port at which several processes meet.

    Raises:
        InputError: if `MASTER_PORT` is not a port.
    """
    port = os.environ.get(PORT, "0")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise InputError(f"the environment variable {PORT} is '{port}', expected a port from 0 to 65535: unset it")


def forget_unknown_backend() -> str:
    """Remove MPLBACKEND from the environment if matplotlib does not know the backend, and say so on stderr.

    Matplotlib cannot be imported with an unknown backend. This project draws to files, which needs no backend.

    Returns:
        The line on stderr, or "".
    """
    if "MPLBACKEND" not in os.environ or "matplotlib" in sys.modules:
        return ""
    backend = os.environ.pop("MPLBACKEND")  # the import would fail halfway with it
    try:
        import matplotlib

        matplotlib.rcParams["backend"] = backend
    except ValueError:
        text = one_line(f"MPLBACKEND={backend} is unknown to matplotlib, and is ignored")
        print(f"note: {text}", file=sys.stderr)
        return text
    except Exception:  # a broken package can raise anything, and raises it again where it is used
        pass
    os.environ["MPLBACKEND"] = backend
    return ""


def torch_misfit() -> str:
    """Import torch and torchvision; return why they do not fit each other, or "".

    A torchvision that was built for another torch is one of the most common broken installations.
    """
    try:
        with quick_imports():
            import torch  # noqa: F401
            import torchvision  # noqa: F401
    except Exception as error:  # a missing file, symbol or operator
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        versions = [f"{name} {version(name) or '(not installed)'}" for name in ("torch", "torchvision")]
        return f"{' and '.join(versions)} do not fit each other ({cause})"
    return ""


def version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed, or left without metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
