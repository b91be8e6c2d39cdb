"""Check the content of a checkpoint before it is used: the file may come from a stranger."""

from typing import Any

import torch
from packaging.version import InvalidVersion, Version

OLDEST_LIGHTNING = 2  # the major version; older checkpoints have another content
LARGEST_COUNT = 2**53
MOST_VALUES = 1000  # in the arguments of a model: to build layers of 200,000 sizes takes minutes
LOADERS = "combined_loader"  # the state of the data loaders, which they check


def check(content: Any) -> None:
    """Raise KeyError, TypeError or ValueError, with the key, unless a checkpoint has the content that we write."""
    for key in ("state_dict", "hyper_parameters", "loops"):
        check_type(_at(content, key), dict, key)
    for name, tensor in content["state_dict"].items():
        check_type(tensor, torch.Tensor, f"state_dict.{name}")
    _check_version(content["pytorch-lightning_version"])
    _check_count(content["global_step"], "global_step")
    _check_counts(content["loops"], "loops")
    _check_epochs(_at(content, "loops", "fit_loop", "epoch_progress", "current"))
    check_tensors(content)
    if (size := _number_of_values(content["hyper_parameters"])) > MOST_VALUES:
        raise ValueError(f"hyper_parameters holds {size:,} values, and a model takes at most {MOST_VALUES:,}")


def _at(content: Any, *keys: str) -> Any:
    """Return the value below nested keys."""
    for depth, key in enumerate(keys):
        check_type(content, dict, ".".join(keys[:depth]) or "it")
        content = content[key]
    return content


def check_type(value: Any, expected: type, where: str) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{where} is {_describe(value)}, expected a {expected.__name__}")


def _describe(value: Any) -> str:
    plain = isinstance(value, (int, float, str)) and len(repr(value)) <= 50
    return f"the {type(value).__name__} {value!r}" if plain else f"a {type(value).__name__}"


def _check_version(version: Any) -> None:
    try:
        is_old = Version(version).major < OLDEST_LIGHTNING
    except (InvalidVersion, TypeError):
        raise ValueError(f"pytorch-lightning_version is {_describe(version)}, expected a version") from None
    if is_old:
        raise ValueError(f"Lightning {version} wrote it: this project reads Lightning {OLDEST_LIGHTNING} and later")


def _check_counts(value: Any, where: str) -> None:
    """Check the state of the loops: counters."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if name == "is_last_batch":
                check_type(entry, bool, f"{where}.{name}")
            elif name != LOADERS:
                _check_counts(entry, f"{where}.{name}")
    else:
        _check_count(value, where)


def _check_count(value: Any, where: str) -> None:
    if type(value) is not int:
        raise TypeError(f"{where} is {_describe(value)}, expected a count")
    if not 0 <= value <= LARGEST_COUNT:
        number = value if abs(value) < 10**18 else f"a number of {value.bit_length()} bits"
        raise ValueError(f"{where} is {number}, expected a count of 0 to {LARGEST_COUNT}")


def _check_epochs(epochs: dict[str, int]) -> None:
    """Check that at most one epoch is unfinished."""
    where = "loops.fit_loop.epoch_progress.current"
    check_type(epochs, dict, where)
    completed, processed, started, ready = (epochs[name] for name in ("completed", "processed", "started", "ready"))
    if not completed <= processed <= started <= ready <= completed + 1:
        counts = f"{ready} epochs ready, {started} started, {processed} processed and {completed} completed"
        raise ValueError(f"{where} has {counts}, which contradict each other")


def check_tensors(content: Any, key: str = "it") -> None:
    """Check that no tensor is sparse, quantized or without data."""
    if isinstance(content, dict):
        for name, entry in content.items():
            check_tensors(entry, str(name))
    elif isinstance(content, (list, tuple)):
        for entry in content:
            check_tensors(entry, key)
    elif isinstance(content, torch.Tensor):
        if content.layout is not torch.strided or content.is_quantized:
            raise TypeError(f"{key} is a tensor of the layout {content.layout}, type {content.dtype}")
        if content.device.type != "cpu":
            raise TypeError(f"{key} is a tensor without data")


def _number_of_values(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_number_of_values, value.values()))
    return sum(map(_number_of_values, value)) if isinstance(value, (list, tuple, set, frozenset)) else 1
