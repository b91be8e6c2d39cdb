"""Configs: YAML files, found by name or path and merged into one for the parser.

jsonargparse can merge files too, but it passes the arguments of one class on to the next: with a config of ImprovedCNN,
`--model CNN` would keep ImprovedCNN's dropout if CNN has an argument of that name. Here another class starts from
nothing.
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
from zoo.runs.options import CLASS_KEYS, KEYS, NAMING_KEYS, SECTIONS, data_defaults

SHIPPED = Path(__file__).resolve().parents[2] / "configs"
OBJECTS = ("callbacks", "callbacks+", "logger")  # options of the trainer whose values name classes
# The modules of classes with short names. The registry knows those of models.
HOMES = {
    "optimizer": ("torch.optim", "zoo.core.numpy_optimizers", "zoo.core.torch_optimizers"),
    "lr_schedule": ("zoo.core.schedules",),
}
DATA_MODULE = "datamodules.cifar10.CIFAR10DataModule"  # of a config whose data name no class
# The modules of our own callbacks, by the names of the classes.
CALLBACKS = {
    "DeadUnits": "zoo.training.callbacks.dead_units",
    "Histograms": "zoo.training.tensorboard.histograms",
    "Lookahead": "zoo.training.callbacks.lookahead",
}

MOST_VALUES = 10_000
MOST_LEVELS = 100
LARGEST_INTEGER = 2**63 - 1

# For an argument of any type, a dictionary with a class_path stays a dictionary: no object is built from it.
set_parsing_settings(instantiate_subclass_spec_in_any=False)

Config = dict[str, Any]


def shipped() -> dict[str, Path]:
    """Return the paths of the project's configs by name: the path below configs/ without suffix and overlays/."""
    paths = (path for path in SHIPPED.rglob("*.yaml") if path != SHIPPED / "results.yaml")
    return dict(sorted((_name(path.relative_to(SHIPPED).as_posix()), path) for path in paths))


def _name(path: str) -> str:
    return path.removeprefix("configs/").removeprefix("overlays/").removesuffix(".yaml")


def find(name: str) -> Path:
    """Return the path of a config: of a file, or of a shipped config by its path or its name."""
    path = user_path(name)
    try:
        if path.is_file():
            return path
    except OSError as error:  # a name that is too long, for example
        raise InputError(f"--config {name} cannot be read: {error}") from error
    named, known = _name(name), shipped()
    matches = [named] if named in known else [other for other in known if known[other].stem == named]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise InputError(f"--config {name} could be any of {', '.join(matches)}: give one of these names")
    what = "a folder, not a config file" if path.is_dir() else "no file and no shipped config"
    raise InputError(f"--config {name} is {what}.{did_you_mean(named, known)} Shipped are: {', '.join(known)}")


def read(path: Path) -> Config:
    """Read a config. Raise InputError for anything that a config cannot have."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config '{path}' cannot be read: {error}") from error
    config = check(f"config '{path}'", parse(f"config '{path}'", text))
    for key in config:
        if key not in KEYS:
            hint = f"{did_you_mean(key, KEYS)} There are: {', '.join(KEYS)}"
            raise InputError(f"unknown option '{key}' (in {path}).{hint}")
    return config


def check(what: str, config: Any) -> Config:
    """Check the shape of a config, and return it without its empty sections. Messages call it `what`."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError(f"{what} holds a {type(config).__name__}, expected keys such as model, data, trainer")
    for section in SECTIONS:
        if config.get(section, {}) is None:  # all of its lines are commented out
            del config[section]
        elif section == "data" and isinstance(config.get(section), str):
            config[section] = {"class_path": config[section]}
        elif not isinstance(config.get(section, {}), dict):
            raise InputError(f"{what}: {section} is {config[section]!r}, expected its options")
    for key in NAMING_KEYS:
        value = config.get(key)
        if not isinstance(value, (dict, str, NoneType)):
            raise InputError(f"{what}: {key} is {value!r}, expected a class_path and its init_args")
        if isinstance(value, dict) and not isinstance(value.get("init_args", {}), (dict, NoneType)):
            raise InputError(f"{what}: init_args of {key} is {value['init_args']!r}, expected names and values")
    named = [config.get(key) for key in CLASS_KEYS] + [data_spec(config.get("data", {}))]
    classes = named + [config.get("trainer", {}).get(key) for key in OBJECTS]
    for name in beside(classes):
        raise InputError(f"{what}: '{name}' stands beside a class_path: put it into init_args")
    return config


def beside(value: Any) -> Iterator[str]:
    """Yield the keys beside a class_path that belong into init_args: of a class, or of classes in a list or dict."""
    if isinstance(value, dict) and "class_path" in value:
        yield from (str(key) for key in value if key not in ("class_path", "init_args", "dict_kwargs"))
    elif isinstance(value, (dict, list)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from beside(entry)


def parse(what: str, text: str) -> Any:
    """Return the content of YAML, of which JSON is a part. Messages call the text `what`."""
    try:
        _check_node(what, yaml.compose(text, Loader=yaml.SafeLoader), (), itertools.count())
        content = get_loader("yaml")(text)
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{what} is not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    except RecursionError:
        raise InputError(f"{what} has more than {MOST_LEVELS} levels") from None
    except ValueError as error:  # a number of thousands of digits, or a date that does not exist
        raise InputError(f"{what} cannot be read: {error}") from error
    check_values(what, content)
    return content


def _check_node(what: str, node: yaml.Node | None, keys: tuple[str, ...], count: Iterator[int]) -> None:
    """Check YAML for repeated keys, keys that are not text, tags, and too many values or levels.

    `keys` are those above the node, "" for an entry of a list. The arguments of a class may hold integer keys.
    """
    if node is None:
        return
    if next(count) > MOST_VALUES:  # a few lines of aliases to aliases are enough for millions
        raise InputError(f"{what} holds more than {MOST_VALUES:,} values")
    if len(keys) > MOST_LEVELS:  # or the node contains itself
        raise InputError(f"{what} has more than {MOST_LEVELS} levels")
    if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rpartition(":")[2] in ("set", "omap", "binary"):
        raise InputError(f"{what}, line {node.start_mark.line + 1}: a config cannot have the tag {node.tag}")
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            _check_node(what, entry, (*keys, ""), count)
    elif isinstance(node, yaml.MappingNode):
        tags, names = ("str", "merge", "int") if "init_args" in keys[:-1] else ("str", "merge"), set()
        for key, value in node.value:
            where = f"{what}, line {key.start_mark.line + 1}"
            if key.tag.rpartition(":")[2] not in tags:
                raise InputError(f"{where}: the key {key.value} is not a name")
            if key.value in names:
                raise InputError(f"{where}: '{key.value}' stands twice: put the two together")
            names.add(key.value)
            _check_node(what, value, (*keys, key.value), count)


def check_values(what: str, value: Any, key: str = "") -> None:
    """Check the numbers and the texts of a config, or of the part of it under `key`."""
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


def reads_as_yaml(text: str) -> bool:
    """Whether jsonargparse, which parses texts, could take `text` for a list or a dictionary."""
    try:
        return isinstance(get_loader("yaml")(text), (dict, list))
    except yaml.YAMLError:
        return False
    except (RecursionError, ValueError):
        return True


def data_spec(data: Config) -> Config:
    """Return the data of a config with its arguments under init_args, as the parser takes them.

    A config may also give the arguments alone; `expand` returns them beside the class_path.
    """
    if "init_args" in data:
        return data
    arguments = {key: value for key, value in data.items() if key != "class_path"}
    return {"class_path": data.get("class_path", DATA_MODULE), "init_args": arguments}


def _expand_data(data: Config) -> Config:
    """Return the arguments of a config's data, with the path of the class if the config names one."""
    arguments = data.get("init_args") or {} if "init_args" in data else data
    path = data.get("class_path")
    if isinstance(path, str):
        return {**arguments, "class_path": registry.data.find(path).class_path}
    return {key: value for key, value in arguments.items() if key != "class_path"}


def merge_configs(base: Config, overlay: Config) -> Config:
    """Merge two configs, as `merge` does. Other data keep the options that all data sets have, without the folder."""
    data, other = base.get("data") or {}, (overlay.get("data") or {}).get("class_path")
    if other is not None and not same_class(data.get("class_path", DATA_MODULE), other):
        shared = data_defaults().keys() - {"data_dir", "mirrors"}
        base = base | {"data": {key: value for key, value in data.items() if key in shared} | {"class_path": other}}
    return merge(base, overlay)


def merge(base: Any, overlay: Any) -> Any:
    """Merge `overlay` into `base` key by key. A mapping with another `class_path`, and any other value, replaces.

    As on the command line, a key that ends in + adds to a list. Without a list to add to, the key stays as it is.
    """
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    if "class_path" in overlay and not same_class(base.get("class_path"), overlay["class_path"]):
        return overlay
    merged = dict(base)
    for key, value in overlay.items():
        if str(key).endswith("+"):
            target = key.rstrip("+") if merged.get(key.rstrip("+")) is not None else key
            entries, added = as_list(merged.get(target)), as_list(value)
            merged[target] = entries + [entry for entry in added if entry not in entries]
        else:
            merged.pop(f"{key}+", None)
            merged[key] = merge(base[key], value) if key in base else value
    return merged


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, None as an empty list, and any other value as a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def same_class(a: Any, b: Any) -> bool:
    """Whether two class paths name one class, as torch.optim.SGD and torch.optim.sgd.SGD do."""
    if a == b:
        return True
    if str(a).rpartition(".")[2] != str(b).rpartition(".")[2]:
        return False
    try:
        return import_class(a) is import_class(b)
    except Exception:  # whoever uses the class imports it again, and reports the error
        return False


def names_class(trusted: str, untrusted: object) -> bool:
    """Whether both name one class. Only `trusted` is imported: a stranger may have written the other."""
    if untrusted == trusted:
        return True
    try:
        cls = import_class(trusted)
    except Exception:  # whoever uses the class imports it again, and reports the error
        return False
    return untrusted == f"{cls.__module__}.{cls.__qualname__}"


def import_class(class_path: str) -> Any:
    """Import what a dotted path names."""
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def class_value(key: str, value: str) -> Any:
    """Return the class that a word of the command line names: a name, None, or YAML with class_path and init_args."""
    if value in ("null", "None"):
        return None
    return parse(f"--{key}", value) if value.lstrip().startswith("{") else value


def expand(config: Config) -> Config:
    """Write out short forms: classes that are given by their names alone, and the short names of classes."""
    expanded = dict(config)
    for key in expanded.keys() & CLASS_KEYS:
        value = expanded[key]
        if isinstance(value, str):
            value = {"class_path": value}
        name = value.get("class_path") if isinstance(value, dict) else None
        if isinstance(name, str) and "." not in name:
            value = value | {"class_path": _long_name(key, name)}
        expanded[key] = value
    if isinstance(expanded.get("data"), dict):
        expanded["data"] = _expand_data(expanded["data"])
    trainer = expanded.get("trainer")
    if isinstance(trainer, dict):
        keys = trainer.keys() & {"callbacks", "callbacks+"}
        expanded["trainer"] = trainer | {key: _expand_callbacks(trainer[key]) for key in keys}
    return expanded


def _expand_callbacks(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand_callbacks(entry) for entry in value]
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return value | {"class_path": _expand_callbacks(value["class_path"])}
    return f"{CALLBACKS[value]}.{value}" if isinstance(value, str) and value in CALLBACKS else value


def _long_name(key: str, name: str) -> str:
    """Return the class path of a short name; the name itself if it is neither one of ours nor torch's."""
    if key == "model":
        return registry.find(name).class_path
    return next((f"{home}.{name}" for home in HOMES[key] if hasattr(import_module(home), name)), name)


def as_yaml(config: Config) -> str:
    """Return a config as YAML. A key that ends in + and had no list to add to is written without the +."""

    def settled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key.removesuffix("+") if isinstance(key, str) else key: settled(entry) for key, entry in value.items()}

    return yaml.safe_dump(settled(config), sort_keys=False, allow_unicode=True)


def as_word(value: Any) -> str:
    """Return a value as YAML in one line."""
    # As a list of one: YAML ends a single word with a line of "...".
    text = yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return text.strip()[1:-1]
