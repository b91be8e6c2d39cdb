"""The checks of `doctor` on packages: their versions, what hides this project's modules, and what cannot be imported.

This module imports only the standard library, because any other package may be broken.
"""

import json
import platform
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module, metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from datamodules.errors import one_line
from zoo.catalogue.registry import canonical
from zoo.commands.findings import OK, PROBLEM, WARNING, Finding
from zoo.core.installation import REINSTALL_TORCH, forget_unknown_backend, process_variable_problem, version

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROJECT = "cifar10-zoo"
HOME = Path(__file__).resolve().parents[2]  # the folder of the code that runs
TOP_LEVEL = ("cli", "zoo", "datamodules")
# Packages that are often damaged and do not import torch. Those that do are imported by the check of torch.
IMPORTED = ("numpy", "matplotlib.figure", "jsonargparse", "tensorboard.summary.writer")

LIGHTNING = ("lightning", "pytorch-lightning")  # the first installs the second
MALICIOUS = ("2.6.2", "2.6.3")
ADVISORY = "https://github.com/Lightning-AI/pytorch-lightning/security/advisories/GHSA-w37p-236h-pfx3"


def malicious() -> list[str]:
    """Return the names of installed packages that must not even be imported."""
    return [name for name in LIGHTNING if version(name) in MALICIOUS]


def install_command() -> str:
    """Return the command that installs this project with all its requirements."""
    in_checkout = (HOME / "pyproject.toml").is_file()
    return f"pip install -e '{HOME}'" if in_checkout else f"pip install --force-reinstall {PROJECT}"


def requirements(extra: str = "") -> "list[Requirement]":
    """Return the packages that this project requires, or the packages that one of its extras adds.

    A checkout is judged by its pyproject.toml, which can be newer than what was installed from it.
    """
    from packaging.requirements import Requirement

    if project := pyproject():
        return [Requirement(r) for r in (project["optional-dependencies"][extra] if extra else project["dependencies"])]
    # Metadata states an extra as a condition: "onnx>=1.17; extra == 'export'".
    required = [
        requirement
        for requirement in _requires(PROJECT)
        if (requirement.marker.evaluate({"extra": extra}) if requirement.marker else not extra)
    ]
    for requirement in required:
        requirement.marker = None
    return required


def pyproject() -> dict[str, Any] | None:
    """Return the table `project` of the checkout's pyproject.toml; None if the code lies in no checkout."""
    try:
        table = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (FileNotFoundError, KeyError):
        return None
    return table if table.get("name") == PROJECT else None


def _requires(package: str) -> "list[Requirement]":
    """Return what an installed package requires; nothing if it is not installed."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(text) for text in metadata.requires(package) or []]
    except metadata.PackageNotFoundError:
        return []


# Versions.


def python_version() -> Iterator[Finding]:
    """Check Python's version."""
    from packaging.specifiers import SpecifierSet

    project, running = pyproject(), platform.python_version()
    needed = project["requires-python"] if project else metadata.metadata(PROJECT)["Requires-Python"] or ""
    text = f"{running}, '{sys.executable}'"
    if SpecifierSet(needed).contains(running, prereleases=True):
        yield Finding(OK, "Python", text)
    else:
        yield Finding(PROBLEM, "Python", f"{text}: {needed} is needed", "make an environment with a newer Python")


def this_project() -> Iterator[Finding]:
    """Check that the code that runs is the code that is installed."""
    try:
        distribution = metadata.distribution(PROJECT)
    except metadata.PackageNotFoundError:
        yield Finding(WARNING, PROJECT, f"not installed; what runs is '{HOME}'", install_command())
        return
    place, editable = _place(distribution)
    text = f"{distribution.version}, {'editable' if editable else 'installed'} in '{place}'"
    if place == HOME:
        yield Finding(OK, PROJECT, text)
    else:
        yield Finding(WARNING, PROJECT, f"{text}, but what runs is '{HOME}'", f"pip install -e '{HOME}'")


def _place(distribution: metadata.Distribution) -> tuple[Path, bool]:
    """Return the folder that an installed project's modules are in, and whether it is an editable installation."""
    # https://packaging.python.org/en/latest/specifications/direct-url-data-structure/
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return Path(url2pathname(urlsplit(origin["url"]).path)).resolve(), True
    return Path(str(distribution.locate_file(""))).resolve(), False


def required_packages() -> Iterator[Finding]:
    """Check the version of each package that is required."""
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
    lightning, second = (version(name) for name in LIGHTNING)
    if lightning and second and lightning != second and not malicious():
        text = f"{second} beside lightning {lightning}: both are one project and need the same version"
        yield Finding(WARNING, "pytorch-lightning", text, f"pip install pytorch-lightning=={lightning}")


def export_packages() -> Iterator[Finding]:
    """Check the packages of `export`; everything else works without them."""
    required = requirements("export")
    missing = [f"'{requirement}'" for requirement in required if version(requirement.name) is None]
    wrong = [finding for r in required if version(r.name) and (finding := _version_finding(r, WARNING))]
    yield from wrong
    if missing:
        yield Finding(OK, "export", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    elif not wrong:
        yield Finding(OK, "export", ", ".join(requirement.name for requirement in required))


def _version_finding(requirement: "Requirement", level: str) -> Finding | None:
    """Return a finding if a package is missing or has another version than required."""
    installed = version(requirement.name)
    if installed and requirement.specifier.contains(installed, prereleases=True):
        return None
    text = f"{installed or 'not installed'}, {requirement.specifier or 'any version'} is needed"
    return Finding(level, requirement.name, text, f"pip install '{requirement}'")


def torchvision_pin() -> Iterator[Finding]:
    """Check that torchvision was built for the installed torch: some pairs can be imported and fail later."""
    torch = version("torch")
    for requirement in _requires("torchvision"):
        if requirement.name == "torch" and torch and not requirement.specifier.contains(torch, prereleases=True):
            text = f"torchvision {version('torchvision')} was made for torch{requirement.specifier}, not {torch}"
            yield Finding(WARNING, "torchvision", text, REINSTALL_TORCH)


# Modules of the same name.


def own_modules() -> Iterator[Finding]:
    """Look for other packages with the names of this project's own modules."""
    owners = _owners()
    is_alone = True
    for name in TOP_LEVEL:
        others = sorted(owner for owner in owners.get(name, ()) if canonical(owner) != PROJECT)
        uninstall = f"pip uninstall {' '.join(others)}"
        places = _other_places(name)
        for place in places:
            fix = uninstall if others else "rename it, or take its folder out of PYTHONPATH"
            yield Finding(PROBLEM, f"module {name}", f"'{place}' can hide ours, '{_module(HOME, name)}'", fix)
        if others and not places:
            ours = _module(_installed_in() or HOME, name)
            text = f"{', '.join(others)} put a module of that name over ours, '{ours}'"
            yield Finding(PROBLEM, f"module {name}", text, f"{uninstall}, then {install_command()}")
        is_alone &= not others and not places
    if is_alone:
        yield Finding(OK, "modules", f"no other package is called {', '.join(TOP_LEVEL)}")


def _owners() -> dict[str, set[str]]:
    """Return the names of the packages that install each top-level module, without packages that cannot be read."""
    owners: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        with suppress(Exception):  # metadata.packages_distributions would fail for all because of one
            modules = set((distribution.read_text("top_level.txt") or "").split())
            files = [file for file in distribution.files or () if file.suffix == ".py"]
            for module in modules or {file.parts[0].removesuffix(".py") for file in files}:
                owners.setdefault(module, set()).add(distribution.name)
    return owners


def _other_places(name: str) -> list[Path]:
    """Return the places on the path that have a module of this name, but for this project's own."""
    specs = [PathFinder.find_spec(name, [entry]) for entry in sys.path]
    # A spec without a file is a plain folder of that name, which comes after every package.
    files = [Path(spec.origin).resolve() for spec in specs if spec and spec.origin]
    places = [file.parent if file.name == "__init__.py" else file for file in files]
    return [place for place in dict.fromkeys(places) if place.parent not in (HOME, _installed_in())]


def _module(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder / f"{name}.py"


def _installed_in() -> Path | None:
    try:
        return _place(metadata.distribution(PROJECT))[0]
    except metadata.PackageNotFoundError:
        return None


# Imports.


def environment() -> Iterator[Finding]:
    """Check the environment variables that keep packages from being imported."""
    if problem := process_variable_problem():
        fix = f"unset {problem.partition(' ')[0]}"
        yield Finding(PROBLEM, "environment", f"the environment variable {problem}", fix)
    if text := forget_unknown_backend():
        yield Finding(WARNING, "environment", text, "unset MPLBACKEND")


def imports() -> Iterator[Finding]:
    """Import the packages that are often damaged."""
    yield from environment()
    names = [module.partition(".")[0] for module in IMPORTED]
    broken = False
    for module, name in zip(IMPORTED, names, strict=True):
        try:
            import_module(module)
        except Exception as error:  # a broken package can raise anything
            broken, installed = True, version(name)
            text = f"{installed or 'not installed'}, cannot be imported: {one_line(error) or type(error).__name__}"
            fix = f"pip install --force-reinstall {name}" if installed else install_command()
            yield Finding(PROBLEM, name, text, fix)
    if not broken:
        yield Finding(OK, "imports", ", ".join(names))
