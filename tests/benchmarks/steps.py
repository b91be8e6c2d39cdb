"""A training step of the convolutional networks: as `fit` takes it, with one thing changed, and what would be fastest.

A step is forward, loss, backward and update, in a bare loop on one batch of bytes. Beside it: the convolutions and
matrix products of the network alone, forward and backward, without anything in between. And two yardsticks, each
scaled to as many operations: what the machine does at its best in products of large matrices, and in a large
convolution. Neither is a bound: which of them is faster differs from machine to machine.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from datamodules.errors import InputError
from tests.benchmarks.stopwatch import Contestant, Stopwatch
from zoo.core.devices import synchronize
from zoo.core.torch_classifier import TorchClassifier
from zoo.models.cnn import CNN, ImprovedCNN
from zoo.runs import configs
from zoo.training import compilation


class Subject(NamedTuple):
    """A model, its config, and how many steps a turn has."""

    model: type[TorchClassifier]
    config: str
    steps: int

    @property
    def data(self) -> dict[str, Any]:
        """The config's options of the data, as batch size and crops."""
        return configs.read(configs.find(self.config))["data"]

    @property
    def batch_size(self) -> int:
        """The images of a step."""
        return self.data["batch_size"]

    @property
    def images_of_a_turn(self) -> int:
        """The images of all steps of a turn."""
        return self.steps * self.batch_size


@contextmanager
def _tf32_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Variant(NamedTuple):
    """What is different from the step of `fit`.

    Attributes:
        memory_format: of the weights, and of what the network gets.
        optimizer: further arguments of AdamW.
        dtype: of convolutions and matrix products, by autocast; with float16 the loss is scaled.
        compile_mode: of `torch.compile`.
        switches: what is switched on during the step.
    """

    memory_format: torch.memory_format = torch.channels_last
    optimizer: Mapping[str, Any] = {}
    dtype: torch.dtype | None = None
    compile_mode: str | None = None
    switches: Callable[[], AbstractContextManager[Any]] = nullcontext


SUBJECTS = (Subject(ImprovedCNN, "improved_cnn", 4), Subject(CNN, "cnn", 40))
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
VARIANTS = {
    "contiguous memory": Variant(memory_format=torch.contiguous_format),
    "fused AdamW": Variant(optimizer={"fused": True}),
    "bfloat16": Variant(dtype=torch.bfloat16),
    "compiled": Variant(compile_mode="default"),
}
if DEVICE.type == "cuda":
    VARIANTS |= {
        "float16": Variant(dtype=torch.float16),
        "TF32 products": Variant(switches=_tf32_products),
        "cudnn.benchmark": Variant(switches=lambda: torch.backends.cudnn.flags(enabled=True, benchmark=True)),
        "compiled, CUDA graphs": Variant(compile_mode="reduce-overhead"),
    }
ALONE = "its convolutions and products alone"
PRODUCTS, CONVOLUTION = "as many operations in products of large matrices", "as many operations in a large convolution"
PRODUCT_SIZE = 2048  # rows and columns
CONVOLUTION_IMAGES, CONVOLUTION_CHANNELS, CONVOLUTION_SIDE = 64, 256, 16
AT_ONCE = 1 if DEVICE.type == "cpu" else 100  # a GPU has done one before it could be timed
TITLE = f"training steps from bytes in memory, AdamW, float32, {DEVICE.type}, {torch.get_num_threads()} threads"


def _name(model: type[TorchClassifier], variant: str = "") -> str:
    return f"{model.__name__}, {variant}" if variant else model.__name__


COMPARISONS = [(_name(subject.model, variant), _name(subject.model)) for subject in SUBJECTS for variant in VARIANTS]
COMPARISONS += [
    (_name(subject.model), _name(subject.model, other))
    for subject in SUBJECTS
    for other in (ALONE, PRODUCTS, CONVOLUTION)
]


def measure(rounds: int, images: int) -> Stopwatch:
    """Let all contestants take turns, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has.
        images: that the seconds are for.

    Returns:
        The seconds that each takes for `images` images, and its operations.
    """
    stopwatch = Stopwatch(images)
    contestants: dict[str, Contestant] = {}
    compiles = can_compile()
    for subject in SUBJECTS:
        model, batch = subject.model, noise(subject.batch_size)
        of_subject = {_name(model): steps(model(), *batch, subject.steps)}
        for name, variant in VARIANTS.items():
            if variant.compile_mode is None or compiles:
                of_subject[_name(model, name)] = steps(model(), *batch, subject.steps, variant)
            else:
                stopwatch.missing[_name(model, name)] = "torch.compile does not work here"
        operations = operations_of_step(model(), *batch)
        of_subject[_name(model, ALONE)] = operations_alone(model(), *batch, subject.steps)
        of_subject[_name(model, PRODUCTS)] = large_products(operations)
        of_subject[_name(model, CONVOLUTION)] = large_convolution(operations)
        stopwatch.operations |= dict.fromkeys(of_subject, operations)
        contestants |= of_subject
    stopwatch.turns(contestants, rounds)
    return stopwatch


def can_compile() -> bool:
    """Return whether this machine has the compiler that torch.compile needs."""
    try:
        compilation.check_compiler(DEVICE)
    except InputError:
        return False
    return True


def noise(n: int) -> tuple[Tensor, Tensor]:
    """Return images, uint8 (n, 3, 32, 32), in the memory order of the loader's, and labels, int64 (n,)."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (n,), generator=generator)
    return pixels.to(DEVICE).permute(0, 3, 1, 2), labels.to(DEVICE)


def steps(
    model: TorchClassifier, images: Tensor, labels: Tensor, count: int, variant: Variant | None = None
) -> Contestant:
    """Return some steps of a model in a bare loop: forward, loss, backward, update.

    Args:
        model: it moves to where the images are.
        images: a batch, uint8 (n, 3, 32, 32).
        labels: int64 (n,).
        count: how many steps a turn has.
        variant: what is different; None takes them as `fit` does.
    """
    variant = variant or Variant()
    device = images.device
    model.to(device)
    model.net.to(memory_format=variant.memory_format)
    if variant.memory_format is torch.contiguous_format:
        # A convolution goes by its input, too, and `normalize` returns channels_last.
        model.net.register_forward_pre_hook(lambda net, inputs: (inputs[0].contiguous(),))
    if variant.compile_mode is not None:
        model.net.compile(mode=variant.compile_mode, dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), **variant.optimizer)
    # Where it is not enabled, it hands on what it gets.
    scaler = torch.amp.GradScaler(device.type, enabled=variant.dtype is torch.float16)

    def run() -> float:
        with variant.switches():
            for _ in range(count):
                with torch.autocast(device.type, variant.dtype, enabled=variant.dtype is not None):
                    loss = model.loss(model(images), labels)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        synchronize(device)
        return count * len(labels)

    return run


def operations_of_step(model: TorchClassifier, images: Tensor, labels: Tensor) -> float:
    """Return how many floating-point operations the convolutions and products of a step have for each image."""
    model.to(images.device)
    with FlopCounterMode(display=False) as counter:
        model.loss(model(images), labels).backward()
    return counter.get_total_flops() / len(labels)


def operations_alone(model: TorchClassifier, images: Tensor, labels: Tensor, count: int) -> Contestant:
    """Return the convolutions and dense layers of as many steps, one by one, forward and backward."""
    model.to(images.device)
    model.configure_model()
    inputs: list[tuple[nn.Module, Tensor]] = []
    layers = [layer for layer in model.net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [
        layer.register_forward_pre_hook(lambda layer, given: inputs.append((layer, given[0].detach().clone())))
        for layer in layers
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    # Nothing is to be learnt about the pixels.
    learning = [(layer, x.requires_grad_(k > 0)) for k, (layer, x) in enumerate(inputs)]
    gradients = [torch.ones_like(layer(x)) for layer, x in learning]

    def run() -> float:
        for _ in range(count):
            for (layer, x), gradient in zip(learning, gradients, strict=True):
                x.grad = None
                layer.zero_grad()
                layer(x).backward(gradient)
        synchronize(images.device)
        return count * len(labels)

    return run


def large_products(operations: float) -> Contestant:
    """Return products of two large matrices, which count as so many images with `operations` each."""
    a, b = torch.rand(2, PRODUCT_SIZE, PRODUCT_SIZE, device=DEVICE)
    return _yardstick(lambda: a @ b, operations)


def large_convolution(operations: float) -> Contestant:
    """Return a large 3 x 3 convolution, forward, in channels_last memory; see `large_products`."""
    channels, side = CONVOLUTION_CHANNELS, CONVOLUTION_SIDE
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=DEVICE).requires_grad_(False)
    layer.to(memory_format=torch.channels_last)
    x = torch.rand(CONVOLUTION_IMAGES, channels, side, side, device=DEVICE).to(memory_format=torch.channels_last)
    return _yardstick(lambda: layer(x), operations)


def _yardstick(compute: Callable[[], Tensor], operations: float) -> Contestant:
    with FlopCounterMode(display=False) as counter:
        compute()
    images = AT_ONCE * counter.get_total_flops() / operations

    def run() -> float:
        for _ in range(AT_ONCE):
            compute()
        synchronize(DEVICE)
        return images

    return run
