"""A trained model out of its checkpoint, for the commands that use one: `--ckpt best`, `last`, a file, or a run."""

from pathlib import Path
from typing import Any, NamedTuple

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from zoo import checkpoints, registry, resume
from zoo.classifier import Classifier


class Trained(NamedTuple):
    """A model as a checkpoint holds it.

    Attributes:
        model: on the CPU, in evaluation mode.
        path: of the checkpoint.
        config: what it was trained with: "model", "data", and what else the checkpoint tells.
        class_names: in the order of its probabilities.
        epochs: how many it was trained for.
    """

    model: Classifier
    path: Path
    config: dict[str, Any]
    class_names: tuple[str, ...]
    epochs: int


def load(wanted: str, runs_dir: Path = Path("runs"), model: str | None = None) -> Trained:
    """Build the model that a checkpoint holds, with its weights. The checkpoint may come from a stranger.

    Args:
        wanted: "best" or "last" of the newest run in `runs_dir`, a checkpoint file, or a run's directory, of which the
            best one is taken, the last one where there is none.
        runs_dir: where runs are kept.
        model: what it is of, a name or a dotted path, where that is not in the zoo: a checkpoint alone is not trusted
            to name code.

    Raises:
        InputError: where there is no such checkpoint, or it cannot be read, or is of another model, or of one that is
            not in the zoo and not named.
    """
    origin = resume.of_checkpoint(wanted, runs_dir, model)
    assert origin.path is not None
    assert origin.content is not None
    assert origin.base is not None
    chosen = origin.base["model"]
    try:
        network = registry.load(chosen["class_path"])(**chosen["init_args"])
    except InputError:
        raise
    except Exception as error:  # the code of another package can raise anything
        raise InputError(f"the model of {origin.path} cannot be built: {type(error).__name__}: {error}") from error
    checkpoints.check_weights(origin.path, origin.content, network)
    network.load_state_dict(origin.content["state_dict"])
    data = origin.base["data"]
    names = CIFAR10DataModule(source=data["source"], task=data["task"]).class_names
    return Trained(network.eval(), origin.path, origin.base, names, checkpoints.epochs_done(origin.content))
