"""Whether what is installed fits together: each part on its own, and torch with torchvision.

Imports nothing but the standard library before a function needs it: any of the rest may be what is broken.
"""

import gc
import json
import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from datamodules.errors import InputError, one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OK, WARNING, PROBLEM = LEVELS = ("ok", "warning", "problem")

PROJECT = "cifar10-zoo"
HOME = Path(__file__).resolve().parents[2]  # the folder of the code that runs
TOP_LEVEL = ("cli", "zoo", "datamodules")
# What is often damaged, and imports no torch: that is tried together with what needs it.
IMPORTED = ("numpy", "matplotlib.figure", "jsonargparse", "tensorboard.summary.writer")

# Environment variables of those who start several processes, with the least and the largest value.
PROCESS_VARIABLES = {
    **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE"), (1, 10**6)),
    **dict.fromkeys(("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"), (0, 10**6)),
    **dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), (0, 10**6)),
    **dict.fromkeys(("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK"), (0, 10**6)),
}
# Used by several processes only; Kubernetes sets it, to an address, if a service is called master.
PORT = "MASTER_PORT"
REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"
LIGHTNING = ("lightning", "pytorch-lightning")  # the former installs the latter
MALICIOUS = ("2.6.2", "2.6.3")
ADVISORY = "https://github.com/Lightning-AI/pytorch-lightning/security/advisories/GHSA-w37p-236h-pfx3"


class Finding(NamedTuple):
    """What a look at one thing found.

    Attributes:
        level: one of `LEVELS`.
        subject: what was looked at.
        text: what was found, one line.
        fix: a command to type or what to set; "" where nothing is to be done.
    """

    level: str
    subject: str
    text: str
    fix: str = ""


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries more quickly: without looking for garbage among what they define.

    Each of Python's collections goes through all objects there are, of which PyTorch and Lightning define a million.
    Only the first import of PyTorch is worth it.
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
    """Import torch and torchvision, once the environment lets them, Lightning and matplotlib be imported.

    Lightning's metrics import torchvision, so nothing works without this.

    Raises:
        InputError: where one is missing or the two do not fit each other; names both versions and the way out. For an
            environment variable that should be a number of a process.
    """
    if variable := wrong_variable():
        raise InputError(f"{_wrong(variable)}: unset it")
    forget_unknown_backend()
    if misfit := torch_misfit():
        raise InputError(f"{misfit}: install the two together from one place: {REINSTALL_TORCH}")


def wrong_variable() -> str:
    """Return the name of an environment variable that should be the number of a process and is not; "" for none.

    Lightning and torch read them, Lightning as soon as it is imported.
    """
    for name, (least, most) in PROCESS_VARIABLES.items():
        value = os.environ.get(name)
        if value is not None and not (re.fullmatch(r"[0-9]{1,9}", value.strip()) and least <= int(value) <= most):
            return name
    return ""


def check_port() -> None:
    """Check the port at which several processes meet.

    Raises:
        InputError: where the environment names none.
    """
    port = os.environ.get(PORT, "0")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise InputError(f"the environment variable {PORT} is '{port}', expected a port from 0 to 65535: unset it")


def _wrong(variable: str) -> str:
    least, most = PROCESS_VARIABLES[variable]
    return (
        f"the environment variable {variable} is '{os.environ[variable]}', expected an integer from {least} to {most}"
    )


def forget_unknown_backend() -> str:
    """Take MPLBACKEND out of the environment if matplotlib does not know it, and say so on stderr.

    Matplotlib cannot be imported with it. This project draws to files, for which it needs no backend.

    Returns:
        What it says; "" if there is nothing to say.
    """
    if "MPLBACKEND" not in os.environ or "matplotlib" in sys.modules:
        return ""
    backend = os.environ.pop("MPLBACKEND")  # with which the import would fail halfway
    try:
        import matplotlib

        matplotlib.rcParams["backend"] = backend
    except ValueError:
        text = one_line(f"MPLBACKEND={backend} is unknown to matplotlib, and is ignored")
        print(f"note: {text}", file=sys.stderr)
        return text
    except Exception:  # a broken package can raise anything, and does so again where it is needed
        pass
    os.environ["MPLBACKEND"] = backend
    return ""


def torch_misfit() -> str:
    """Import torch and torchvision; return how they do not fit each other, "" where they do.

    A torchvision built for another torch is one of the commonest broken installations there are.
    """
    try:
        with quick_imports():
            import torch  # noqa: F401
            import torchvision  # noqa: F401
    except Exception as error:  # a missing file, symbol or operator; what half an import leaves
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        versions = [f"{name} {version(name) or '(not installed)'}" for name in ("torch", "torchvision")]
        return f"{' and '.join(versions)} do not fit each other ({cause})"
    return ""


def version(package: str) -> str | None:
    """Return the version of an installed package; None where it is not installed, or what is left of it has none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def malicious() -> list[str]:
    """Return the names of installed packages that must not even be imported."""
    return [name for name in LIGHTNING if version(name) in MALICIOUS]


def install_command() -> str:
    """Return the command that installs this project with all it requires."""
    in_checkout = (HOME / "pyproject.toml").is_file()
    return f"pip install -e '{HOME}'" if in_checkout else f"pip install --force-reinstall {PROJECT}"


def requirements(extra: str = "") -> "list[Requirement]":
    """Return the packages that this project requires, or that one of its extras adds.

    In a checkout those of its pyproject.toml, which can be newer than what was installed from it.
    """
    from packaging.requirements import Requirement

    if project := pyproject():
        return [Requirement(r) for r in (project["optional-dependencies"][extra] if extra else project["dependencies"])]
    # In metadata an extra is a condition: "onnx>=1.17; extra == 'export'".
    found = [
        requirement
        for requirement in _requires(PROJECT)
        if (requirement.marker.evaluate({"extra": extra}) if requirement.marker else not extra)
    ]
    for requirement in found:
        requirement.marker = None
    return found


def python_version() -> Iterator[Finding]:
    """Look at Python's version."""
    from packaging.specifiers import SpecifierSet

    project = pyproject()
    asked = project["requires-python"] if project else metadata.metadata(PROJECT)["Requires-Python"] or ""
    found = f"{platform.python_version()}, '{sys.executable}'"
    if SpecifierSet(asked).contains(platform.python_version(), prereleases=True):
        yield Finding(OK, "Python", found)
    else:
        yield Finding(PROBLEM, "Python", f"{found}: {asked} is needed", "make an environment with a newer Python")


def this_project() -> Iterator[Finding]:
    """Look at where this project is installed, and whether that is what runs."""
    try:
        distribution = metadata.distribution(PROJECT)
    except metadata.PackageNotFoundError:
        yield Finding(WARNING, PROJECT, f"not installed; what runs is '{HOME}'", install_command())
        return
    place, editable = _place(distribution)
    what = f"{distribution.version}, {'editable' if editable else 'installed'} in '{place}'"
    if place != HOME:
        yield Finding(WARNING, PROJECT, f"{what}, but what runs is '{HOME}'", f"pip install -e '{HOME}'")
    elif _outdated(distribution):
        yield Finding(WARNING, PROJECT, f"{what}, before pyproject.toml got other requirements", install_command())
    else:
        yield Finding(OK, PROJECT, what)


def required_packages() -> Iterator[Finding]:
    """Look at the version of each package that is required."""
    for name in malicious():
        yield Finding(
            PROBLEM,
            name,
            f"{version(name)} is a malicious upload that steals passwords, keys and tokens when it is imported, see "
            f"{ADVISORY}",
            f"pip uninstall {name}, then {install_command()}; and change every password, key and token of this machine",
        )
    required = [requirement for requirement in requirements() if requirement.name not in malicious()]
    wrong = [finding for requirement in required if (finding := _version_finding(requirement, PROBLEM))]
    yield from wrong
    if not wrong:
        yield Finding(OK, "packages", f"all {len(required)} that are required are there, in the versions required")
    lightning, twin = (version(name) for name in LIGHTNING)
    if lightning and twin and lightning != twin and not malicious():
        yield Finding(
            WARNING,
            "pytorch-lightning",
            f"{twin} beside lightning {lightning}: one project under two names, which belong together",
            f"pip install pytorch-lightning=={lightning}",
        )


def torchvision_pin() -> Iterator[Finding]:
    """Look at whether torchvision was made for the torch that is there: some pairs import, and fail later."""
    found = version("torch")
    for requirement in _requires("torchvision"):
        if requirement.name == "torch" and found and not requirement.specifier.contains(found, prereleases=True):
            yield Finding(
                WARNING,
                "torchvision",
                f"torchvision {version('torchvision')} was made for torch{requirement.specifier}, not {found}",
                REINSTALL_TORCH,
            )


def own_modules() -> Iterator[Finding]:
    """Look for other packages with the names of this project's own modules."""
    owners = _owners()
    shadowed = False
    for name in TOP_LEVEL:
        others = sorted(owner for owner in owners.get(name, ()) if _canonical(owner) != PROJECT)
        places = _other_places(name)
        for place in places:
            shadowed = True
            fix = f"pip uninstall {' '.join(others)}" if others else "rename it, or take its folder out of PYTHONPATH"
            yield Finding(PROBLEM, f"module {name}", f"'{place}' can hide ours, '{_module(HOME, name)}'", fix)
        if others and not places:
            shadowed = True
            text = (
                f"{', '.join(others)} put a module of that name over ours, '{_module(_installed_in() or HOME, name)}'"
            )
            fix = f"pip uninstall {' '.join(others)}, then {install_command()}"
            yield Finding(PROBLEM, f"module {name}", text, fix)
    if not shadowed:
        yield Finding(OK, "modules", f"no other package is called {', '.join(TOP_LEVEL)}")


def environment() -> Iterator[Finding]:
    """Look at environment variables that keep packages from being imported."""
    if variable := wrong_variable():
        yield Finding(PROBLEM, "environment", _wrong(variable), f"unset {variable}")
    if text := forget_unknown_backend():
        yield Finding(WARNING, "environment", text, "unset MPLBACKEND")


def imports() -> Iterator[Finding]:
    """Import what a damaged installation breaks, but for torch and what needs it."""
    yield from environment()
    broken = False
    for module in IMPORTED:
        try:
            import_module(module)
        except Exception as error:  # a broken package can raise anything
            broken = True
            name = module.partition(".")[0]
            found = version(name)
            text = f"{found or 'not installed'}, cannot be imported: {one_line(error) or type(error).__name__}"
            fix = f"pip install --force-reinstall {name}" if found else install_command()
            yield Finding(PROBLEM, name, text, fix)
    if not broken:
        yield Finding(OK, "imports", ", ".join(module.partition(".")[0] for module in IMPORTED))


def export_packages() -> Iterator[Finding]:
    """Look at the packages of `export`, without which everything else works."""
    required = requirements("export")
    missing = [f"'{requirement}'" for requirement in required if version(requirement.name) is None]
    wrong = [finding for r in required if version(r.name) and (finding := _version_finding(r, WARNING))]
    yield from wrong
    if missing:
        yield Finding(OK, "export", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    elif not wrong:
        yield Finding(OK, "export", ", ".join(requirement.name for requirement in required))


def _version_finding(requirement: "Requirement", level: str) -> Finding | None:
    """Return a finding where an installed package is not as required, or missing."""
    found = version(requirement.name)
    if found and requirement.specifier.contains(found, prereleases=True):
        return None
    text = f"{found or 'not installed'}, {requirement.specifier or 'any version'} is needed"
    return Finding(level, requirement.name, text, f"pip install '{requirement}'")


def pyproject() -> dict[str, Any] | None:
    """Return the table `project` of the checkout's pyproject.toml; None where the code lies in no checkout."""
    try:
        table = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (FileNotFoundError, KeyError):
        return None
    return table if table.get("name") == PROJECT else None


def _requires(package: str) -> "list[Requirement]":
    """Return what an installed package requires; nothing where it is not installed."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(text) for text in metadata.requires(package) or []]
    except metadata.PackageNotFoundError:
        return []


def _place(distribution: metadata.Distribution) -> tuple[Path, bool]:
    """Return the folder that an installed project's modules are in, and whether it is an editable installation."""
    # https://packaging.python.org/en/latest/specifications/direct-url-data-structure/
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return Path(url2pathname(urlsplit(origin["url"]).path)).resolve(), True
    return Path(str(distribution.locate_file(""))).resolve(), False


def _installed_in() -> Path | None:
    try:
        return _place(metadata.distribution(PROJECT))[0]
    except metadata.PackageNotFoundError:
        return None


def _owners() -> dict[str, set[str]]:
    """Return the names of the packages that install each top-level module; not of packages that cannot be read."""
    owners: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        with suppress(Exception):  # metadata.packages_distributions would fail for all because of one
            modules = set((distribution.read_text("top_level.txt") or "").split())
            files = [file for file in distribution.files or () if file.suffix == ".py"]
            for module in modules or {file.parts[0].removesuffix(".py") for file in files}:
                owners.setdefault(module, set()).add(distribution.name)
    return owners


def _outdated(distribution: metadata.Distribution) -> bool:
    """Whether the requirements of the checkout are not those that it was installed with."""
    from packaging.requirements import Requirement

    project = pyproject()
    if project is None:
        return False
    installed = {str(r) for r in map(Requirement, distribution.requires or []) if "extra" not in str(r.marker)}
    extras = set(distribution.metadata.get_all("Provides-Extra") or [])
    return (installed, extras) != ({str(r) for r in requirements()}, set(project["optional-dependencies"]))


def _module(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder / f"{name}.py"


def _other_places(name: str) -> list[Path]:
    """Return where else a module can be imported from than here, or where `this_project` says that it is installed."""
    specs = [PathFinder.find_spec(name, [entry]) for entry in sys.path]
    # One without a file is a plain folder of that name, which comes after every package.
    files = [Path(spec.origin).resolve() for spec in specs if spec and spec.origin]
    places = [file.parent if file.name == "__init__.py" else file for file in files]
    return [place for place in dict.fromkeys(places) if place.parent not in (HOME, _installed_in())]


def _canonical(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()
