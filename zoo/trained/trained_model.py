"""A trained model and the checkpoint that it comes from: "best", "last", a file, or a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser

from datamodules.data_sets import prepare_command
from datamodules.errors import InputError
from datamodules.image_data_module import ImageDataModule
from datamodules.paths import variable
from datamodules.tasks import task_classes
from zoo.catalogue import registry
from zoo.core import devices, views
from zoo.core.classifier import Classifier
from zoo.runs import checkpoints, data_modules, resume


class Trained(NamedTuple):
    """A model as its checkpoint holds it."""

    model: Classifier  # on its device, in evaluation mode
    path: Path  # of the checkpoint
    config: dict[str, Any]  # of the training: "model", "data", and whatever else the checkpoint holds
    class_names: tuple[str, ...]  # in the order of the model's probabilities
    epochs: int  # number of epochs trained
    data_title: str  # of the data that it was trained on

    def describe(self) -> str:
        epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
        averaged = "" if self.model.tta == views.NO_VIEWS else f"; predictions are {views.describe(self.model.tta)}"
        trained = f"trained on {self.data_title} images for {epochs}"
        return f"{type(self.model).__name__} of {self.path}, {trained}{averaged}"

    @property
    def val_size(self) -> int | None:
        """Number of training images held out for validation; None if the checkpoint does not say."""
        return self.config["data"].get("val_size")

    def data(self, data_dir: Path | None = None) -> ImageDataModule:
        """Return the data of the training, without augmentation; `setup` reads them. Nothing is downloaded.

        Unofficial files are accepted: `ImageDataModule.describe` says so. By default the data are where the training
        had them, in `CIFAR10_DIR`, or in data. Raises InputError if they are missing or the checkpoint's are invalid.
        """
        config = self.config["data"]
        given = data_dir or config.get("data_dir")
        try:
            data = data_modules.build(config, verify_checksums=False, data_dir=str(given) if given else None)
        except (InputError, TypeError) as error:  # a stranger's checkpoint can hold any value
            way_out = "or name another place by --data_dir"
            raise InputError(f"the data of {self.path} cannot be had: {error}, {way_out}") from error
        data_set = data.data_set
        if data.class_names != self.class_names:
            problem = f"{data_set.title} in '{data.data_dir}' has the classes {', '.join(data.class_names)}"
            raise InputError(f"{problem}, and the model of {self.path} {', '.join(self.class_names)}: other data?")
        if data_set.shape != self.model.image_shape:
            has, takes = (" x ".join(map(str, shape)) for shape in (data_set.shape, self.model.image_shape))
            raise InputError(
                f"{data_set.title} in '{data.data_dir}' has images of {has}, and {self.path} takes {takes}"
            )
        if data_set.find(data.data_dir) is None:
            advice = f"name its place by --data_dir or {variable(data_set.name)}"
            advice += f", or download it by: {prepare_command(data_set)}" if data_set.archives else ""
            raise InputError(f"{data_set.missing(data.data_dir)}: {advice}")
        return data


def load(
    wanted: str | Path,
    runs_dir: Path = Path("runs"),
    model: str | None = None,
    accelerator: str = "cpu",
    net: str | None = None,
    tta: str | None = None,
) -> Trained:
    """Build the model of a checkpoint, perhaps a stranger's, with its weights; raise InputError if that fails.

    Args:
        wanted: "best" or "last" of the newest run in `runs_dir`, a checkpoint file, or a run's directory, which stands
            for its best checkpoint, or for the last one if it has no best.
        model: class of the model, a name or a dotted path, for a model outside of the zoo: a checkpoint alone cannot
            name code to run.
        accelerator: kind of the model's device, see `zoo.core.devices.of_model`.
        net: dotted path of the network, for a checkpoint of the model `Wrapped`, which cannot name it either.
        tta: views whose predictions are averaged (see `zoo.core.views`); None for those of the training.
    """
    devices.check(accelerator, f"--accelerator {accelerator}")
    origin = resume.checkpoint_origin(str(wanted), runs_dir, model, net)
    assert origin.path is not None
    assert origin.content is not None
    assert origin.config is not None
    chosen, data = origin.config["model"], origin.config["data"]
    try:
        model_class = registry.load(chosen["class_path"])
        with checkpoints.bounded_by(origin.path):
            network = build(model_class, chosen["init_args"])
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # another package's code can raise anything
        raise InputError(f"the model of {origin.path} cannot be built: {type(error).__name__}: {error}") from error
    try:
        network.set_tta(tta or origin.config.get("tta", views.NO_VIEWS))
    except InputError as error:
        raise InputError(f"{origin.path}: {error}") from error
    checkpoints.check_weights(origin.path, origin.content, network)
    network.load_state_dict(origin.content["state_dict"])
    _, state = resume.data_state(origin.content)
    try:
        data_set = None if state.get("class_names") else data_modules.build(data).data_set
    except TypeError as error:
        raise InputError(f"the data of {origin.path} cannot be told: {error}") from error
    all_names = state["class_names"] if data_set is None else data_set.class_names
    title = str(state.get("title")) if data_set is None else data_set.title
    names = task_classes(all_names, data["task"], data.get("one_class"))
    if network.num_classes != len(names):
        expected = f"{title} ({data['task']}) has {len(names)}"
        raise InputError(f"{origin.path} is of a model of {network.num_classes} classes, and {expected}")
    devices.move(network, devices.of_model(type(network), accelerator))
    return Trained(network.eval(), origin.path, origin.config, names, checkpoints.epochs_done(origin.content), title)


def build(model_class: type[Classifier], arguments: Mapping[str, Any]) -> Classifier:
    """Build a model from the arguments of a config or a checkpoint.

    As on the command line, the types of the class's arguments decide how the plain values are converted. Another
    package's code, or an argument of the wrong type, can raise any exception.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(model_class, "model", fail_untyped=False)
    return model_class(**parser.parse_object({"model": dict(arguments)}).model.as_dict())
