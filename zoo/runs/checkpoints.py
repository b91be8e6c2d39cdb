"""Write checkpoints completely or not at all, and read them without trusting them."""

import contextlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from datamodules.errors import InputError, RunError
from zoo.core import files
from zoo.runs import checkpoint_content

Content = dict[str, Any]

BEST, LAST = "best", "last"
TRAINED = "current_model_state"  # key of the trained weights, if the others are averages; the name is Lightning's
STATE_DICTS = ("state_dict", "model_state_dict", "model", "net")  # keys of a checkpoint that may hold the weights
NUMBERS_PER_BYTE = 4  # of a checkpoint, that its model may have; float32 weights are a quarter of a number per byte
MOST_NESTED = 2  # such keys within one another


class WholeFileIO(TorchCheckpointIO):
    """Lightning's checkpoint files, each complete at any moment.

    Lightning writes to the system's temporary folder and moves the file. A move from another disk is a copy, which can
    be incomplete.
    """

    def save_checkpoint(self, checkpoint: Content, path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`. After a RunError an earlier file is still there."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            files.write(Path(path), buffer.getbuffer())
        except OSError as error:
            left = "the earlier one is still there" if Path(path).exists() else "there is no earlier one"
            size = f"{len(buffer.getbuffer()) / 1e6:.1f} MB"
            problem = f"the checkpoint {path} of {size} could not be written ({error.strerror or error})"
            raise RunError(f"{problem}: {left}") from error


def read(path: Path) -> Content:
    """Return the content of a checkpoint, on the CPU. Raise InputError if it is no checkpoint of this project.

    With `weights_only=True` a stranger's file runs no code.
    """
    try:
        if not path.is_file():
            raise InputError(f"checkpoint {path}: there is no such file")
        _check_sums(path)
        content = _load(path)
        checkpoint_content.check(content)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"{path} is no readable checkpoint of this project: {_cause(error)}") from error
    return content


def _load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors of other layouts, which are refused
        return torch.load(path, weights_only=True, map_location="cpu")


def read_weights(path: Path) -> tuple[dict[str, Tensor], Content]:
    """Return the weights in a file, by name, and what else it says.

    The file is in the format of safetensors, or PyTorch's: a state dict, or a checkpoint that holds one under a key of
    `STATE_DICTS`. No code of the file is run.

    Raises:
        InputError: if the file is in neither format, or holds no weights.
    """
    try:
        if path.suffix == ".safetensors":
            weights, others = _read_safetensors(path)
        else:
            if zipfile.is_zipfile(path):  # versions of PyTorch before 1.6 wrote no archive
                _check_sums(path)
            others = inner = _load(path)
            checkpoint_content.check_type(inner, dict, "it")
            for _ in range(MOST_NESTED):
                inner = next((inner[key] for key in STATE_DICTS if isinstance(inner.get(key), dict)), inner)
            weights = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
        if not weights:
            raise InputError(f"{path} holds no weights: neither tensors by name nor {', '.join(STATE_DICTS)}")
        checkpoint_content.check_tensors(weights)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise almost anything
        raise InputError(f"{path} has no readable weights: {_cause(error)}") from error
    return {str(name): tensor for name, tensor in weights.items()}, others


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Content]:
    """Return the tensors and the metadata of a file."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise InputError(f"{path} needs the package safetensors: pip install 'cifar10-zoo[export]'") from None
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _cause(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "it asks for more than tensors and plain values, which was not done"
    if isinstance(error, zipfile.BadZipFile):
        return "it is not a complete archive as PyTorch writes it"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_sums(path: Path) -> None:
    """Check that a file is an archive whose bytes are those that were written, none of them compressed.

    PyTorch does not check this. A few kilobytes of compressed zeros are gigabytes of weights.
    """
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(f"{path} is packed, but PyTorch does not compress checkpoints")
        if (damaged := archive.testzip()) is not None:
            raise InputError(f"{path} is damaged: {damaged} differs from what was written")


def epochs_done(content: Content) -> int:
    """Return the number of epochs that were finished."""
    return int(_progress(content)["processed"])


def is_mid_epoch(content: Content) -> bool:
    """Whether a checkpoint was written within an epoch."""
    return _progress(content)["processed"] != _progress(content)["ready"]


def _progress(content: Content) -> dict[str, int]:
    return content["loops"]["fit_loop"]["epoch_progress"]["current"]


@contextlib.contextmanager
def bounded_by(path: Path | None) -> Iterator[None]:
    """Refuse, while it is built, a model that is far larger than the file of its weights; None refuses none.

    A stranger's file of a few kilobytes can give arguments of a model that uses up the memory, before `check_weights`
    compares the two. NumPy networks are not counted.

    Raises:
        InputError: before the values of the parameter or the buffer that is too many are written.
    """
    # Files hold no compressed numbers. Some models build their network twice, or keep tables beside their weights.
    most = 0 if path is None else NUMBERS_PER_BYTE * path.stat().st_size
    count = 0

    def add(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal count
        count += 0 if value is None or isinstance(value, nn.UninitializedParameter) else value.numel()
        if count > most:
            raise InputError(f"the model of {path} has over {most:,} numbers, far more than the file can hold")

    with contextlib.ExitStack() as stack:
        if path is not None:
            stack.enter_context(hooks.register_module_parameter_registration_hook(add))
            stack.enter_context(hooks.register_module_buffer_registration_hook(add))
        yield


def check_weights(path: Path, content: Content, model: nn.Module) -> None:
    """Check that a checkpoint's weights fit a model, by their shapes and their kinds of numbers."""
    saved, built = content["state_dict"], model.state_dict()
    misfit = f"the weights of {path} do not fit {type(model).__name__}"
    for name in {**built, **saved}:
        shapes = [tuple(weights[name].shape) if name in weights else "missing" for weights in (saved, built)]
        if shapes[0] != shapes[1]:
            why = "in the model, whose code may have changed since"
            raise InputError(f"{misfit}: {name} is {shapes[0]} there, and {shapes[1]} {why}")
        kinds = [kind(weights[name]) for weights in (saved, built)]
        if kinds[0] != kinds[1]:
            raise InputError(f"{misfit}: {name} has {kinds[0]} numbers there, and {kinds[1]} ones in the model")


def kind(tensor: torch.Tensor) -> str:
    """Return the kind of a tensor's numbers; those of truth values count as integers."""
    return "complex" if tensor.is_complex() else "floating-point" if tensor.is_floating_point() else "integer"
