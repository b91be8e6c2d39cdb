"""What is known of each model without importing it, and so without torch.

`model_facts.json` holds the facts about the zoo's own models; `python -m zoo.catalogue` writes it. A file in the user's
cache holds the facts that `python cli.py info` measured for a model of another package. They are valid until the
package has another version, or the model's file changes.
"""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from zoo.catalogue import registry
from zoo.core import about, files
from zoo.core.about import About

FILE = Path(__file__).with_suffix(".json")


class Facts(NamedTuple):
    """Facts about a model with its default arguments.

    Attributes:
        about: what the model says about itself.
        parameters: number of learnt parameters; None if unknown.
        flops: floating-point operations of the forward pass of one image, a multiply-add counted as two; None if
            unknown.
    """

    about: About = About()
    parameters: int | None = None
    flops: int | None = None


def known(entry: registry.Entry) -> Facts:
    """Return the known facts about a model; no facts if nobody measured it, or if it has changed since."""
    try:
        if entry.distribution == registry.DISTRIBUTION:
            return _from_json(_read(FILE)[entry.name])
        fields = _read(_cache())[_key(entry)]
        return _from_json(fields) if fields["state"] == _state(fields["file"]) else Facts()
    except (OSError, RuntimeError, ImportError, LookupError, TypeError, ValueError):  # no cache, or a damaged one
        return Facts()


def remember(entry: registry.Entry, facts: Facts, file: str) -> None:
    """Keep facts about a model of another package, whose code is in `file`, if the cache can be written."""
    if entry.distribution in (registry.DISTRIBUTION, ""):
        return
    try:
        path = _cache()
        try:
            others = _read(path)
        except (OSError, ValueError):
            others = {}
        fields = _to_json(facts) | {"file": file, "state": _state(file)}
        files.write(path, _as_text(others | {_key(entry): fields}).encode())
    except (OSError, RuntimeError, ImportError, TypeError, ValueError):  # a read-only home, say
        pass


def generate() -> str:
    """Return the content of `model_facts.json`. Imports every model of the zoo."""
    from zoo.catalogue import anatomy  # here: its measurements import torch

    content = {}
    for name in registry.BUILT_IN:
        model = registry.load(name)
        measured = anatomy.measure(model)
        content[name] = _to_json(Facts(about.read(model), measured.parameters, measured.flops))
    return _as_text(content)


def _cache() -> Path:
    """Return the path of the facts about models of other packages.

    Raises:
        RuntimeError: if the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cifar10-zoo" / "models.json"


def _key(entry: registry.Entry) -> str:
    """Return the key of a model of another package: its package, version and place.

    Raises:
        ImportError: if the package is not installed.
    """
    return f"{entry.distribution} {metadata.version(entry.distribution)} {entry.target}"


def _state(file: str) -> list[int]:
    """Return the modification time and the size of a file."""
    status = os.stat(file)
    return [status.st_mtime_ns, status.st_size]


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}")
    return content


def _as_text(content: dict[str, Any]) -> str:
    return f"{json.dumps(content, indent=2)}\n"


def _to_json(facts: Facts) -> dict[str, Any]:
    return facts._asdict() | {"about": facts.about._asdict()}


def _from_json(fields: Any) -> Facts:
    sizes = [None if fields[name] is None else int(fields[name]) for name in ("parameters", "flops")]
    return Facts(about.from_json(fields["about"]), *sizes)
