"""Configs: YAML files that are found by name or path, laid over each other, and handed to the parser as one.

jsonargparse can lay files over each other too, but it carries the arguments of one class over to the next: with a
config of ImprovedCNN, `--model CNN` would keep ImprovedCNN's dropout where CNN has an argument of that name. Here a
change of class starts from nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import get_loader
from yaml import YAMLError

from datamodules.errors import InputError, did_you_mean
from zoo import registry

SHIPPED = Path(__file__).resolve().parent.parent / "configs"
# Top-level keys whose values name a class; `--optimizer SGD` and `optimizer: SGD` are short for its class_path.
CLASS_KEYS = ("model", "optimizer", "lr_schedule")

Config = dict[str, Any]


class Composed(NamedTuple):
    """A command line with its configs taken out.

    Attributes:
        config: all configs and the classes named on the command line, as one.
        rest: what is left of the command line.
        files: the configs as they were read, by path.
    """

    config: Config
    rest: list[str]
    files: dict[Path, Config]


def shipped() -> list[str]:
    """Return the names of the configs that come with the project, in alphabetical order."""
    return sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.yaml"))


def find(name: str) -> Path:
    """Return the path of the config called `name`: a file, or a shipped config without its folder and suffix.

    Raises:
        InputError: where there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    relative = name.removeprefix("configs/").removesuffix(".yaml")
    if relative in shipped():
        return SHIPPED / f"{relative}.yaml"
    what = "a folder, not a config file" if path.is_dir() else "no file and no shipped config"
    raise InputError(
        f"--config {name} is {what}.{did_you_mean(relative, shipped())} Shipped are: {', '.join(shipped())}"
    )


def read(path: Path) -> Config:
    """Read a config.

    Raises:
        InputError: where the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        config = get_loader("yaml")(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config '{path}' cannot be read: {error}") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"config '{path}' is not valid YAML{where}: {problem}".replace("\n", " ")) from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError(f"config '{path}' holds a {type(config).__name__}, expected keys such as model, data, trainer")
    return config


def merge(base: Any, overlay: Any) -> Any:
    """Lay `overlay` over `base`: mappings key by key, where another `class_path` starts anew; all else replaces."""
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    if "class_path" in overlay and not _same_class(base.get("class_path"), overlay["class_path"]):
        return overlay
    return base | {key: merge(base[key], value) if key in base else value for key, value in overlay.items()}


def _same_class(a: Any, b: Any) -> bool:
    """Whether two class paths, either of which may be a short name, name one class."""
    a, b = str(a), str(b)
    if "." in a and "." in b:
        # torch.optim.SGD and torch.optim.sgd.SGD are one class: compare the package and the class.
        return a.split(".")[0] == b.split(".")[0] and a.split(".")[-1] == b.split(".")[-1]
    return a.split(".")[-1] == b.split(".")[-1]


def compose(argv: list[str]) -> Composed:
    """Take the configs and the named classes out of a command line.

    Args:
        argv: the command line after the command, such as `["--config", "cnn", "--optimizer=SGD", "--data.seed", "1"]`.

    Raises:
        InputError: see `find`, `read`; and for an unknown model.
    """
    config: Config = {}
    files: dict[Path, Config] = {}
    classes: Config = {}
    rest: list[str] = []
    for option, value, words in _options(argv):
        name = option.removeprefix("--").removesuffix(".class_path")
        if option in ("--config", "-c"):
            if value is None:
                raise InputError(f"{option} needs a file or the name of a shipped config: {', '.join(shipped())}")
            path = find(value)
            files[path] = _expand(read(path))
            config = merge(config, files[path])
        elif option.startswith("--") and name in CLASS_KEYS and value is not None:
            classes = merge(classes, _expand({name: None if value in ("null", "None") else value}))
        else:
            rest += words
    return Composed(merge(config, classes), rest, files)


def _options(argv: list[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """Yield each option with its value, and the words that make them up."""
    words = list(argv)
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if equals or not word.startswith("-"):
            yield option, value, [word]
        elif words and (not words[0].startswith("--")):
            value = words.pop(0)
            yield option, value, [word, value]
        else:
            yield option, None, [word]


def _expand(config: Config) -> Config:
    """Write out short forms: a class given by its name alone, a model given by its name in the registry."""
    expanded = dict(config)
    for key in CLASS_KEYS:
        value = expanded.get(key)
        if isinstance(value, str):
            value = {"class_path": value}
        if key == "model" and isinstance(value, dict) and isinstance(value.get("class_path"), str):
            name = value["class_path"]
            value = value | {"class_path": name if "." in name else registry.find(name).class_path}
        if key in expanded:
            expanded[key] = value
    return expanded


def as_argument(config: Config) -> list[str]:
    """Return `config` as words of a command line."""
    return ["--config", json.dumps(config)] if config else []


def where(key: str, files: dict[Path, Config]) -> str:
    """Return `" (in FILE)"` for the last config that sets the dotted `key`, or `""`."""
    for path, config in reversed(files.items()):
        value: Any = config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return f" (in {path})"
    return ""
