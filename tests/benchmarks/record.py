"""A training step of a record recipe beside one of its author's script: seconds, and losses.

The script is no part of this project: whoever asks names a file. Its own `main` runs, with a loader in place of its own
that hands out this project's batches, and lets this project take its turn in between. Both start from the same weights,
see the same batches of drawn images, and compute in float32 on the CPU, where they can be compared to the last bits;
the script is made for GPUs and half precision, and a few words of it are changed for that. Both take the learning rates
of the start of a step, as the script does; `fit` takes those of its middle.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from datamodules.cifar10 import CIFAR10DataModule
from datamodules.errors import InputError
from datamodules.loading import Batch, EpochSampler
from tests.benchmarks.stopwatch import Stopwatch
from zoo.core import torch_optimizers
from zoo.core.schedules import Linear
from zoo.models.speedrun_net import SpeedrunNet
from zoo.runs import configs
from zoo.training.callbacks.lookahead import Lookahead

REPOSITORY, COMMIT = "https://github.com/KellerJordan/cifar10-airbench", "f1c599c"
# The recipes by their scripts' SHA-256 at that commit: no other file is run.
RECIPES = {
    "704e29251a5207d8aed8a35adf13f772ff386b90a712aaddc2a28854385b536e": "speedrun94",  # airbench94_muon.py
    "8fca347ff6e17dae2e34501724c3ddd901d620ed9f6b2d04d5d1b339488a59ee": "speedrun95",  # legacy/airbench95.py
    "fef298f48d9b629a6454b9c5e84cca95ccfa7fc6450057cc4131811d2ed49c88": "speedrun96",  # legacy/airbench96.py
}
# What the scripts have for a GPU and half precision; and their own file is that of no command.
REPLACED = {
    ".half()": ".float()",
    ".cuda()": "",
    "G.bfloat16()": "G.clone()",
    "@torch.compile": "",
    "torch.cuda.": "cuda.",
    "open(sys.argv[0])": "open(__file__)",
}
# Batches of an epoch: with twenty, the rates turn at a whole step, and no script has to round.
EPOCH = 20
STEPS_IN_A_TURN = 3
OURS, THEIRS = "step of this project", "step of the script"
COMPARISONS = [(OURS, THEIRS)]
TITLE = f"training steps of a record recipe and of its author's script, float32, cpu, {torch.get_num_threads()} threads"


class EndOfTurns(Exception):
    """Ends the training of a script."""


def measure(rounds: int, images: int, script: Path) -> Stopwatch:
    """Let the script and this project take turns, `rounds` times after a first time that does not count.

    Args:
        rounds: how many turns each has, of three steps.
        images: that the seconds are for.
        script: of the author; see `recipe_of`.

    Returns:
        The seconds that each takes for `images` images, and a note on how far apart their losses are.
    """
    recipe = Recipe(recipe_of(script))
    stopwatch = Stopwatch(images)
    ours: list[float] = []
    theirs: list[float] = []

    def turns(network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        copy_weights(recipe.model.net, network)
        logits: list[Tensor] = []
        network.register_forward_hook(lambda network, inputs, output: logits.append(output.detach()))
        for _ in range(rounds + 1):
            batches = [next(recipe.batches) for _ in range(STEPS_IN_A_TURN)]
            # The script normalizes all images at the start of an epoch, this project's step those of its batch.
            normalized = [(recipe.model.normalize(batch.images), batch.labels) for batch in batches]
            start = time.perf_counter()
            yield from normalized
            between = time.perf_counter()
            ours.extend(recipe.step(batch) for batch in batches)
            end = time.perf_counter()
            theirs.extend(
                recipe.model.loss(answer, batch.labels).item() for answer, batch in zip(logits, batches, strict=True)
            )
            logits.clear()
            share = images / sum(len(batch.labels) for batch in batches)
            stopwatch.add(THEIRS, (between - start) * share)
            stopwatch.add(OURS, (end - between) * share)
        raise EndOfTurns

    train(script, turns)
    stopwatch.drop_warm_up()
    apart = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    stopwatch.notes.append(f"losses of {len(ours)} steps: largest relative difference {apart:.1e}")
    return stopwatch


def recipe_of(script: Path) -> str:
    """Return the name of the recipe that a script is for.

    Raises:
        InputError: where it cannot be read, or is none of the scripts that are known.
    """
    try:
        digest = hashlib.sha256(script.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"--script {script} cannot be read: {error.strerror}") from error
    if digest not in RECIPES:
        names = "airbench94_muon.py, legacy/airbench95.py or legacy/airbench96.py"
        raise InputError(f"--script {script} is another file than {names} of {REPOSITORY} at commit {COMMIT}")
    return RECIPES[digest]


class _Model(SpeedrunNet):
    """A network that knows how long its training is without a trainer."""

    steps: int

    def training_steps(self) -> float:
        return self.steps

    def fraction_done(self, step: int) -> float:
        return step / self.steps


class Recipe:
    """Training steps of a recipe in a bare loop.

    Args:
        name: of its config.

    Attributes:
        model: with the whitening of the drawn images.
        batches: of drawn images, without end.
    """

    def __init__(self, name: str) -> None:
        config = configs.read(configs.find(name))
        batch_size = config["data"]["batch_size"]
        self.data = CIFAR10DataModule(**config["data"], source="synthetic", train_size=4 * batch_size)
        self.data.setup("fit")
        assert self.data.train is not None
        self.model = _Model(**config["model"]["init_args"])
        self.model.label_smoothing = config["label_smoothing"]
        self.model.configure_model()
        self.model.whiten(self.data.train)
        self.model.steps = config["trainer"]["max_epochs"] * EPOCH
        self.model.lr_schedule = Linear(**config["lr_schedule"]["init_args"])
        optimizer = getattr(torch_optimizers, config["optimizer"]["class_path"].rpartition(".")[2])
        self.optimizer = optimizer(self.model.parameter_groups(), **config["optimizer"]["init_args"])
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.lookahead = Lookahead() if config["trainer"].get("callbacks") else None
        self.trainer: Any = SimpleNamespace(global_step=0)
        self.batches = self._batches()

    def _batches(self) -> Iterator[Batch]:
        loader = self.data.train_dataloader()
        for epoch in range(self.model.steps):
            cast(EpochSampler, loader.sampler).set_epoch(epoch)
            yield from loader

    def step(self, batch: Batch) -> float:
        """Return the mean loss of a batch, after a step with it."""
        if self.lookahead is not None and self.trainer.global_step == 0:
            self.lookahead.on_train_start(self.trainer, self.model)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.model.lr_factor(group, self.trainer.global_step)
        loss = self.model.training_step(batch, 0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.trainer.global_step += 1
        if self.lookahead is not None:
            self.lookahead.on_train_batch_end(self.trainer, self.model)
        return loss.item() / len(batch.labels)


def train(script: Path, turns: Callable[[nn.Module], Iterator[tuple[Tensor, Tensor]]]) -> None:
    """Let a script train on the batches that `turns` hands out for its network, until that raises `EndOfTurns`."""
    text = script.read_text(encoding="utf-8")
    for word, replacement in REPLACED.items():
        text = text.replace(word, replacement)

    class Loader:
        """What the script asks of its own."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.images, self.labels = torch.rand(100, 3, 32, 32), torch.zeros(100, dtype=torch.int64)

        def normalize(self, images: Tensor) -> Tensor:
            return images

        def __len__(self) -> int:
            return EPOCH

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return turns(network)

    def event(**kwargs: Any) -> Any:
        return SimpleNamespace(record=lambda: None, elapsed_time=lambda other: 0.0)

    cuda = SimpleNamespace(Event=event, synchronize=lambda: None)
    names: dict[str, Any] = {"__name__": script.stem, "__file__": str(script), "cuda": cuda}
    cudnn_benchmark = torch.backends.cudnn.benchmark
    try:
        exec(compile(text, script, "exec"), names)
        names["CifarLoader"] = Loader
        if "CifarNet" in names:
            network = names["CifarNet"]().to(memory_format=torch.channels_last)
            names["main"](0, network)
        else:
            network = names["make_net"]()
            names["make_net"] = lambda: network
            names["main"](0)
    except EndOfTurns:
        pass
    finally:
        torch.backends.cudnn.benchmark = cudnn_benchmark


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy weights and running statistics between networks that have the same layers of each kind in the same order."""
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        layers, others = ([layer for layer in net.modules() if isinstance(layer, kind)] for net in (source, target))
        for layer, other in zip(layers, others, strict=True):
            for name, tensor in other.state_dict().items():
                tensor.copy_(layer.state_dict()[name])
