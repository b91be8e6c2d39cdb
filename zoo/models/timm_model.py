"""The networks of timm, by name."""

from typing import Any, ClassVar

from torch import nn

from datamodules.errors import InputError
from zoo.core.about import About
from zoo.models.wrapped import ForeignNetwork, Option, check_name


class TimmModel(ForeignNetwork):
    """Any network of timm, by its name: 4,927,618 parameters with the default, a residual network of ten layers.

    timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models) has more than a thousand networks for
    ImageNet. Its page on each names the paper. `python cli.py list --all timm` prints the names:

        python cli.py fit --model TimmModel --model.name convnext_atto --model.options '{drop_path_rate: 0.1}'
        python cli.py info TimmModel --model.name convnext_atto

    The network gets the number of outputs as num_classes, the channels as in_chans, and the size of the images as
    img_size if it takes that. Most networks are made for images of 224 x 224 pixels: `resize` enlarges smaller ones.

    Args:
        name: of the network, perhaps with the tag of its pretrained weights: resnet18, resnet18.a1_in1k.
        options: further arguments of it: numbers, strings, or lists of them.
        resize: height and width to which images are resized, bilinearly, before the network gets them.
        pretrained: start from timm's weights, and normalize images as these need it. They are downloaded once. A
            checkpoint has the weights that were trained from them, and no longer needs them.
    """

    about: ClassVar[About] = About(
        family="any",
        paper="https://github.com/huggingface/pytorch-image-models",
        config="timm",
        tags=("torch", "wrapped"),
    )

    def __init__(
        self,
        name: str = "resnet10t",
        options: dict[str, Option] | None = None,
        resize: int | None = None,
        pretrained: bool = False,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        self.set_resize(resize)
        timm = _timm()
        check_name(name, names(), "timm")

        def make(size: int, **arguments: Any) -> nn.Module:
            try:
                return timm.create_model(name, pretrained, **arguments, img_size=size)
            except TypeError as error:
                if "'img_size'" not in str(error):
                    raise
            return timm.create_model(name, pretrained, **arguments)

        self.net = self.build(make, options, follows=["img_size"], num_classes=self.num_outputs, in_chans=channels)
        facts: Any = self.net.pretrained_cfg
        if isinstance(facts.get("classifier"), str):
            self.head = f"net.{facts['classifier']}"
        if pretrained:
            self.start_from_pretrained(facts["mean"], facts["std"])

    @property
    def network_name(self) -> str:
        return f"timm's {self.hparams['name']}"


def names() -> list[str]:
    """Return the names of timm's networks, without and with the tags of their pretrained weights."""
    timm = _timm()
    return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"timm cannot be imported ({error}): pip install 'cifar10-zoo[timm]'") from error
    return timm
