"""Configs: YAML files that are found by name or path, laid over each other, and handed to the parser as one.

jsonargparse can lay files over each other too, but it carries the arguments of one class over to the next: with a
config of ImprovedCNN, `--model CNN` would keep ImprovedCNN's dropout where CNN has an argument of that name. Here a
change of class starts from nothing.
"""

import itertools
import math
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any

import yaml
from jsonargparse import get_loader, set_parsing_settings

from datamodules.errors import InputError, did_you_mean, one_line
from datamodules.paths import user_path
from zoo.catalogue import registry
from zoo.runs.options import CLASS_KEYS, KEYS, SECTIONS

SHIPPED = Path(__file__).resolve().parents[2] / "configs"
# Options of the trainer whose values name classes.
OBJECTS = ("callbacks", "callbacks+", "logger")
# Where the classes of short names are; those of models are in the registry.
HOMES = {
    "optimizer": ("torch.optim", "zoo.core.numpy_optimizers", "zoo.core.torch_optimizers"),
    "lr_schedule": ("zoo.core.schedules",),
}
# The modules of our own callbacks, by the names of the classes.
CALLBACKS = {
    "DeadUnits": "zoo.training.callbacks.dead_units",
    "Histograms": "zoo.training.tensorboard.histograms",
    "Lookahead": "zoo.training.callbacks.lookahead",
}

MOST_VALUES = 10_000
MOST_LEVELS = 100
LARGEST_INTEGER = 2**63 - 1

# An argument of any type gets a dictionary with a class_path as it is, never an object of that class.
set_parsing_settings(instantiate_subclass_spec_in_any=False)

Config = dict[str, Any]


def shipped() -> list[str]:
    """Return the names of the configs that come with the project, in alphabetical order."""
    return sorted(_shipped())


def _shipped() -> dict[str, Path]:
    """Return the shipped configs by name: the path below configs/ without its suffix, and without overlays/."""
    paths = (path for path in SHIPPED.rglob("*.yaml") if path != SHIPPED / "results.yaml")
    return {_name(path.relative_to(SHIPPED).as_posix()): path for path in paths}


def _name(path: str) -> str:
    return path.removeprefix("configs/").removeprefix("overlays/").removesuffix(".yaml")


def find(name: str) -> Path:
    """Return the path of the config called `name`: a file, or a shipped config by its path or its name alone.

    Raises:
        InputError: if there is no such config, or several shipped configs have that name.
    """
    path = user_path(name)
    try:
        if path.is_file():
            return path
    except OSError as error:  # a name that is too long, say
        raise InputError(f"--config {name} cannot be read: {error}") from error
    named = _name(name)
    known = _shipped()
    if named in known:
        return known[named]
    same = [other for other in sorted(known) if known[other].stem == named]
    if len(same) == 1:
        return known[same[0]]
    if same:
        raise InputError(f"--config {name} could be any of {', '.join(same)}: give one of these names")
    what = "a folder, not a config file" if path.is_dir() else "no file and no shipped config"
    raise InputError(f"--config {name} is {what}.{did_you_mean(named, known)} Shipped are: {', '.join(sorted(known))}")


def read(path: Path) -> Config:
    """Read a config.

    Raises:
        InputError: where the file cannot be read, is not YAML, or holds what no config can hold or knows.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config '{path}' cannot be read: {error}") from error
    config = parse(f"config '{path}'", text)
    config = check(f"config '{path}'", config)
    for key in config:
        if key not in KEYS:
            hint = f"{did_you_mean(key, KEYS)} There are: {', '.join(KEYS)}"
            raise InputError(f"unknown option '{key}' (in {path}).{hint}")
    return config


def check(what: str, config: Any) -> Config:
    """Check the shape of a config.

    Args:
        what: what to call it in a message.
        config: what was read.

    Returns:
        The config, without its empty sections.

    Raises:
        InputError: where it is none.
    """
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError(f"{what} holds a {type(config).__name__}, expected keys such as model, data, trainer")
    for section in SECTIONS:
        if config.get(section, {}) is None:  # all of its lines are commented out
            del config[section]
        elif not isinstance(config.get(section, {}), dict):
            raise InputError(f"{what}: {section} is {config[section]!r}, expected its options")
    for key in CLASS_KEYS:
        value = config.get(key)
        if not isinstance(value, (dict, str, NoneType)):
            raise InputError(f"{what}: {key} is {value!r}, expected a class_path and its init_args")
        if isinstance(value, dict) and not isinstance(value.get("init_args", {}), (dict, NoneType)):
            raise InputError(f"{what}: init_args of {key} is {value['init_args']!r}, expected names and values")
    classes = [config.get(key) for key in CLASS_KEYS] + [config.get("trainer", {}).get(key) for key in OBJECTS]
    for name in beside(classes):
        raise InputError(f"{what}: '{name}' stands beside a class_path: put it into init_args")
    return config


def beside(value: Any) -> Iterator[str]:
    """Yield the keys beside a class_path that belong into init_args, in a class, or in a list or dictionary of them."""
    if isinstance(value, dict) and "class_path" in value:
        yield from (str(key) for key in value if key not in ("class_path", "init_args", "dict_kwargs"))
    elif isinstance(value, (dict, list)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from beside(entry)


def parse(what: str, text: str) -> Any:
    """Read YAML, of which JSON is a part.

    Args:
        what: what to call the text in a message.
        text: the YAML.

    Raises:
        InputError: if it is not YAML, or has more values or levels, larger numbers or other things than a config needs.
    """
    try:
        _check_nodes(what, yaml.compose(text, Loader=yaml.SafeLoader))
        content = get_loader("yaml")(text)
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{what} is not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    except RecursionError:
        raise InputError(f"{what} has more than {MOST_LEVELS} levels") from None
    except ValueError as error:  # a number of thousands of digits, a date that does not exist
        raise InputError(f"{what} cannot be read: {error}") from error
    check_values(what, content)
    return content


def reads_as_yaml(text: str) -> bool:
    """Whether jsonargparse, which looks into texts, would take `text` for a list or a dictionary, or could not tell."""
    try:
        return isinstance(get_loader("yaml")(text), (dict, list))
    except yaml.YAMLError:
        return False
    except (RecursionError, ValueError):
        return True


def check_values(what: str, value: Any, key: str = "") -> None:
    """Check the numbers and the texts of a config.

    Args:
        what: what to call the config in a message.
        value: of the config, or of a part of it.
        key: of that part.

    Raises:
        InputError: for NaN, an infinite number of an optimizer, an integer of more than 64 bits, or a text with a null
            character.
    """
    if isinstance(value, dict):
        for name, entry in value.items():
            check_values(what, entry, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            check_values(what, entry, key)
    elif isinstance(value, float) and math.isnan(value):
        raise InputError(f"{what}: {key} is NaN: give a number")
    elif isinstance(value, float) and math.isinf(value) and key.startswith("optimizer."):
        raise InputError(f"{what}: {key} is infinite: give a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise InputError(f"{what}: {key} is an integer of more than 64 bits: give a smaller one")
    elif isinstance(value, str) and "\0" in value:
        raise InputError(f"{what}: {key} has a null character: {one_line(value)}")


def _check_nodes(
    what: str,
    node: yaml.Node | None,
    above: tuple[yaml.Node, ...] = (),
    count: Iterator[int] | None = None,
    key_above: str = "",
    are_names: bool = True,
) -> None:
    """Refuse what YAML has and a config has no use for: keys given twice, or that are no text; tags, loops, masses.

    Args:
        what: what to call the config in a message.
        node: to check, with all below it.
        above: the nodes that contain it.
        count: of the nodes so far.
        key_above: whose value the node is.
        are_names: whether keys must be texts; those inside an argument of a class may be whole numbers.
    """
    if node is None:
        return
    count = count or itertools.count()
    if next(count) > MOST_VALUES:  # a few lines of aliases to aliases are enough for millions
        raise InputError(f"{what} holds more than {MOST_VALUES:,} values")
    where = f"{what}, line {node.start_mark.line + 1}"
    if node in above:
        raise InputError(f"{where}: it contains itself")
    if len(above) > MOST_LEVELS:
        raise InputError(f"{what} has more than {MOST_LEVELS} levels")
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] in ("set", "omap", "binary"):
        raise InputError(f"{where}: the tag {node.tag} has no place in a config")
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            _check_nodes(what, entry, (*above, node), count, are_names=are_names)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            where = f"{what}, line {key.start_mark.line + 1}"
            if key.tag.rpartition(":")[2] not in (("str", "merge") if are_names else ("str", "merge", "int")):
                raise InputError(f"{where}: the key {key.value} is no name")
            if key.value in seen:
                raise InputError(f"{where}: '{key.value}' stands twice: put the two together")
            seen.add(key.value)
            _check_nodes(what, value, (*above, node), count, key.value, are_names and key_above != "init_args")


def merge(base: Any, overlay: Any) -> Any:
    """Lay `overlay` over `base`: mappings key by key, where another `class_path` starts anew; all else replaces.

    A key that ends in + adds to a list, as on the command line; until there is one to add to, it stays as it is.
    """
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    if "class_path" in overlay and not same_class(base.get("class_path"), overlay["class_path"]):
        return overlay
    merged = dict(base)
    for key, value in overlay.items():
        if str(key).endswith("+"):
            known = key.rstrip("+") if merged.get(key.rstrip("+")) is not None else key
            merged[known] = _added(merged.get(known), value)
        else:
            merged.pop(f"{key}+", None)
            merged[key] = merge(base[key], value) if key in base else value
    return merged


def _added(entries: Any, others: Any) -> list[Any]:
    """Return a list with those of the others behind its entries that it has not."""
    entries, others = (it if isinstance(it, list) else [] if it is None else [it] for it in (entries, others))
    return entries + [other for other in others if other not in entries]


def _settled(config: Any) -> Any:
    """Return a config in which what had nothing to be added to stands for itself."""
    if not isinstance(config, dict):
        return config
    return {key.removesuffix("+") if isinstance(key, str) else key: _settled(value) for key, value in config.items()}


def same_class(a: Any, b: Any) -> bool:
    """Whether two class paths name one class, as torch.optim.SGD and torch.optim.sgd.SGD do."""
    if a == b:
        return True
    if str(a).rpartition(".")[2] != str(b).rpartition(".")[2]:
        return False
    try:
        return import_class(a) is import_class(b)
    except Exception:  # the one of them that is wanted is imported again, and then its error is told
        return False


def names_class(trusted: str, said: object) -> bool:
    """Whether `said`, which a stranger may have written, names the class `trusted`, which alone is imported."""
    if said == trusted:
        return True
    try:
        found = import_class(trusted)
    except Exception:  # it is imported again where it is wanted, and then its error is told
        return False
    return said == f"{found.__module__}.{found.__qualname__}"


def import_class(class_path: str) -> Any:
    """Import what a dotted path names."""
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def class_value(key: str, value: str) -> Any:
    """Return what a command line says of a class: its name, null, or YAML with class_path and init_args."""
    if value in ("null", "None"):
        return None
    return parse(f"--{key}", value) if value.lstrip().startswith("{") else value


def expand(config: Config) -> Config:
    """Write out short forms: a class that is given by its name alone, and the short names of classes."""
    expanded = dict(config)
    for key in CLASS_KEYS:
        value = expanded.get(key)
        if isinstance(value, str):
            value = {"class_path": value}
        if isinstance(value, dict) and isinstance(value.get("class_path"), str) and "." not in value["class_path"]:
            value = value | {"class_path": _long_name(key, value["class_path"])}
        if key in expanded:
            expanded[key] = value
    if isinstance(expanded.get("trainer"), dict):
        trainer = expanded["trainer"]
        keys = trainer.keys() & {"callbacks", "callbacks+"}
        expanded["trainer"] = trainer | {key: _callbacks(trainer[key]) for key in keys}
    return expanded


def _callbacks(value: Any) -> Any:
    """Return callbacks as a config has them, with the short names of our own written out."""
    if isinstance(value, list):
        return [_callbacks(entry) for entry in value]
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return value | {"class_path": _callbacks(value["class_path"])}
    return f"{CALLBACKS[value]}.{value}" if isinstance(value, str) and value in CALLBACKS else value


def _long_name(key: str, name: str) -> str:
    """Return the class path of a short name; the name itself where it is not one of ours or torch's."""
    if key == "model":
        return registry.find(name).class_path
    return next((f"{home}.{name}" for home in HOMES[key] if hasattr(import_module(home), name)), name)


def as_yaml(config: Config) -> str:
    """Return a config as YAML."""
    return yaml.safe_dump(_settled(config), sort_keys=False, allow_unicode=True)
