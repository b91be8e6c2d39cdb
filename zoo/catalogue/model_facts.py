"""The catalogue: what is known of each model without importing it, and so without torch.

Of the zoo's own models it is what `model_facts.json` says, which `python -m zoo.catalogue.model_facts` writes anew. Of
a model of another package it is what `python cli.py info` found, which a file in the user's cache keeps until that
package has another version, or the model's file has changed.
"""

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from zoo.catalogue import registry
from zoo.core import about, files
from zoo.core.about import About

FILE = Path(__file__).with_suffix(".json")


class Facts(NamedTuple):
    """What is known of a model with its default arguments.

    Attributes:
        about: what it says about itself.
        parameters: how many it learns; None where that is not known.
        flops: floating-point operations of an image's forward pass, where a multiply-add counts as two; None likewise.
    """

    about: About = About()
    parameters: int | None = None
    flops: int | None = None


def known(entry: registry.Entry) -> Facts:
    """Return what is known of a model; nothing, where nobody has looked yet, or its package has changed since."""
    try:
        path = FILE if entry.distribution == registry.DISTRIBUTION else _cache()
        found = _read(path)[_key(entry)]
        is_of_now = entry.distribution == registry.DISTRIBUTION or found["file"] == _file(entry)
        return _from_json(found) if is_of_now else Facts()
    except (OSError, RuntimeError, ImportError, LookupError, TypeError, ValueError):  # no cache, or a damaged one
        return Facts()


def remember(entry: registry.Entry, facts: Facts) -> None:
    """Keep what was found out about a model of another package, where that is possible."""
    if entry.distribution in (registry.DISTRIBUTION, ""):
        return
    try:
        path, key = _cache(), _key(entry)
        try:
            others = _read(path)
        except (OSError, ValueError):
            others = {}
        files.write(path, _as_text(others | {key: _to_json(facts) | {"file": _file(entry)}}).encode())
    except (OSError, RuntimeError, ImportError, TypeError, ValueError):  # a home that is read-only, say
        pass


def generate() -> str:
    """Return what `model_facts.json` has to hold. Imports every model of the zoo."""
    from zoo.catalogue import anatomy  # whose measurements import torch: nothing else here does

    found = {}
    for name in registry.BUILT_IN:
        model = registry.load(name)
        measured = anatomy.measure(model)
        found[name] = _to_json(Facts(about.of(model), measured.parameters, measured.flops))
    return _as_text(found)


def _cache() -> Path:
    """Where facts about models of other packages are kept.

    Raises:
        RuntimeError: where the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cifar10-zoo" / "models.json"


def _key(entry: registry.Entry) -> str:
    """What a model's facts are found by: its name in the zoo; of another package's, all on which they depend.

    Raises:
        ImportError: where its package is not installed.
    """
    if entry.distribution == registry.DISTRIBUTION:
        return entry.name
    return f"{entry.distribution} {metadata.version(entry.distribution)} {entry.target}"


def _file(entry: registry.Entry) -> list[int] | None:
    """When a model's file was changed, and its size; None where it has no file. Imports nothing, not even its package.

    Raises:
        ImportError, OSError: where there is no such file.
    """
    name, above, spec = "", None, None
    for part in entry.target.partition(":")[0].split("."):
        name = f"{name}.{part}".strip(".")
        # Not importlib.util.find_spec, which imports the packages that a module lies in.
        spec = next((found for finder in sys.meta_path if (found := finder.find_spec(name, above))), None)
        if spec is None:
            raise ModuleNotFoundError(f"there is no module {name}")
        above = spec.submodule_search_locations
    if spec is None or spec.origin is None:
        return None
    status = os.stat(spec.origin)
    return [status.st_mtime_ns, status.st_size]


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}")
    return content


def _as_text(content: dict[str, Any]) -> str:
    return f"{json.dumps(content, indent=2)}\n"


def _to_json(facts: Facts) -> dict[str, Any]:
    return facts._asdict() | {"about": about.to_json(facts.about)}


def _from_json(fields: Any) -> Facts:
    figures = [None if fields[name] is None else int(fields[name]) for name in ("parameters", "flops")]
    return Facts(about.from_json(fields["about"]), *figures)


if __name__ == "__main__":
    files.write(FILE, generate().encode())
