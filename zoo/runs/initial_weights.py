"""`--init_from`: a training that starts with the weights of another one, as far as they fit the model.

A tensor of the file fits a tensor of the model that has the same name, the same shape and the same kind of numbers. The
prefixes in `PREFIXES` do not count, at the start of either name. Two kinds of tensors are never loaded: the
normalization, which belongs to the data or to the model, and the head if the file says that its classes are others than
those of the data.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from datamodules.errors import InputError, first_of, printable
from datamodules.tasks import task_classes
from zoo.core.classifier import Classifier
from zoo.runs import checkpoints, resume

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # of wrappers around a network, such as DistributedDataParallel
NORMALIZATION = ("scale", "shift")
MOST_NAMES = 6  # of tensors in a line


class Weights(NamedTuple):
    """The weights in a file.

    Attributes:
        path: of the file.
        tensors: by name.
        class_names: of the data that they were trained on; None if the file does not say.
    """

    path: Path
    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] | None


def find(wanted: str, runs_dir: Path, model: str) -> Weights:
    """Read the weights that `--init_from` names.

    Args:
        wanted: "best" or "last" of the newest run of `model`, a run's directory, a checkpoint, or a file that
            `checkpoints.read_weights` reads.
        runs_dir: where runs are kept.
        model: the class path of the model.
    """
    if not wanted:
        raise InputError("--init_from needs a value: best, last, a run's directory, or a file of weights")
    path = resume.checkpoint_path(wanted, runs_dir, model, "--init_from")
    if not path.is_file():
        kinds = "best, last, a run's directory, a checkpoint, a .safetensors file or a state dict of PyTorch"
        raise InputError(f"--init_from {wanted}: there is no such file: give {kinds}")
    tensors, others = checkpoints.read_weights(path)
    return Weights(path, tensors, _class_names(others))


def _class_names(content: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the classes in a checkpoint, or in the metadata of an exported file."""
    try:
        if isinstance(content.get("class_names"), str):
            return tuple(json.loads(content["class_names"]))
        _, state = resume.data_state(content)
        return task_classes(state["class_names"], state["task"], state.get("one_class"))
    # A file of another project may have keys of these names.
    except (LookupError, TypeError, ValueError, RecursionError):
        return None


def load(weights: Weights, model: Classifier, class_names: Sequence[str]) -> list[str]:
    """Load the weights that fit into a new model, and return lines that say which did.

    Args:
        weights: of the file.
        model: that takes them; `Classifier.loaded` tells it the names.
        class_names: of the data.

    Raises:
        InputError: if no parameter fits, or a weight that fits is not finite.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in NORMALIZATION}
    renewed = _renewed(model, own, weights.class_names, class_names)
    by_plain_name = {_plain(name): name for name in own}
    fitting: dict[str, Tensor] = {}
    unused, misfits = [], []
    given = {name: tensor for name, tensor in weights.tensors.items() if name not in NORMALIZATION}
    for name in sorted(given, key=lambda name: name not in own):  # names that are the same come first
        target = name if name in own else by_plain_name.get(_plain(name))
        if target is None or target in fitting:
            unused.append(name)
        elif target in renewed:
            continue
        elif given[name].shape != own[target].shape:
            misfits.append(f"{printable(target)} is {_shape(given[name])} there, and {_shape(own[target])} here")
        elif (kind := checkpoints.kind(given[name])) != (own_kind := checkpoints.kind(own[target])):
            misfits.append(f"{printable(target)} has {kind} numbers there, and {own_kind} ones here")
        else:
            fitting[target] = given[name].to(own[target].dtype)
    parameters = {name for name, _ in model.named_parameters()}
    if not parameters & fitting.keys():
        hint = misfits[0] if misfits else f"it has {_named(unused)}; {type(model).__name__} has {_named(own)}"
        raise InputError(f"--init_from {weights.path}: no weights fit {type(model).__name__}: {hint}")
    for name, tensor in fitting.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"--init_from {weights.path}: {printable(name)} is not finite: take another file")
    model.load_state_dict(model.state_dict() | fitting)
    model.loaded = frozenset(fitting)
    left = [name for name in own if name not in fitting and name not in renewed]
    told = {"new for other classes": renewed, "left as they were": left, "not used": unused}
    parts = [f"{what}: {_named(names)}" for what, names in told.items() if names]
    first = f"Weights: loaded {len(fitting)} of {len(own)} tensors from {weights.path}"
    more = [f"and {len(misfits) - MOST_NAMES} more that do not fit"] * (len(misfits) > MOST_NAMES)
    return ["; ".join([first, *parts]), *(f"  {line}" for line in [*misfits[:MOST_NAMES], *more])]


def _renewed(model: Classifier, own: Iterable[str], before: Sequence[str] | None, now: Sequence[str]) -> list[str]:
    """Return the names of the head's tensors if its classes are known to be others."""
    if before is None or tuple(before) == tuple(now):
        return []
    head = model.head_path()
    return [name for name in own if name.startswith(f"{head}.")]


def _plain(name: str) -> str:
    """Return a name without the prefixes of wrappers."""
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name.removeprefix(prefix)
    return name


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _named(names: Iterable[str]) -> str:
    return first_of([printable(name) for name in names], MOST_NAMES)
