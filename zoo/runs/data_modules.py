"""Build the data module of a config or a checkpoint: `data` with the arguments of its class, and "class_path"."""

import inspect
from collections.abc import Mapping
from typing import Any

from datamodules.image_data_module import ImageDataModule
from zoo.catalogue import registry
from zoo.runs.configs import DATA_MODULE, Config

SIZES = ("val_size", "train_size", "test_size")
CHOICES = ("task", "one_class")  # beside a class's own arguments


def find(data: Config) -> type[ImageDataModule]:
    """Import and return the class of a config's data."""
    return registry.data.load(data.get("class_path", DATA_MODULE))


def argument_names(data_module: type[ImageDataModule]) -> list[str]:
    """Return the names of a class's arguments: its own, then those of `ImageDataModule`."""
    names = [*own_arguments(data_module), *inspect.signature(ImageDataModule).parameters]
    return [name for name in dict.fromkeys(names) if name != "data_set"]


def own_arguments(data_module: type[ImageDataModule]) -> list[str]:
    """Return the names of the arguments that a class adds to those of `ImageDataModule`, or describes anew."""
    parameters = inspect.signature(data_module).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def defaults(data_module: type[ImageDataModule]) -> dict[str, Any]:
    """Return the arguments of a class that have a default, with their defaults."""
    signatures = (inspect.signature(cls).parameters for cls in (ImageDataModule, data_module))
    return {p.name: p.default for parameters in signatures for p in parameters.values() if p.default is not p.empty}


def arguments_of_data(data_module: type[ImageDataModule]) -> list[str]:
    """Return the names of a class's arguments that tell which images the data are: those that no other class has."""
    common = inspect.signature(ImageDataModule).parameters
    return [name for name in own_arguments(data_module) if name not in common]


def build(data: Config, **changes: Any) -> ImageDataModule:
    """Build the data module of the images, the task and the sizes of `data`, without its other options."""
    data_module = find(data)
    kept = {*own_arguments(data_module), *SIZES, *CHOICES, "data_dir"}
    arguments = {name: value for name, value in data.items() if name in kept and value is not None}
    return data_module(**arguments | changes)


def title(state: Mapping[str, Any]) -> str:
    """Return the title of the data that a data module's `state_dict` is about, with a task of its own."""
    one = state.get("one_class")
    return str(state.get("title")) + (f" ({one} against the rest)" if one else "")
