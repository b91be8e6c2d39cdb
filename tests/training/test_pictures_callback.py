"""The plots of a run in TensorBoard: which ones, when, and of which images; training does not depend on them."""

import errno
import io
import random
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import cli
from datamodules.cifar10 import CIFAR10DataModule
from tests import forked
from zoo.core.numpy_classifier import BATCH_HOOKS
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.cnn import CNN, ImprovedCNN
from zoo.models.numpy_mlp import NumPyMLP
from zoo.plots import mosaic, predictions
from zoo.training.run_logger import RunLogger
from zoo.training.tensorboard import observing, pictures
from zoo.training.tensorboard.pictures import Pictures, has_pictures

pytestmark = pytest.mark.pictures

ALWAYS = {"images/augmented", "images/predictions", "images/worst_mistakes", "val/confusion_matrix"}
SMALL = {"source": "synthetic", "train_size": 48, "val_size": 40, "test_size": 20, "batch_size": 16}
FIT = ["fit", *(f"--data.{name}={value}" for name, value in SMALL.items()), "--data.crop_padding=2"]
FIT += ["--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false"]


class Patches(TorchClassifier):
    """None of its layers has plots."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072), nn.Linear(3072, self.num_outputs))


def fit(model, *callbacks, logger=None, task="multiclass", **options) -> L.Trainer:
    """Train, by default for an epoch and with a run's logger."""
    data = CIFAR10DataModule(**SMALL | {"task": task, "crop_padding": 2} | options.pop("data", {}))
    quiet = dict.fromkeys(["enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    settings = {"accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0} | quiet | options
    trainer = L.Trainer(logger=RunLogger(Path("run")) if logger is None else logger, callbacks=[*callbacks], **settings)
    trainer.fit(model, data)
    return trainer


def drawn(run: Path | str = "run") -> dict[str, dict[int, bytes]]:
    """Return a run's pictures, as PNG files, by tag and epoch."""
    log = EventAccumulator(f"{run}/tensorboard", size_guidance={"images": 0})
    log.Reload()
    found = {tag: log.Images(tag) for tag in log.Tags()["images"] if not tag.startswith("test/")}
    for tag, events in found.items():
        assert len({event.step for event in events}) == len(events), f"{tag} is drawn once"
    return {tag: {event.step: event.encoded_image_string for event in events} for tag, events in found.items()}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def tiles(png: bytes) -> set[bytes]:
    """All that could be an image of a picture with eight columns: 32 x 32 of its blocks of one color."""
    picture, factor = pixels(png), 4
    step, side = (picture.shape[1] - mosaic.SPACE) // 8, 32 * factor
    return {
        picture[y : y + side : factor, x : x + side : factor].tobytes()
        for x in range(mosaic.SPACE, picture.shape[1], step)
        for y in range(picture.shape[0] - side)
    }


def how_many(png: bytes, images) -> int:
    """How many of some images, uint8 (3, 32, 32), a picture has."""
    found = tiles(png)
    return sum(np.ascontiguousarray(image.transpose(1, 2, 0)).tobytes() in found for image in images)


class TestWhichPictures:
    @pytest.mark.parametrize(
        ("model", "task", "further"),
        [
            (lambda: NumPyMLP([8]), "multiclass", {"weights/first_layer"}),
            (lambda: NumPyMLP([], num_classes=2), "binary", {"weights/first_layer"}),
            (
                lambda: CNN(num_classes=2),
                "binary",
                {"weights/first_layer", "features/net.0", "features/net.3", "images/class_activation"},
            ),
            (
                lambda: ImprovedCNN(),
                "multiclass",
                {"weights/first_layer", "features/net.0", "features/net.17", "images/class_activation"},
            ),
            (Patches, "multiclass", set()),
        ],
        ids=["numpy", "neuron", "cnn", "batch-norm", "other"],
    )
    def test_every_kind_of_model(self, model, task, further, capsys):
        fit(model(), Pictures(), task=task)
        found = drawn()
        assert found.keys() == ALWAYS | further
        for tag, of_epochs in found.items():
            assert [*of_epochs] == ([0] if tag == "images/augmented" else [1]), tag
            for png in of_epochs.values():
                shown = pixels(png)
                assert shown.ndim == 3, "in color"
                assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 10, f"{tag} is not empty"
        assert "warning" not in capsys.readouterr().err

    def test_predictions_are_of_validation_images_as_many_of_each_class(self):
        trainer = fit(NumPyMLP([8]), Pictures())
        images = trainer.datamodule.val.images.numpy().transpose(0, 3, 1, 2)
        assert how_many(drawn()["images/predictions"][1], images) == pictures.EXAMPLES
        labels = pictures.choose(trainer.datamodule).labels
        assert sorted(labels[:10]) == [*range(10)], "the classes take turns"

    def test_without_validation_images_they_are_training_images_that_are_not_augmented(self):
        trainer = fit(NumPyMLP([8]), Pictures(), data={"val_size": 0})
        found = drawn()
        assert found.keys() == ALWAYS - {"val/confusion_matrix"} | {"weights/first_layer"}
        plain = CIFAR10DataModule(**SMALL | {"val_size": 0})
        plain.setup("fit")
        images = plain.train.images.numpy().transpose(0, 3, 1, 2)
        assert how_many(found["images/predictions"][1], images) == pictures.EXAMPLES
        assert pictures.choose(trainer.datamodule).kind == "training"

    @pytest.mark.parametrize("mixing", [{}, {"mixup": 1.0, "cutmix": 1.0}], ids=["plain", "mixed"])
    def test_augmented_images_are_those_that_the_first_epoch_trains_on(self, mixing):
        augmentation = {"crop_padding": 4, "horizontal_flip": True, "cutout": 8, **mixing}
        trained_on = {}

        class Watch(L.Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                images, partners = batch.images, batch.partners
                if mixing:
                    images = partners.mix(images.float(), partners.images.float()).round().byte()
                trained_on.update(zip(batch.indices.tolist(), images.numpy().copy(), strict=True))

        fit(CNN(), Pictures(), Watch(), data=augmentation)
        assert how_many(drawn()["images/augmented"][0], trained_on.values()) == pictures.EXAMPLES

    def test_the_worst_mistakes_are_the_surest_ones(self, monkeypatch):
        titles = []

        def draw(images, labels, probabilities, class_names, title, explanation):
            titles.append(explanation)
            assert (probabilities.argmax(1) != labels).all()
            assert (np.diff(probabilities.max(1)) <= 0).all()
            return np.zeros((8, 8, 3), np.uint8)

        scene = self.scene(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 0, 0, 1]))
        monkeypatch.setattr(predictions, "draw", draw)
        ((tag, _),) = pictures.worst_mistakes(scene)
        assert tag == "images/worst_mistakes"
        assert titles[0].startswith("The 3 most confident of 3 wrong predictions for 4 validation images")

    def test_a_model_without_mistakes_has_no_worst_ones(self):
        assert not [*pictures.worst_mistakes(self.scene(np.eye(2), np.array([0, 1])))]

    def scene(self, probabilities, labels) -> pictures.Scene:
        images = torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8)
        shown = pictures.Shown("validation", images, labels)
        return pictures.Scene(NumPyMLP([]), "title", ("a", "b"), shown, probabilities, None)

    def test_an_epoch_that_is_not_validated_has_no_confusion_matrix(self):
        fit(NumPyMLP([8]), Pictures(), max_epochs=4, check_val_every_n_epoch=2)
        found = drawn()
        assert [*found["val/confusion_matrix"]] == [2, 4]
        assert [*found["images/predictions"]] == [1, 2, 4]


class TestWhen:
    @pytest.mark.parametrize(
        ("epochs", "expected"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (60, [1, 2, 4, 8, 16, 32, 60])]
    )
    def test_powers_of_two_and_the_last_epoch(self, epochs, expected):
        assert [epoch for epoch in range(1, epochs + 1) if has_pictures(epoch, epoch == epochs)] == expected

    def test_tensorboard_keeps_all_of_512_epochs(self):
        assert sum(has_pictures(epoch, epoch == 512) for epoch in range(1, 513)) == 10

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"max_epochs": 5}, [1, 2, 4, 5]),
            ({"max_epochs": -1, "max_steps": 9}, [1, 2, 3]),  # three steps an epoch
            ({"max_epochs": 9, "max_steps": 8}, [1, 2, 3]),
        ],
    )
    @pytest.mark.parametrize("model", [lambda: NumPyMLP([]), Patches], ids=["numpy", "torch"])
    def test_epochs_and_steps(self, model, options, expected):
        """All are written before the epoch's checkpoint, so that a run killed after it loses none."""
        seen = []

        class Look(L.Callback):
            def on_train_epoch_end(self, trainer, pl_module):
                trainer.logger.flush()
                seen.append([*drawn()["images/predictions"]])

        fit(model(), Pictures(), Look(), **options)
        assert seen[-1] == [*drawn()["images/predictions"]] == expected

    @pytest.mark.parametrize(("patience", "expected"), [(3, [1, 2, 4]), (4, [1, 2, 4, 5])])
    def test_the_last_epoch_of_a_run_that_stops_early(self, patience, expected):
        options = ["--model=NumPyMLP", "--optimizer.lr=0", "--trainer.max_epochs=20"]
        assert cli.main([*FIT, *options, f"--early_stopping={patience}"]) == 0
        (run,) = Path("runs").glob("*/*")
        found = drawn(run)
        assert [*found["images/predictions"]] == expected
        assert [*found["images/worst_mistakes"]] == expected[-1:]


class TestTrainingDoesNotNotice:
    @pytest.mark.parametrize("model", [lambda: NumPyMLP([8]), ImprovedCNN], ids=["numpy", "dropout-and-batch-norm"])
    def test_same_weights_bit_for_bit(self, model):
        """There is no `StepSeed`: dropout draws from one generator throughout."""
        found = []
        for callbacks in ([], [Pictures()]):
            L.seed_everything(3)
            network = model()
            fit(network, *callbacks, max_epochs=3, data={"batch_size": 20})
            found.append({name: value.clone() for name, value in network.state_dict().items()})
        assert found[0].keys() == found[1].keys()
        for name, value in found[0].items():
            assert torch.equal(value, found[1][name]), name

    @pytest.mark.parametrize("model", [lambda: NumPyMLP([8]), ImprovedCNN], ids=["numpy", "torch"])
    def test_nothing_is_touched(self, model):
        seen = []

        class Around(L.Callback):
            def on_train_epoch_end(self, trainer, pl_module):
                if not seen:
                    pl_module.train().metrics.eval()  # modules that are in different modes
                dataset = trainer.datamodule.train
                tensors = [*pl_module.state_dict().values(), *(p.grad for p in pl_module.parameters())]
                state = [torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].astype(int))]  # noqa: NPY002
                modules = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in pl_module.modules()]
                tensors += [*state, dataset.images]
                others = (random.getstate(), dataset.epoch, torch.is_grad_enabled(), modules)
                seen.append(([tensor.clone() for tensor in tensors if tensor is not None], others))

        fit(model(), Around(), Pictures(), Around())
        before, after = seen
        assert before[1] == after[1]
        assert len(before[0]) == len(after[0])
        assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
        assert drawn()

    def test_several_steps_in_a_call_stay_so(self):
        assert not [hook for hook in BATCH_HOOKS if is_overridden(hook, Pictures(), L.Callback)]

    def test_a_resumed_run_has_the_pictures_of_one_that_was_not_cut(self):
        """The run stops within the third of five epochs: the choice of images depends on nothing that is lost."""
        signal = '{"class_path": "tests.callbacks.SignalAt", "init_args": {"step": 7}}'
        command = [*FIT, "--model=CNN", "--trainer.max_epochs=5"]
        assert cli.main([*command, "--runs_dir=whole"]) == 0
        assert cli.main([*command, "--runs_dir=cut", f"--trainer.callbacks=[{signal}]"]) == 143
        (a,), (b,) = Path("whole").glob("*/*"), Path("cut").glob("*/*")
        assert cli.main(["fit", "--resume", f"--config={b}/config.yaml"]) == 0
        whole, cut = drawn(a), drawn(b)
        assert {tag: [*found] for tag, found in cut.items()} == {tag: [*found] for tag, found in whole.items()}
        assert [*whole["images/class_activation"]] == [1, 2, 4, 5]
        for tag, found in whole.items():
            assert cut[tag] == found, tag


class TestForWhom:
    @pytest.mark.parametrize("logger", [False, "foreign"])
    def test_other_loggers_get_none(self, logger, monkeypatch):
        monkeypatch.setattr(Pictures, "add", lambda *args: pytest.fail("drawn"))
        fit(NumPyMLP([]), Pictures(), logger=TensorBoardLogger("foreign") if logger else False)
        for file in Path("foreign").glob("**/events*"):
            log = EventAccumulator(str(file))
            log.Reload()
            assert not log.Tags()["images"]

    @pytest.mark.parametrize("option", ["--trainer.logger=false", "--trainer.fast_dev_run=true"])
    def test_runs_without_a_logger_draw_none(self, option, monkeypatch):
        monkeypatch.setattr(Pictures, "add", lambda *args: pytest.fail("drawn"))
        assert cli.main([*FIT, "--model=NumPyMLP", "--trainer.max_epochs=1", option]) == 0

    def test_seconds_are_logged(self):
        fit(NumPyMLP([]), Pictures(), max_epochs=3)
        log = EventAccumulator("run/tensorboard")
        log.Reload()
        logged = log.Scalars("perf/pictures_seconds")
        assert [event.step for event in logged] == [0, 1, 2, 3]
        assert all(event.value > 0 for event in logged)

    def test_a_run_from_another_ones_checkpoint_shows_what_it_trains_on(self):
        assert cli.main([*FIT, "--model=NumPyMLP", "--trainer.max_epochs=1"]) == 0
        (first,) = Path("runs").glob("*/*")
        assert cli.main([*FIT, f"--ckpt={first}", "--trainer.max_epochs=2", "--runs_dir=others"]) == 0
        (second,) = Path("others").glob("*/*")
        assert [*drawn(second)["images/augmented"]] == [0]

    def test_what_cannot_be_drawn_costs_a_line_not_the_run(self, monkeypatch, capsys):
        def broken(scene):
            yield "weights/first_layer", np.zeros((8, 8, 3), np.uint8)
            raise KeyError("no such\nlayer")

        monkeypatch.setitem(pictures.PICTURES, "first-layer weights", broken)
        fit(CNN(), Pictures(), max_epochs=2)
        assert (
            capsys.readouterr().err.count("no first-layer weights in TensorBoard: KeyError: 'no such\\nlayer'") == 1
        ), "said once"
        assert drawn().keys() == ALWAYS | {"features/net.0", "features/net.3", "images/class_activation"}

    def test_a_model_that_cannot_be_asked_costs_a_line_not_the_run(self, capsys):
        class OnlyInBatches(CNN):
            """Of 16 images and of 8, not of 40."""

            def forward(self, images):
                if len(images) > 16:
                    raise ValueError("too many")
                return super().forward(images)

        trainer = fit(OnlyInBatches(), Pictures(), max_epochs=2, data={"eval_batch_size": 16})
        assert trainer.current_epoch == 2
        assert capsys.readouterr().err == "warning: no pictures in TensorBoard: ValueError: too many\n"
        assert drawn().keys() == {"images/augmented"}

    def test_a_diverged_network_is_drawn_without_a_word(self, monkeypatch, capsys):
        data = CIFAR10DataModule(**SMALL)
        data.setup("fit")
        model = NumPyMLP()
        with torch.no_grad():
            next(iter(model.parameters())).fill_(float("nan"))
        with warnings.catch_warnings(), observing.optional("weights"):
            warnings.simplefilter("error")
            scene = pictures.Scene(model, "t", data.class_names, None, np.zeros((0, 10)), None)
            assert list(pictures.PICTURES["first-layer weights"](scene))
        assert capsys.readouterr().err == ""

    def test_a_full_disk_ends_the_run(self, monkeypatch):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("torch.utils.tensorboard.writer.FileWriter.add_summary", full)
        with pytest.raises(OSError, match="No space left"):
            fit(NumPyMLP([]), Pictures())

    def test_of_two_processes_the_first_one_draws(self):
        command = [*FIT, "--model=CNN", "--trainer.max_epochs=2", "--data.val_size=41"]
        command += ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
        done = forked.run(*command)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        (run,) = Path("runs").glob("*/*")
        found = drawn(run)
        assert found.keys() >= ALWAYS | {"images/class_activation"}
        assert [*found["images/class_activation"]] == [1, 2]
