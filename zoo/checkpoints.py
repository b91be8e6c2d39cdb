"""Checkpoints: whether a file is one, and whose."""

from pathlib import Path

import torch

from datamodules.errors import InputError


def check(path: str, class_path: str) -> None:
    """Check that `path` is a checkpoint of the model `class_path`, before anything is done with it.

    It is opened with `weights_only=True`: a file from a stranger runs no code.

    Raises:
        InputError: where it is no file, cannot be read, or is of another model; names both models.
    """
    if not Path(path).is_file():
        raise InputError(f"--ckpt_path {path}: there is no such file")
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        hyper_parameters = content["hyper_parameters"]
        content["state_dict"]
    except Exception as error:  # a damaged file can raise almost anything
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"--ckpt_path {path} is no readable checkpoint of this project ({cause})") from error
    theirs = hyper_parameters.get("_class_path", class_path)
    if theirs != class_path:
        raise InputError(f"--ckpt_path {path} is of {theirs}, and --model names {class_path}: give the one that fits")
