"""`Classifier`: what every model of the zoo is, whatever computes its gradients."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.data_sets import CIFAR10
from datamodules.loading import Batch
from zoo.catalogue import registry
from zoo.core.about import About
from zoo.core.inputs import as_batch, check_images
from zoo.core.metrics import ClassificationMetrics
from zoo.core.schedules import Constant, Schedule
from zoo.runs import checkpoints
from zoo.training import run_logger
from zoo.training.run_logger import is_within_epoch

# The hook below makes batches of what any data loader yields, and leaves the data module's own batches as they are.
warnings.filterwarnings("ignore", message="You have overridden `on_before_batch_transfer` in `LightningModule` but")

Stage = Literal["train", "val", "test"]
STAGES: tuple[Stage, ...] = ("train", "val", "test")


class EveryStepLR(LambdaLR):
    """PyTorch's `LambdaLR`, for steps so small that the checks which it makes at each would take long beside them."""

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next step."""
        self.last_epoch += 1
        self._step_count += 1
        self.set_rates()

    def set_rates(self) -> None:
        """Set the learning rates of the step at hand."""
        for group, base_lr, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base_lr * factor(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class Classifier(L.LightningModule, ABC):
    """Classifies 32 x 32 colour images, given as plain uint8 pixels.

    A model of your own is a subclass of `TorchClassifier` where PyTorch differentiates it, of `NumPyClassifier` where
    `zoo.scratch` does. Metrics, evaluation, normalization, optimizer and schedule are the same for all. This is one,
    whole, in a file my_net.py:

        from torch import nn

        from zoo.testing import check_model
        from zoo.core.torch_classifier import TorchClassifier


        class MyNet(TorchClassifier):
            "A convolution in large steps, and a linear layer."

            def __init__(self, width: int = 16, num_classes: int = 10) -> None:
                super().__init__(num_classes)
                convolution, linear = nn.Conv2d(3, width, 8, stride=8), nn.Linear(width * 4 * 4, self.num_outputs)
                self.net = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), linear)


        if __name__ == "__main__":
            check_model(MyNet)

    `python my_net.py` checks it, `python cli.py fit --model my_net.MyNet` trains it. An entry point of its package
    makes it a model of the zoo, see `zoo.catalogue.registry`; tests/plugin is such a package.

    The contract, which `zoo.testing` checks as far as it can be seen from outside. A model:

    - calls `super().__init__(num_classes)` in its `__init__`, with the argument `num_classes`. All other arguments have
      types and defaults, and are numbers, texts or lists of them: configs and checkpoints keep them, to build it again.
    - gets uint8 pixels, and returns `num_outputs` logits for each image, without softmax or sigmoid. In evaluation mode
      they depend on that image alone.
    - learns in parameters that all get a gradient, or are frozen, and computes with nothing else but its arguments and
      buffers: a checkpoint and a copy know no more.
    - has a `default_optimizer` that trains it; `configure_optimizers` stays as it is.
    - tells `count` of every training batch, where it has a `training_step` of its own, and leaves logging, validation
      and test to this class. Where it computes gradients by itself, it averages them over the processes.
    - does not normalize twice, move itself to a device, or draw random numbers that PyTorch's seed does not decide.

    The optimizer and the schedule are attributes, not arguments: they say how a model is trained, not what it is.

    Args:
        num_classes: 2 to any. For two classes a network ends in a single logit, whose sigmoid is the probability of
            class 1; else in one logit for each class.

    Attributes:
        make_optimizer: builds the optimizer from the parameters, or from groups of them (`parameter_groups`).
        lr_schedule: factor of the optimizer's learning rate as a function of the fraction of training done.
        cpu_only: whether it can compute on the CPU alone.
        about: what `list` and `info` tell of it beside its code; a subclass's own, see `zoo.core.about`.
        results: what the last pass over "val" and "test" found (see `zoo.core.metrics.summarize`).
    """

    default_optimizer: ClassVar[dict[str, Any]] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}
    cpu_only: ClassVar[bool] = False
    about: ClassVar[About] = About()

    scale: Tensor
    shift: Tensor

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        # Takes the arguments of the subclass's __init__ too: it looks through the frames of all that called it.
        self.save_hyperparameters()
        self.num_classes = num_classes
        self.make_optimizer: Callable[[Any], Optimizer] = self._make_default_optimizer
        self.lr_schedule: Schedule = Constant()
        self.results: dict[str, dict[str, Any]] = {}
        self._resumed_metrics: dict[str, Tensor] | None = None
        self._resumed_epoch: tuple[int, int] | None = None
        # The current epoch, and the number of optimizer steps before it.
        self._epoch_start = (0, 0)
        self._accumulation = [(0, 1)]  # see `_accumulation_of`
        self._last_lr: float | None = None
        # A ModuleDict takes no key that is an attribute of modules, as "train" is.
        self.metrics = nn.ModuleDict({f"{stage}_metrics": ClassificationMetrics(num_classes) for stage in STAGES})
        self.example_input_array = torch.zeros(1, *CIFAR10.shape, dtype=torch.uint8)  # for the summary of the model
        mean, std = torch.tensor(CIFAR10.mean), torch.tensor(CIFAR10.std)
        self.register_buffer("scale", (1 / (255 * std)).repeat(CIFAR10.side), persistent=False)
        self.register_buffer("shift", (-mean / std).repeat(CIFAR10.side), persistent=False)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float (n, `num_outputs`), of uint8 images (n, 3, 32, 32)."""

    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        """Learn from a batch; its figures go to `count`."""

    @property
    def num_outputs(self) -> int:
        """Number of logits: 1 for two classes, else one for each."""
        return 1 if self.num_classes == 2 else self.num_classes

    def normalize(self, images: Tensor) -> Tensor:
        """Scale pixels 0..255, (n, 3, 32, 32), to 0..1 and standardize them per channel; channels_last.

        The result is float32, or what the model was cast to: (x / 255 - mean) / std, as one multiplication and one
        addition. It is done on rows of 32 pixels of 3 channels, which lie together in channels_last memory: several
        times faster than on three channels at a time.

        Raises:
            InputError: if the images are not uint8 (n, 3, 32, 32), see `zoo.core.inputs.check_images`.
        """
        check_images(images)
        side, channels = CIFAR10.side, CIFAR10.channels
        rows = images.permute(0, 2, 3, 1).reshape(-1, side * channels).to(self.scale.dtype)
        return torch.addcmul(self.shift, rows, self.scale).view(-1, side, side, channels).permute(0, 3, 1, 2)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy, a scalar, of logits (n, `num_outputs`) against labels, int64 (n,)."""
        if self.num_outputs == 1:
            return F.binary_cross_entropy_with_logits(logits.squeeze(1), labels.to(logits.dtype))
        return F.cross_entropy(logits, labels)

    def predict_classes(self, logits: Tensor) -> Tensor:
        """Return the likeliest classes, int64 (n,), of logits (n, `num_outputs`)."""
        return (logits.squeeze(1) > 0).long() if self.num_outputs == 1 else logits.argmax(1)

    def predict_probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, float (n, `num_classes`), of logits (n, `num_outputs`)."""
        if self.num_outputs == 1:
            positive = torch.sigmoid(logits)
            return torch.cat([1 - positive, positive], dim=1)
        return torch.softmax(logits, dim=1)

    # Data.

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return what a data loader yields as a `Batch`, before the trainer moves it to the device.

        Raises:
            InputError: if it is not a batch of images, see `zoo.core.inputs.as_batch`.
        """
        trainer = self._trainer
        # Lightning hands over the example inputs of its summary and its exporters, too: images alone.
        if trainer is None or batch is self.example_input_array or trainer.state.finished:
            return batch
        return as_batch(batch, needs_labels=not trainer.predicting)

    # Training.

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Look at a trainer before it starts.

        Raises:
            InputError: where the model cannot be trained as it asks to.
        """

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build the optimizer, and follow the schedule step by step."""
        optimizer = self.make_optimizer(self.parameter_groups())
        factors: list[Callable[[int], float]] = [partial(self.lr_factor, group) for group in optimizer.param_groups]
        scheduler = EveryStepLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def parameter_groups(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """Return what the optimizer gets: all parameters; or groups of those that learn.

        A group is a dictionary with its "params", and what an optimizer can make use of: "role" says what they are for
        (see `zoo.core.torch_optimizers`).
        """
        return self.parameters()

    def _make_default_optimizer(self, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> Optimizer:
        return instantiate_class(list(parameters), self.default_optimizer)

    def lr_factor(self, group: Mapping[str, Any], step: int) -> float:
        """Return the factor of a parameter group's learning rate at optimizer step `step`.

        It is the schedule's. A group with the key "ends_at", a share of the training, runs through the schedule in that
        time and stays where it ends; one with "stops_at" has rate 0 from then on.
        """
        fraction = self.fraction_done(step)
        if "stops_at" in group and fraction >= group["stops_at"]:
            return 0.0
        return self.lr_schedule(min(1.0, fraction / group.get("ends_at", 1.0)))

    def training_steps(self) -> float:
        """Return the number of optimizer steps of the whole training; infinity if the training has no end.

        Past epochs count with the steps that they had: a resumed run may have another batch size or accumulate more
        gradients. A `GradientAccumulationScheduler` gives epochs different numbers of steps, too.
        """
        trainer = self.trainer
        steps = float("inf")
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            epoch, done = self._epoch_start
            steps = done + self._steps_of_epochs(epoch, trainer.max_epochs)
        if trainer.max_steps > 0:
            steps = min(steps, trainer.max_steps)
        return steps

    def _steps_of_epochs(self, first: int, end: int) -> float:
        """Return the number of optimizer steps of the epochs `first` to `end` - 1."""
        batches, steps = self.trainer.num_training_batches, 0.0
        for start, accumulated in reversed(self._accumulation):
            if end > start:
                # The last batch of an epoch is always followed by a step.
                steps += max(0, end - max(first, start)) * -(-batches // accumulated)
                end = start
        return steps

    def fraction_done(self, step: int) -> float:
        """How much of the training, 0..1, is done in the middle of optimizer step `step`.

        Asked anew at every step: the number of batches is known only once training has started, and the number of
        epochs may be another one after a resume. The middle of the step, because a schedule that starts or ends at 0
        would waste the first or the last one.
        """
        return min(1.0, (step + 0.5) / self.training_steps())

    def last_lr(self) -> float:
        """Return the learning rate of the last optimizer step, of the first parameter group.

        It is the rate that the optimizer used, whoever set it. Before the first step of a resumed run it is what the
        schedule says.
        """
        if self._last_lr is not None:
            return self._last_lr
        group = self.trainer.optimizers[0].param_groups[0]
        if "initial_lr" not in group:  # a model's own configure_optimizers, without a schedule
            return group["lr"]
        return group["initial_lr"] * self.lr_factor(group, max(0, self.trainer.global_step - 1))

    def keep_lr(self, optimizer: Optimizer, *_: Any) -> None:
        """Remember the learning rate of a step; the schedule is about to set that of the next one."""
        self._last_lr = optimizer.param_groups[0]["lr"]

    def on_train_start(self) -> None:
        """Set the learning rate of the first step: the number of batches was not known when the schedule was built.

        Go on counting where the checkpoint of an unfinished epoch stopped.
        """
        trainer = self.trainer
        self._accumulation = _accumulation_of(trainer)
        self._epoch_start = self._resumed_epoch or (trainer.current_epoch, trainer.global_step)
        # Lightning's scheduler of accumulation acts at the start of an epoch, which a resumed run may be past.
        trainer.accumulate_grad_batches = _batches_per_step(self._accumulation, self._epoch_start[0])
        self._resumed_epoch = self._last_lr = None
        trainer.optimizers[0].register_step_post_hook(self.keep_lr)
        if self._resumed_metrics is not None and self.trainer.is_global_zero:  # it holds the sum over the processes
            for name, value in self._metrics_of("train").metric_state.items():
                cast(Tensor, value).copy_(self._resumed_metrics[name])
        self._resumed_metrics = None
        for scheduler in (config.scheduler for config in self.trainer.lr_scheduler_configs):
            if isinstance(scheduler, EveryStepLR):
                scheduler.set_rates()

    @torch.no_grad()
    def count(self, stage: Stage, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Add a batch to the stage's metrics.

        Args:
            stage: whose metrics.
            logits: float (n, `num_outputs`).
            labels: int64 (n,).
            loss: the mean of the batch, float (); in float32, for bfloat16 has no number between 2.297 and 2.313.
        """
        self._metrics_of(stage).update(self.predict_classes(logits), labels, (loss.float() * len(labels)).reshape(1))

    def _metrics_of(self, stage: Stage) -> ClassificationMetrics:
        return cast(ClassificationMetrics, self.metrics[f"{stage}_metrics"])

    def train_figures(self) -> dict[str, float]:
        """Return "train/loss" and "train/acc" of the epoch so far."""
        summary = self._metrics_of("train").compute()
        return {f"train/{name}": summary[name] for name in ("loss", "acc")}

    def images_trained(self) -> int:
        """Return how many images the epoch so far had, in all processes. Waits for the device."""
        return int(self._metrics_of("train").confusion.sum()) * self.trainer.world_size

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Log metrics of a stage: for callbacks, for all loggers, and for what `validate` and `test` return.

        A `RunLogger` gets them at once. Lightning hands metrics to loggers later, and a checkpoint that is saved in
        between would lack them.
        """
        self.log_dict(dict(figures))
        self._add_to_curves(figures)

    def _add_to_curves(self, figures: Mapping[str, float]) -> None:
        for logger in run_logger.all_of(self.trainer):
            logger.log_figures(figures, self.trainer)

    def train_loss_is_finite(self) -> bool:
        """Whether every loss of the epoch so far was finite, in this process. Waits for the device."""
        return bool(self._metrics_of("train").loss_sum.isfinite())

    def on_train_epoch_start(self) -> None:
        """Start the epoch's figures anew."""
        self._metrics_of("train").reset()
        self._epoch_start = (self.trainer.current_epoch, self.trainer.global_step)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's figures."""
        self.log_figures({"lr": self.last_lr()} | self.train_figures())
        if self.results.get("val", {}).get("epoch") != self.current_epoch:
            return
        if "val/acc" not in self.trainer.callback_metrics:  # in a run that was stopped after the validation
            self.log_figures(self._figures("val"))
        elif self._logs_val_at_epoch_end():
            self._add_to_curves(self._figures("val"))

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the model and its optimizer are, the figures of the epoch so far, and the last validation's."""
        entry = registry.of_class(type(self))
        checkpoint["class_path"] = entry.class_path if entry else f"{type(self).__module__}.{type(self).__qualname__}"
        if entry is not None and entry.distribution != registry.DISTRIBUTION:
            checkpoint["package"] = entry.distribution  # for whom it is missing
        checkpoint["optimizer"] = describe_optimizer(self.make_optimizer(self.parameter_groups()))
        checkpoint["results"] = {stage: self.results[stage] for stage in ("val",) if stage in self.results}
        checkpoint["train_metrics"] = {
            name: self.trainer.strategy.reduce(cast(Tensor, value).clone(), reduce_op="sum")
            for name, value in self._metrics_of("train").metric_state.items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the figures of an unfinished epoch; the optimizer that is asked for now wins over the checkpoint's."""
        if self._trainer is None or self.trainer.state.fn != "fit":
            return
        self._resumed_metrics = checkpoint.get("train_metrics")
        self._resumed_epoch = self._epoch_of(checkpoint)
        self.results |= checkpoint.get("results", {})
        if "optimizer" in checkpoint and len(checkpoint["lr_schedulers"]) == 1:
            self.take_over_optimizer(checkpoint)

    def _epoch_of(self, checkpoint: dict[str, Any]) -> tuple[int, int]:
        """Return the epoch that a checkpoint goes on with, and the number of optimizer steps before that epoch."""
        epoch, steps = checkpoints.epochs_done(checkpoint), int(checkpoint["global_step"])
        if checkpoints.is_mid_epoch(checkpoint):
            batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"]
            steps -= batches // _batches_per_step(_accumulation_of(self.trainer), epoch)
        return epoch, steps

    def take_over_optimizer(self, checkpoint: dict[str, Any]) -> None:
        """Change the checkpoint's optimizer as far as another one, or other values, are asked for now.

        Args:
            checkpoint: its "optimizer", "optimizer_states" and "lr_schedulers", which are changed.
        """
        optimizer = self.make_optimizer(self.parameter_groups())
        before, now = checkpoint["optimizer"], describe_optimizer(optimizer)
        if before == now:
            return
        (scheduler,) = checkpoint["lr_schedulers"]
        if before["class_path"] != now["class_path"] or len(before["groups"]) != len(now["groups"]):
            checkpoint["optimizer_states"] = [optimizer.state_dict()]
            before = {"groups": [{} for _ in now["groups"]]}
            # The scheduler keeps values of each group, too, and there may be another number of groups.
            lrs = [group["lr"] for group in now["groups"]]
            scheduler.update(base_lrs=lrs, _last_lr=list(lrs), lr_lambdas=[{} for _ in lrs])
        groups = checkpoint["optimizer_states"][0]["param_groups"]
        for index, (group, old, new) in enumerate(zip(groups, before["groups"], now["groups"], strict=True)):
            group.update({name: value for name, value in new.items() if name not in old or old[name] != value})
            if old.get("lr") != new["lr"]:
                group["initial_lr"] = scheduler["base_lrs"][index] = new["lr"]

    # Evaluation.

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of the validation set."""
        self._count(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of the test set."""
        self._count(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the probabilities of the classes, float32 (n, `num_classes`)."""
        return self.predict_probabilities(self(batch.images).float())

    def on_validation_epoch_end(self) -> None:
        """Log "val/loss", "val/acc" and all else that follows from the confusion matrix."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log "test/loss", "test/acc" and all else that follows from the confusion matrix."""
        self._report("test")

    def further_figures(self, stage: Stage) -> dict[str, float]:
        """Return what a model has measured of itself in a pass over `stage`, beside what all models do, by name."""
        return {}

    def _count(self, batch: Batch, stage: Stage) -> None:
        logits = self(batch.images).float()
        self.count(stage, logits, batch.labels, self.loss(logits, batch.labels))

    def _report(self, stage: Stage) -> None:
        metrics = self._metrics_of(stage)
        if self.trainer.sanity_checking:  # of a few batches, which say nothing
            metrics.reset()
            return
        self.results[stage] = metrics.compute() | self.further_figures(stage) | {"epoch": self.current_epoch}
        metrics.reset()
        figures = self._figures(stage)
        if stage == "val" and self._logs_val_at_epoch_end() and not is_within_epoch(self.trainer):
            for logger in run_logger.all_of(self.trainer):
                logger.expect(figures)
            self.log_dict(figures)
        else:
            self.log_figures(figures)

    def _logs_val_at_epoch_end(self) -> bool:
        """Whether the last validation of an epoch belongs to curves over epochs, whenever it was."""
        return self.trainer.state.fn == "fit" and bool(run_logger.all_of(self.trainer))

    def _figures(self, stage: Stage) -> dict[str, float]:
        summary, data = self.results[stage], getattr(self.trainer, "datamodule", None)
        names = getattr(data, "class_names", range(self.num_classes))
        per_class = {
            f"{stage}_per_class/{name}": value
            for name, value in zip(names, summary["acc_per_class"], strict=True)
            if value == value  # a class that does not occur has none
        }
        return {f"{stage}/{name}": value for name, value in summary.items() if isinstance(value, float)} | per_class


def _accumulation_of(trainer: L.Trainer) -> list[tuple[int, int]]:
    """Return how many batches make an optimizer step: pairs of an epoch and the number from that epoch on."""
    schedulers = [c for c in cast(Any, trainer).callbacks if isinstance(c, GradientAccumulationScheduler)]
    return sorted(schedulers[0].scheduling.items()) if schedulers else [(0, trainer.accumulate_grad_batches)]


def _batches_per_step(accumulation: list[tuple[int, int]], epoch: int) -> int:
    return [batches for start, batches in accumulation if start <= epoch][-1]


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return what an optimizer, before its first step, was asked for: its class, and the values of each group."""
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    return {"class_path": f"{type(optimizer).__module__}.{type(optimizer).__qualname__}", "groups": groups}
