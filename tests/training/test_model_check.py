"""Networks that `fit` and `zoo.testing.check_model` accept or refuse."""

import copy
import random
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.ao.quantization import FakeQuantize, MovingAveragePerChannelMinMaxObserver

import cli
from datamodules.errors import InputError
from tests.helpers import MODELS
from zoo.catalogue import registry
from zoo.core.torch_classifier import TorchClassifier
from zoo.exporting import program
from zoo.interpretation import attribution, layer_outputs, pages
from zoo.testing import check_model
from zoo.training import compilation, model_checks


class Net(TorchClassifier):
    """A linear classifier."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs))


class Views(nn.Module):
    """Convolution, pooling and `view`, which needs contiguous memory; in training alone, if wanted."""

    def __init__(self, outputs: int, training_only: bool = False) -> None:
        super().__init__()
        self.features, self.classifier = nn.Sequential(nn.Conv2d(3, 6, 5), nn.MaxPool2d(4)), nn.Linear(294, outputs)
        self.training_only = training_only

    def forward(self, x):
        x = self.features(x)
        flat = x.flatten(1) if self.training_only and not self.training else x.view(x.size(0), -1)
        return self.classifier(flat)


class AsksForContiguousImages(TorchClassifier):
    memory_format: ClassVar = torch.contiguous_format

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = Views(self.num_outputs)


class Volume(TorchClassifier):
    """A parameter of five dimensions."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        convolution = nn.Conv3d(1, 4, (3, 4, 4), (1, 4, 4))
        self.net = nn.Sequential(nn.Unflatten(1, (1, 3)), convolution, nn.Flatten(), nn.Linear(256, self.num_outputs))


class Masked(Net):
    """A buffer of -inf."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))


class AuxiliaryHead(Net):
    """Returns a tuple in training, for its own training step."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.head = nn.Linear(3072, self.num_outputs)

    def forward(self, images):
        x = self.normalize(images)
        return (self.net(x), self.head(x.flatten(1))) if self.training else self.net(x)

    def training_step(self, batch, batch_idx):
        logits, further = self(batch.images)
        loss = self.loss(logits, batch.labels)
        self.count("train", logits, batch.labels, loss)
        self.log("main", loss)
        return {"loss": loss + 0.3 * self.loss(further, batch.labels)}


class AsksItsTrainer(Net):
    """Its training step cannot be tried without a trainer."""

    def training_step(self, batch, batch_idx):
        assert self.trainer.training
        return super().training_step(batch, batch_idx)


class Scripted(TorchClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(3072, self.num_outputs)))


SOUND = (AsksForContiguousImages, Volume, Masked, AuxiliaryHead, AsksItsTrainer, Scripted)


@pytest.mark.parametrize("model", SOUND)
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_sound_networks_are_trained(model):
    check_model(model)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_told_where_it_does_not_serve():
    model, images = Scripted(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert layer_outputs.names(model) == []
    for method in ("features", "neighbours"):
        assert "outside TorchScript" in str(pages.misfit(model, method, None))
    assert attribution.saliency(model.eval(), images, torch.tensor([0])).shape == (1, 32, 32)
    with pytest.raises(InputError, match="--compile=true: Scripted has modules of TorchScript"):
        compilation.check_model(model)
    with pytest.raises(InputError, match="Scripted cannot be made a program of its own"):
        program.capture(model)
    torch.testing.assert_close(copy.deepcopy(model)(images), model(images))


def test_images_come_in_the_memory_format_of_the_class():
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    fast, plain = Net(), AsksForContiguousImages()
    assert fast.normalize(images).is_contiguous(memory_format=torch.channels_last)
    assert plain.normalize(images).is_contiguous()
    assert torch.equal(fast.normalize(images), plain.normalize(images))
    for model, memory_format in ((plain, torch.contiguous_format), (registry.load("CNN")(), torch.channels_last)):
        model.configure_model()
        weights = [p for p in model.parameters() if p.ndim == 4]
        assert weights
        assert all(weight.is_contiguous(memory_format=memory_format) for weight in weights)


# Unsound ones.


class ViewsInTraining(TorchClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = Views(self.num_outputs, training_only=True)


class ViewsAlways(TorchClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = Views(self.num_outputs)


class TupleInTraining(Net):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class TupleAlways(Net):
    def forward(self, images):
        return (super().forward(images),)


class ChangesInPlace(Net):
    def forward(self, images):
        squashed = torch.sigmoid(super().forward(images))  # this line is told
        squashed += 1
        return squashed * 2


class Detached(Net):
    def forward(self, images):
        return super().forward(images).detach()


class SqueezesABatchOfOne(Net):
    def forward(self, images):
        return super().forward(images).squeeze()


class Versioned(nn.Linear):
    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        pass


class KeepsMoreThanTensors(TorchClassifier):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Flatten(), Versioned(3072, self.num_outputs))


class KeepsASparseTensor(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.register_buffer("graph", torch.eye(3).to_sparse())


class Resizes(TorchClassifier):
    """Fake quantization, whose observer learns the number of channels."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        quantize = FakeQuantize(
            MovingAveragePerChannelMinMaxObserver,
            -128,
            127,
            dtype=torch.qint8,
            qscheme=torch.per_channel_symmetric,
            ch_axis=1,
        )
        self.net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), quantize, nn.Flatten(), nn.Linear(512, self.num_outputs))


class CannotLoad(Net):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.register_load_state_dict_pre_hook(self._refuse)

    def _refuse(self, module, state_dict, *args):
        raise RuntimeError("an older version\nof this class")


class BuiltOnce(Net):
    builds = 0

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        type(self).builds += 1
        if self.builds > 1:
            raise RuntimeError("not twice")


UNSOUND = {
    ViewsAlways: r"cannot classify an image \(test_model_check.py, line \d+\): RuntimeError: view .* in the class",
    ViewsInTraining: r"cannot be trained: RuntimeError: view size .*; the images lie in channels_last memory: set "
    r"memory_format = torch.contiguous_format in the class, or use .* \(test_model_check.py, line \d+\)$",
    TupleInTraining: "forward returns a tuple in training mode, expected logits",
    TupleAlways: "returns a tuple for two images",
    ChangesInPlace: r"cannot be trained: RuntimeError: .* modified by an inplace operation.* \(test_model_check.py, ",
    Detached: "cannot be trained: RuntimeError: element 0 of tensors does not require grad",
    SqueezesABatchOfOne: r"returns \(10,\) for one image, expected \(1, 10\)",
    KeepsMoreThanTensors: r"state_dict holds a dict \('net.1._extra_state'\)",
    KeepsASparseTensor: r"state_dict holds a torch.sparse_coo tensor \('graph'\)",
    Resizes: r"changes 'net.1.scale' from \(1,\) to \(8,\) when it sees images",
    CannotLoad: "a checkpoint of CannotLoad could not be read again .*: RuntimeError: an older version of this class",
    BuiltOnce: "BuiltOnce cannot be built a second time from its arguments: RuntimeError: not twice",
}


@pytest.mark.parametrize("model", UNSOUND)
def test_unsound_networks_are_told_in_a_line(model):
    BuiltOnce.builds = 0
    with pytest.raises(InputError, match=UNSOUND[model]) as caught:
        model_checks.check(model())
    assert "\n" not in str(caught.value)


def test_the_line_of_an_in_place_change_is_told():
    lines = Path(__file__).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if line.endswith("# this line is told"))
    with pytest.raises(InputError, match=rf"\(test_model_check.py, line {number}\)$"):
        model_checks.check(ChangesInPlace())


@pytest.mark.parametrize("model", UNSOUND)
def test_check_model_fails_what_fit_refuses(model):
    BuiltOnce.builds = 0
    with pytest.raises(AssertionError) as caught:
        check_model(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_the_check_leaves_no_trace(name):
    def chance() -> tuple[float, ...]:
        return random.random(), torch.rand(()).item()

    random.seed(0), torch.manual_seed(0)
    expected = chance()
    model = registry.load(name)()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random.seed(0), torch.manual_seed(0)
    model_checks.check(model)
    assert chance() == expected
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
    assert not model.metrics["train_metrics"].confusion.any()


TINY = ["--config", "synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]


@pytest.mark.parametrize("model", [ViewsInTraining, TupleInTraining, Resizes, KeepsMoreThanTensors])
def test_fit_refuses_before_it_makes_a_run(model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "nets_of_others", sys.modules[__name__])
    assert cli.main(["fit", "--model", f"nets_of_others.{model.__name__}", *TINY]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {model.__name__}")
    assert len(error.splitlines()) == 1
    assert not Path("runs").exists()
