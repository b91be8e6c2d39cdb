"""`Wrapped`: any `nn.Module` as a model of the zoo; and the base of all models whose network comes from elsewhere."""

import inspect
import re
import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from statistics import fmean
from typing import Any, ClassVar

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.errors import InputError, did_you_mean, one_line
from zoo.core.about import About, ImportPath
from zoo.core.torch_classifier import TorchClassifier

# Values of options are plain. `Any` would not do: jsonargparse imports what a class_path in such a value names.
Entry = bool | int | float | str | None
Option = Entry | list[Entry | list[Entry]] | dict[str, Entry]
NO_NET = ImportPath("")
# Arguments of a network that follow from the data.
CHANNELS, IMAGE_SIZE = ("channels", "in_channels", "in_chans"), ("image_size", "img_size")
SIZES = (64, 96, 128, 160, 192, 224, 256, 299, 384)  # that an error may suggest for --model.resize
LOADING = ("pretrained", "weights", "checkpoint_path", "cache_dir")  # how options begin that would load files
LONGEST = 300  # characters of an error
LARGEST = 1024  # of --model.resize: a stranger's checkpoint must not use up the memory


class ForeignNetwork(TorchClassifier):
    """A model whose network is the code of others. A subclass builds it with `build`.

    Attributes:
        resize: height and width to which images are resized after normalization; None leaves them as they are.
        starved_layer: the first layer that looks at several pixels, and gets maps of a single one; "" without one.
    """

    resize: int | None = None
    starved_layer: str = ""

    def set_resize(self, resize: int | None) -> None:
        """Set `resize`; raise InputError unless it is None or in range."""
        if resize is not None and not 1 <= resize <= LARGEST:
            raise InputError(f"--model.resize={resize} is out of range: give a number of pixels from 1 to {LARGEST}")
        self.resize = resize

    @property
    def network_size(self) -> int:
        """Height and width of the images that the network gets."""
        return self.resize or self.image_size

    @property
    @abstractmethod
    def network_name(self) -> str:
        """Name of the network in messages."""

    def build(
        self, make: Callable[..., Any], options: dict[str, Option] | None, follows: Collection[str] = (), **given: Any
    ) -> nn.Module:
        """Return the network that `make` builds from the size of its images, the options, and the arguments `given`.

        Raises:
            InputError: if an option is in `given` or `follows`, or would load weights or files; if `make` fails; or if
                the images are too small for the network.
        """
        options = options or {}
        for option in options:
            if not isinstance(option, str):
                raise InputError(f"--model.options: the name {option} is not a string")
            if option in given or option in follows:
                raise InputError(f"--model.options: {option} follows from other options: leave it out")
            if option.startswith(LOADING):
                raise InputError(f"--model.options: {option} would load weights or other files: leave it out")
        size, network = self.network_size, None

        def make_sized(size: int) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries, about their own future
                return make(size, **given, **options)

        try:
            network = make_sized(size)
            if not isinstance(network, nn.Module):
                raise InputError(f"{self.network_name} returns a {type(network).__name__}, expected an nn.Module")
            self.starved_layer = self._starved_layer(network, size)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # the code of others can raise anything
            if problem := _unknown_option(error, partial(make, size, **given)):
                raise InputError(f"{self.network_name} {problem}") from error
            if larger := self._larger_size(make_sized):
                problem = f"cannot take images of {size} x {size} pixels ({cause(error)})"
                raise InputError(f"{self.network_name} {problem}: --model.resize {larger} enlarges them") from error
            if network is None:
                told = " with pretrained weights" if self.hparams.get("pretrained") else ""
                told += f" with the options {options}" if options else ""
                raise InputError(f"{self.network_name} cannot be built{told}: {cause(error)}") from error
        return network  # if it cannot classify images of any size, whoever uses it tells more

    def _larger_size(self, make_sized: Callable[[int], nn.Module]) -> int | None:
        """Return the smallest size of images with maps of several pixels; None if larger images are no remedy."""
        for size in SIZES:
            with suppress(Exception, SystemExit):
                if size > self.network_size and not self._starved_layer(make_sized(size), size):
                    return size
        return None

    def _starved_layer(self, network: nn.Module, size: int) -> str:
        """Return the first layer that looks at several pixels, and gets maps of a single one; "" if there is none.

        Raises:
            Exception: of any kind, if the network cannot classify an image of `size`.
        """
        starved: list[str] = []

        def look(module: nn.Module, inputs: tuple[Any, ...], name: str) -> None:
            if inputs[0].shape[2:] == (1, 1) and _reach(module) > 1:
                starved.append(name)

        modes = {module: module.training for module in network.modules()}
        handles = [
            module.register_forward_pre_hook(partial(look, name=name))
            for name, module in network.named_modules()
            if isinstance(module, nn.Conv2d | nn.AdaptiveAvgPool2d)
        ]
        channels = self.prepare(torch.zeros(1, self.channels, self.image_size, self.image_size)).shape[1]
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                network.eval()(torch.zeros(1, channels, size, size))
        finally:
            for handle in handles:
                handle.remove()
            for module, training in modes.items():
                module.training = training
        return next(iter(starved), "")

    def start_from_pretrained(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalize images as pretrained weights need it; a gray image by the means of the three values."""
        self.hparams["pretrained"] = False  # a checkpoint has the weights, and needs no others
        if self.channels != len(mean):
            mean, std = [fmean(mean)] * self.channels, [fmean(std)] * self.channels
        self.keep_normalization(mean, std)

    def logits(self, inputs: Tensor) -> Tensor:
        return self.net(self.prepare(inputs))

    def prepare(self, images: Tensor) -> Tensor:
        """Return normalized images as the network gets them: bilinearly resized, antialiased if that shrinks them."""
        if self.resize is None:
            return images
        shrinks = self.resize < self.image_size
        return F.interpolate(images, (self.resize, self.resize), mode="bilinear", antialias=shrinks)

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Note if the images are so small that a layer of the network sees a single pixel of them."""
        super().check_trainer(trainer)
        if not self.starved_layer or not trainer.is_global_zero:
            return
        size, larger = self.network_size, self._larger_size(lambda size: self.net)
        remedy = f": --model.resize {larger} enlarges them" if larger else ""
        problem = f"makes maps of 1 x 1 pixel of images of {size} x {size}, before the layer {self.starved_layer}"
        print(f"note: {self.network_name} {problem}{remedy}", file=sys.stderr)


def _reach(module: nn.Module) -> int:
    """Return how many pixels a convolution looks at in a row, or how many an adaptive pooling returns."""
    size: Any = module.kernel_size if isinstance(module, nn.Conv2d) else module.output_size
    return max(value or 1 for value in (size if isinstance(size, tuple) else (size,)))


def _unknown_option(error: BaseException, make: Callable[[], Any]) -> str:
    """Return that an option is unknown, with the nearest argument of the network's class; "" for another error."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown is None:
        return ""
    hint = ""
    with suppress(Exception, SystemExit):  # it cannot be built without options
        hint = did_you_mean(unknown[1], inspect.signature(type(make())).parameters)
    return f"has no option '{unknown[1]}'.{hint}".removesuffix(".")


def check_name(name: str, known: Collection[str], library: str) -> None:
    """Raise InputError, with the nearest name, unless a library has a network of that name."""
    if name in known:
        return
    if re.search("[:/\\\\]", name):
        why = "a hub or a folder, which may hold code and other weights"
        raise InputError(f"--model.name={name} names {why}: give the name of a network of {library}")
    listed = f"python cli.py list --all {library} prints the names"
    raise InputError(f"--model.name={name}: {library} has no such network.{did_you_mean(name, known)} {listed}")


def cause(error: BaseException) -> str:
    text = one_line(error)
    return f"{type(error).__name__}: {text if len(text) <= LONGEST else f'{text[:LONGEST]} ...'}"


class Wrapped(ForeignNetwork):
    """Any network of PyTorch: a class or a function of your own that makes an `nn.Module`.

    The network maps normalized images, float (n, channels, size, size), to logits, float (n, outputs):

        python cli.py fit --model Wrapped --model.net my_module.MyNet

    It is called with the options, and with those of these arguments that its signature names:

        num_classes                        outputs: 1 for two classes, else one for each class
        channels, in_channels, in_chans    channels of an image
        image_size, img_size               height and width of the images that it gets, after resizing

    Whoever uses a checkpoint names the network again, since a file must not choose code to run:

        python cli.py test --ckpt best --model.net my_module.MyNet

    Args:
        net: the dotted path of the class or the function.
        options: further arguments of it: numbers, strings, or lists of them.
        resize: height and width to which images are resized, bilinearly, before the network gets them.
    """

    about: ClassVar[About] = About(
        family="any", paper="https://docs.pytorch.org/docs/stable/nn.html", tags=("torch", "wrapped")
    )
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format  # for any code, such as `view`

    def __init__(
        self,
        net: ImportPath = NO_NET,
        options: dict[str, Option] | None = None,
        resize: int | None = None,
        num_classes: int = 10,
        channels: int = 3,
        image_size: int = 32,
    ) -> None:
        super().__init__(num_classes, channels, image_size)
        self.set_resize(resize)
        function = _imported(net)
        try:
            names = inspect.signature(function).parameters
        except (TypeError, ValueError) as error:
            raise InputError(f"--model.net={net} is not a class or a function: {error}") from error
        known = {"num_classes": self.num_outputs} | dict.fromkeys(CHANNELS, channels)

        def make(size: int, **arguments: Any) -> Any:
            return function(**arguments, **{name: size for name in IMAGE_SIZE if name in names})

        given = {name: value for name, value in known.items() if name in names}
        self.net = self.build(make, options, follows=IMAGE_SIZE, **given)

    @property
    def network_name(self) -> str:
        return f"the network {self.hparams['net']}"


def _imported(path: ImportPath) -> Any:
    """Import and return what a path names."""
    if not path:
        raise InputError("Wrapped needs a network: name a class or a function by --model.net, such as my_module.MyNet")
    module, _, name = path.rpartition(".")
    if not module:
        raise InputError(f"--model.net={path} has no module: give a dotted path, such as my_module.{path}")
    try:
        found = import_module(module)
    except (Exception, SystemExit) as error:  # the code of others can raise anything
        raise InputError(f"--model.net={path} cannot be imported: {cause(error)}") from error
    if not hasattr(found, name):
        raise InputError(f"--model.net={path}: {module} has no '{name}'.{did_you_mean(name, vars(found))}")
    return getattr(found, name)
