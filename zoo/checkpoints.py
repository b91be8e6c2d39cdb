"""Checkpoints: written whole or not at all, and read without trust."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from datamodules.errors import InputError, RunError
from zoo import files

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

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> Content:
        """Read a checkpoint as Lightning does.

        One of the end of an epoch is told as that: with `max_steps`, Lightning takes it for one of the middle, and ends
        the epoch a second time.
        """
        content = super().load_checkpoint(path, *args, **kwargs)
        loop = content.get("loops", {}).get("fit_loop", {})
        epochs, batches = loop.get("epoch_progress"), loop.get("epoch_loop.batch_progress")
        if epochs and batches and epochs["current"]["processed"] == epochs["current"]["ready"]:
            for counts in (epochs["current"], epochs["total"]):
                counts["completed"] = counts["processed"]
            batches["current"] = dict.fromkeys(batches["current"], 0)
            batches["is_last_batch"] = False
        return content


def read(path: Path) -> Content:
    """Return what the checkpoint `path` holds, on the CPU.

    It is opened with `weights_only=True`: a file from a stranger runs no code.

    Raises:
        InputError: where it is no file, or cannot be read as a checkpoint of this project.
    """
    if not path.is_file():
        raise InputError(f"--ckpt_path {path}: there is no such file")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        for key in ("state_dict", "hyper_parameters", "loops", "global_step"):
            content[key]
    except Exception as error:  # a damaged file can raise almost anything
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"--ckpt_path {path} is no readable checkpoint of this project ({cause})") from error
    return content


def epochs_done(content: Content) -> int:
    """Return how many epochs a checkpoint has finished."""
    return content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
