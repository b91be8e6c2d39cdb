"""The networks of torchvision, by name."""

import inspect
import sys
from collections.abc import Collection
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any, ClassVar

from torch import Tensor, nn

from datamodules.errors import InputError, did_you_mean
from zoo.core.about import About
from zoo.models.wrapped import LOADING, ForeignNetwork, Option, cause, check_name


class TorchvisionModel(ForeignNetwork):
    """Any classification network of torchvision, by its name: 352,042 parameters with the default, ShuffleNetV2.

    torchvision (https://docs.pytorch.org/vision/stable/models.html) has eighty networks for ImageNet. Its page on each
    names the paper. `python cli.py list --all torchvision` prints the names:

        python cli.py fit --model TorchvisionModel --model.name regnet_y_400mf
        python cli.py info TorchvisionModel --model.name regnet_y_400mf

    The network gets the number of outputs as num_classes. A gray image is shown to it in three equal channels. Most
    networks are made for images of 224 x 224 pixels: `resize` enlarges smaller ones. The auxiliary outputs of GoogLeNet
    and Inception are left out.

    Args:
        name: of the network.
        options: further arguments of it: numbers, strings, or lists of them.
        resize: height and width to which images are resized, bilinearly, before the network gets them.
        pretrained: start from torchvision's best weights, with a new last layer, and normalize images as these need
            it. They are downloaded once. A checkpoint has the weights that were trained from them, and no longer needs
            them.
    """

    about: ClassVar[About] = About(
        family="any",
        paper="https://docs.pytorch.org/vision/stable/models.html",
        config="torchvision",
        tags=("torch", "wrapped"),
    )

    def __init__(
        self,
        name: str = "shufflenet_v2_x0_5",
        options: dict[str, Option] | None = None,
        resize: int | None = None,
        pretrained: bool = False,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        self.set_resize(resize)
        check_name(name, names(), "torchvision")
        if channels not in (1, 3):
            raise InputError(f"{self.network_name} takes images of 1 or 3 channels, and the data have {channels}")
        from torchvision import models

        _check_options(self.network_name, options or {}, sys.modules[models.get_model_builder(name).__module__])

        def make(size: int, **arguments: Any) -> nn.Module:
            network = models.get_model(name, **arguments)
            auxiliary = getattr(network, "aux_logits", False)
            return models.get_model(name, **arguments, aux_logits=False) if auxiliary else network

        self.net = self.build(make, options, follows=["aux_logits"], num_classes=self.num_outputs)
        if pretrained:
            self._load_pretrained(models.get_model_weights(name).DEFAULT)

    def _load_pretrained(self, weights: Any) -> None:
        """Load pretrained weights into all layers but the last one, whose outputs are others."""
        try:
            with redirect_stdout(sys.stderr):  # the name of the file that is downloaded
                state = weights.get_state_dict(progress=False, check_hash=True)
        except Exception as error:  # of the network, or of the file
            raise InputError(f"the weights of {self.network_name} cannot be loaded: {cause(error)}") from error
        own = self.net.state_dict()
        kept = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
        for name, value in own.items():
            shape = tuple(state[name].shape) if name in state else "missing"
            is_head = name in state and len(value) == self.num_outputs and value.shape[1:] == state[name].shape[1:]
            if name not in kept and not is_head:
                misfit = f"{name} is {shape} there, and {tuple(value.shape)} in the network"
                raise InputError(
                    f"the weights of {self.network_name} do not fit: {misfit}; options can change a network"
                )
        own.update(kept)  # which keeps the versions of layers that a state has beside its weights
        self.net.load_state_dict(own)
        transforms = weights.transforms()
        self.start_from_pretrained(transforms.mean, transforms.std)

    @property
    def network_name(self) -> str:
        return f"torchvision's {self.hparams['name']}"

    def prepare(self, images: Tensor) -> Tensor:
        """Return normalized images as the network gets them: in three channels, and resized."""
        return super().prepare(images).expand(-1, 3, -1, -1)


def _check_options(network: str, options: Collection[str], module: ModuleType) -> None:
    """Check that the module of a network knows the options: some networks ignore others."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    known = {name for value in own if callable(value) for name in inspect.signature(value).parameters}
    for option in filter(lambda option: isinstance(option, str), options):  # `build` refuses others
        if option not in known and not option.startswith(LOADING):
            raise InputError(f"{network} has no option '{option}'.{did_you_mean(option, known)}".removesuffix("."))


def names() -> list[str]:
    """Return the names of torchvision's networks for classification."""
    from torchvision import models

    return models.list_models(module=models)
