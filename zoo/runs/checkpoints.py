"""Checkpoints: written whole or not at all, and read without trust."""

import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from datamodules.errors import InputError, RunError
from zoo.core import files
from zoo.runs import checkpoint_content

Content = dict[str, Any]

BEST, LAST = "best", "last"


class WholeFileIO(TorchCheckpointIO):
    """Lightning's checkpoint files, each a complete one at any moment.

    Lightning writes to the system's temporary folder and moves the file, which is a copy, and can be half of one, where
    that folder is on another disk.
    """

    def save_checkpoint(self, checkpoint: Content, path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            RunError: where it cannot be written; what was there is still there.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            files.write(Path(path), buffer.getbuffer())
        except OSError as error:
            left = "the one of before is still there" if Path(path).exists() else "there is none of before"
            raise RunError(
                f"the checkpoint {path} of {len(buffer.getbuffer()) / 1e6:.1f} MB could not be written "
                f"({error.strerror or error}): {left}"
            ) from error


def read(path: Path) -> Content:
    """Return what the checkpoint `path` holds, on the CPU.

    It is opened with `weights_only=True`: a file from a stranger runs no code.

    Raises:
        InputError: where it is no file, or cannot be read as a checkpoint of this project.
    """
    try:
        if not path.is_file():
            raise InputError(f"checkpoint {path}: there is no such file")
        _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tensors of other layouts, which are refused
            content = torch.load(path, weights_only=True, map_location="cpu")
        checkpoint_content.check(content)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is no readable checkpoint of this project: it asks for more than tensors and plain values, "
            "which was not done"
        ) from error
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path} is no readable checkpoint of this project: it is no archive as PyTorch writes, or cut off"
        ) from error
    except KeyError as error:
        raise InputError(f"{path} is no readable checkpoint of this project: it lacks {error}") from error
    except Exception as error:  # a damaged file can raise almost anything
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is no readable checkpoint of this project ({cause})") from error
    return content


def _check_sums(path: Path) -> None:
    """Check what PyTorch does not: that the bytes are those that were written, none of them packed.

    Raises:
        InputError: where they are not. A few kilobytes of packed zeros are gigabytes of weights.
        zipfile.BadZipFile: where it is no archive, as checkpoints are.
    """
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise InputError(f"{path} is packed, as no checkpoint is that PyTorch writes")
        if (damaged := archive.testzip()) is not None:
            raise InputError(f"{path} is damaged: {damaged} is not what was written")


def epochs_done(content: Content) -> int:
    """Return how many epochs a checkpoint has finished."""
    return int(_progress(content)["processed"])


def is_mid_epoch(content: Content) -> bool:
    """Whether a checkpoint is of an epoch that is not finished."""
    return _progress(content)["processed"] != _progress(content)["ready"]


def _progress(content: Content) -> dict[str, int]:
    return content["loops"]["fit_loop"]["epoch_progress"]["current"]


def check_weights(path: Path, content: Content, model: nn.Module) -> None:
    """Check that a checkpoint's weights fit a model, in their shapes and their kinds of numbers.

    Raises:
        InputError: names the first that does not.
    """
    theirs, ours = content["state_dict"], model.state_dict()
    for name in {**ours, **theirs}:
        shapes = [tuple(weights[name].shape) if name in weights else "missing" for weights in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"the weights of {path} do not fit {type(model).__name__}: {name} is {shapes[0]} there, and "
                f"{shapes[1]} in the model, whose code may have changed since"
            )
        kinds = [_kind(weights[name]) for weights in (theirs, ours)]
        if kinds[0] != kinds[1]:
            what = f"{name} has {kinds[0]} numbers there, and {kinds[1]} ones in the model"
            raise InputError(f"the weights of {path} do not fit {type(model).__name__}: {what}")


def _kind(tensor: torch.Tensor) -> str:
    return "complex" if tensor.is_complex() else "floating-point" if tensor.is_floating_point() else "integer"
