"""A trained model out of its checkpoint, for the commands that use one: `--ckpt best`, `last`, a file, or a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from datamodules.paths import user_path
from datamodules.readers import cifar
from zoo.catalogue import registry
from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.runs import checkpoints, resume


class Trained(NamedTuple):
    """A model as a checkpoint holds it.

    Attributes:
        model: on its device, in evaluation mode.
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

    def describe(self) -> str:
        """Return in a line what model this is, and how it was trained."""
        source = {"cifar10": "CIFAR-10", "synthetic": "synthetic images"}[self.config["data"]["source"]]
        epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
        return f"{type(self.model).__name__} of {self.path}, trained on {source} for {epochs}"

    @property
    def val_size(self) -> int | None:
        """How many training images were held out for validation; None where the checkpoint does not tell."""
        return self.config["data"].get("val_size")

    def data(self, data_dir: Path | None = None) -> CIFAR10DataModule:
        """Return the data that it was trained on, without augmentation; `setup` reads them. Nothing is downloaded.

        Files that are not the official ones are taken: the data module's description says so.

        Args:
            data_dir: where CIFAR-10 lies; None for where the model was trained on it, `CIFAR10_DIR`, or data.

        Raises:
            InputError: where there are none, or the checkpoint tells nonsense of them.
        """
        config = self.config["data"]
        place = user_path(data_dir or config.get("data_dir") or cifar.default_dir())
        if config["source"] == "cifar10" and cifar.find(place) is None:
            where = "name its place by --data_dir or CIFAR10_DIR, or download it by: python cli.py data prepare"
            raise InputError(f"{cifar.missing(place)}: {where}")
        sizes: dict[str, Any] = {name: config[name] for name in resume.SIZES if config.get(name) is not None}
        try:
            return CIFAR10DataModule(str(place), config["source"], config["task"], verify_checksums=False, **sizes)
        except (InputError, TypeError) as error:  # a stranger's checkpoint can say anything
            told = ", ".join(f"{name} {value!r}" for name, value in sizes.items())
            raise InputError(f"{self.path} tells no sizes of its data: {told}") from error


def load(
    wanted: str | Path, runs_dir: Path = Path("runs"), model: str | None = None, accelerator: str = "cpu"
) -> Trained:
    """Build the model that a checkpoint holds, with its weights. The checkpoint may come from a stranger.

    Args:
        wanted: "best" or "last" of the newest run in `runs_dir`, a checkpoint file, or a run's directory, of which the
            best one is taken, the last one where there is none.
        runs_dir: where runs are kept.
        model: what it is of, a name or a dotted path, where that is not in the zoo: a checkpoint alone is not trusted
            to name code.
        accelerator: the kind of device that the model is put on, see `zoo.core.devices.of_model`.

    Raises:
        InputError: where there is no such checkpoint, or it cannot be read, or is of another model, or of one that is
            not in the zoo and not named; or if the model cannot be put on the device.
    """
    devices.check(accelerator, f"--accelerator {accelerator}")
    origin = resume.of_checkpoint(str(wanted), runs_dir, model)
    assert origin.path is not None
    assert origin.content is not None
    assert origin.config is not None
    chosen = origin.config["model"]
    try:
        network = build(registry.load(chosen["class_path"]), chosen["init_args"])
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the code of another package can raise anything
        raise InputError(f"the model of {origin.path} cannot be built: {type(error).__name__}: {error}") from error
    checkpoints.check_weights(origin.path, origin.content, network)
    network.load_state_dict(origin.content["state_dict"])
    data = origin.config["data"]
    names = CIFAR10DataModule(source=data["source"], task=data["task"]).class_names
    if network.num_classes != len(names):
        of_data = f"{data['source']} ({data['task']}) has {len(names)}"
        raise InputError(f"{origin.path} is of a model of {network.num_classes} classes, and {of_data}")
    devices.move(network, devices.of_model(type(network), accelerator))
    return Trained(network.eval(), origin.path, origin.config, names, checkpoints.epochs_done(origin.content))


def build(model_class: type[Classifier], arguments: Mapping[str, Any]) -> Classifier:
    """Build a model from its arguments as configs and checkpoints hold them.

    They hold plain values: a tuple as a list, a member of an enumeration by its name. What the class says of its
    arguments' types decides what becomes of them, as on the command line.

    Raises:
        Exception: whatever another package's code raises; and where an argument is not of its type.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(model_class, "model", fail_untyped=False)
    return model_class(**parser.parse_object({"model": dict(arguments)}).model.as_dict())
