"""What is known of each model without importing it, and so without torch.

`model_facts.json` holds the facts about the zoo's own models; `python -m zoo.catalogue` writes it. A file in the user's
cache holds what `python cli.py info` measured for models of other packages, until the package or the file changes.
"""

import json
import os
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from zoo.catalogue import registry
from zoo.core import about, files
from zoo.core.about import About

FILE = Path(__file__).with_suffix(".json")
# The user has no home, a read-only one, no cache or a damaged one; or the package is gone.
NO_CACHE = (OSError, RuntimeError, ImportError, LookupError, TypeError, ValueError)


class Facts(NamedTuple):
    """Facts about a model with its default arguments; None if unknown."""

    about: About = About()
    parameters: int | None = None  # number of parameters that learn
    flops: int | None = None  # of the forward pass of one image; a multiply-add counts as two


def known(entry: registry.Entry) -> Facts:
    """Return the known facts about a model; no facts if nobody measured it, or if it has changed since."""
    with suppress(*NO_CACHE):
        if entry.distribution == registry.DISTRIBUTION:
            return _from_json(_read(FILE)[entry.name])
        fields = _read(_cache())[_key(entry)]
        if fields["state"] == _state(fields["file"]):
            return _from_json(fields)
    return Facts()


def remember(entry: registry.Entry, facts: Facts, file: str) -> None:
    """Keep facts about a model of another package, whose code is in `file`, if the cache can be written."""
    if entry.distribution in (registry.DISTRIBUTION, ""):
        return
    others: dict[str, Any] = {}
    with suppress(*NO_CACHE):
        others = _read(_cache())
    with suppress(*NO_CACHE):
        fields = _to_json(facts) | {"file": file, "state": _state(file)}
        files.write(_cache(), _as_text(others | {_key(entry): fields}).encode())


def generate() -> str:
    """Return the content of `model_facts.json`. Imports every model of the zoo."""
    from zoo.catalogue import anatomy  # here: its measurements import torch

    content = {}
    for name in registry.BUILT_IN:
        model = registry.load(name)
        facts = Facts(about.read(model))
        if not any("ImportPath" in argument.type for argument in anatomy.arguments(model)):  # the user names a network
            measured = anatomy.measure(model)
            facts = facts._replace(parameters=measured.parameters, flops=measured.flops)
        content[name] = _to_json(facts)
    return _as_text(content)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cifar10-zoo" / "models.json"


def _key(entry: registry.Entry) -> str:
    return f"{entry.distribution} {metadata.version(entry.distribution)} {entry.target}"


def _state(file: str) -> list[int]:
    status = os.stat(file)
    return [status.st_mtime_ns, status.st_size]


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _as_text(content: dict[str, Any]) -> str:
    return f"{json.dumps(content, indent=2)}\n"


def _to_json(facts: Facts) -> dict[str, Any]:
    return facts._asdict() | {"about": facts.about._asdict()}


def _from_json(fields: Any) -> Facts:
    sizes = [None if fields[name] is None else int(fields[name]) for name in ("parameters", "flops")]
    return Facts(about.from_json(fields["about"]), *sizes)
