"""`Classifier`: what every model of the zoo is, whether PyTorch or NumPy computes its gradients."""

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
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

from datamodules.data_set import LARGEST_SIDE
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError, did_you_mean
from datamodules.image_data_module import ImageDataModule
from datamodules.loading import Batch
from zoo.core import fine_tuning, regularization, views
from zoo.core.about import FROM_DATA, About
from zoo.core.inputs import as_batch, check_images
from zoo.core.metrics import ClassificationMetrics
from zoo.core.schedules import Constant, Schedule

# The data module's own batches pass through `on_before_batch_transfer` unchanged.
warnings.filterwarnings("ignore", message="You have overridden `on_before_batch_transfer` in `LightningModule` but")

Stage = Literal["train", "val", "test"]
MOST_CHANNELS = 256  # a stranger's checkpoint must not use up the memory
STAGES: tuple[Stage, ...] = ("train", "val", "test")


class EveryStepLR(LambdaLR):
    """PyTorch's `LambdaLR` without its checks, which take long beside the step of a small network."""

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        self._step_count += 1
        self.set_rates()

    def set_rates(self) -> None:
        for group, base_lr, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base_lr * factor(self.last_epoch)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class Classifier(L.LightningModule, ABC):
    """Classifies small square images, given as plain uint8 pixels.

    A model of your own is a subclass of `TorchClassifier`, which PyTorch differentiates, or of `NumPyClassifier`, which
    `zoo.scratch` differentiates. A complete model, in a file my_net.py:

        from torch import nn

        from zoo import TorchClassifier, check_model


        class MyNet(TorchClassifier):
            "A convolution in large steps, and a linear layer."

            def __init__(
                self, width: int = 16, num_classes: int = 10, channels: int = 3, image_size: int = 32
            ) -> None:
                super().__init__(num_classes, channels, image_size)
                convolution = nn.Conv2d(channels, width, 8, stride=8)
                linear = nn.Linear(width * (image_size // 8) ** 2, self.num_outputs)
                self.net = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), linear)


        if __name__ == "__main__":
            check_model(MyNet)

    `python my_net.py` checks it, `python cli.py fit --model my_net.MyNet` trains it. An entry point of its package
    makes it a model of the zoo, see `zoo.catalogue.registry`; tests/plugin is such a package.

    The contract, most of which `zoo.testing` checks. A model:

    - calls `super().__init__(num_classes, channels, image_size)` in its `__init__`, which takes these three arguments.
      A model without the last two is for color images of 32 x 32 pixels alone. All other arguments have types and
      defaults, and are numbers, strings or lists of them: configs and checkpoints keep them.
    - takes uint8 pixels, and returns `num_outputs` logits per image, without softmax or sigmoid. In evaluation mode the
      logits of an image depend on that image alone.
    - keeps what it learns in parameters, each of which gets a gradient or is frozen, and everything else that it
      computes with in its arguments and buffers. Checkpoints and copies hold nothing else.
    - has a `default_optimizer` that trains it, and leaves `configure_optimizers` as it is.
    - takes the logits of a batch from `training_logits` and its labels from `training_labels` if it has a
      `training_step` of its own, because mixup and CutMix mix images and labels; passes every batch to `count`; and
      leaves logging, validation and test to this class. If it computes gradients itself, it averages them over the
      processes.
    - has a method `logits` for normalized images, in place of a `forward`, if it does more than calling its `net`.
    - does not normalize twice, move itself to a device, or draw random numbers outside PyTorch's generator.

    Args:
        num_classes: at least 2. Two classes have a single logit, whose sigmoid is the probability of class 1; more
            classes have one logit each.
        channels: of an image, at most 256.
        image_size: height and width of an image in pixels, at most 1024.

    The command line takes the three from the data.

    A model may name its head, the module that makes logits of features, for fine-tuning: `self.head = "net.classifier"`
    in its `__init__`, or a module of that name. By default it is the last `nn.Linear` with `num_outputs` outputs.

    Attributes:
        make_optimizer: builds the optimizer from the parameters, or from groups of them (`parameter_groups`).
        lr_schedule: factor of the optimizer's learning rate as a function of the fraction of training done.
        layer_decay: factor of the learning rate from a layer to the one before it (see `zoo.core.fine_tuning`).
        decay_norms: whether an optimizer's weight decay acts on biases and normalization, too.
        sam: distance from the weights at which gradients are taken; 0 takes them at the weights (see
            `zoo.training.callbacks.sharpness_aware`).
        counts: whether `count` adds batches to the metrics.
        l1, l2: strengths of the penalties on weights (see `zoo.core.regularization`); the loss leaves them out.
        frozen_epochs: epochs at the start of training in which the head alone learns.
        label_smoothing: share of a training label that is spread evenly over all classes, 0 <= share < 1 (Szegedy et
            al. 2016, https://arxiv.org/abs/1512.00567, section 7).
        tta: the views that are averaged in tests and predictions, by their name in `zoo.core.views`.
        frozen: parameters that do not learn now. A step takes place without their gradients.
        loaded: names of the parameters and buffers that `--init_from` has loaded.
        cpu_only: whether the model computes on the CPU alone.
        scale, shift: normalization, float32 (image_size * channels,): pixel * scale + shift for a row of pixels, or for
            a whole image if `normalizes_whole_images`. Training takes them from the data module, and a checkpoint keeps
            them.
        normalizes_whole_images: whether `scale` and `shift` have a value for each pixel and channel of an image.
        results: metrics of the last pass over "val" and "test" (see `zoo.core.metrics.summarize`), of the images
            themselves; "acc_tta" is the accuracy of averaged views.
        logged_names: names of the metrics that the model has logged so far.
    """

    default_optimizer: ClassVar[dict[str, Any]] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}
    cpu_only: ClassVar[bool] = False
    normalizes_whole_images: ClassVar[bool] = False
    about: ClassVar[About] = About()

    scale: Tensor
    shift: Tensor

    def __init__(self, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        for name, value, largest in (("channels", channels, MOST_CHANNELS), ("image_size", image_size, LARGEST_SIDE)):
            if not 1 <= value <= largest:
                raise InputError(f"{type(self).__name__}: {name}={value} is out of range: give 1 to {largest:,}")
        # Of the subclass's __init__, too: it looks through the frames of its callers.
        self.save_hyperparameters(ignore=_undeclared(type(self)))
        self.num_classes, self.channels, self.image_size = num_classes, channels, image_size
        self.make_optimizer: Callable[[Any], Optimizer] = self._make_default_optimizer
        self.lr_schedule: Schedule = Constant()
        self.layer_decay, self.frozen_epochs, self.decay_norms = 1.0, 0, False
        self.l1, self.l2, self.sam, self.label_smoothing = 0.0, 0.0, 0.0, 0.0
        self.tta = views.NO_VIEWS
        self.counts = True
        self.frozen: list[nn.Parameter] = []
        self.loaded: frozenset[str] = frozenset()
        self.results: dict[str, dict[str, Any]] = {}
        self.logged_names: set[str] = set()
        self._epoch_start = (0, 0)  # the current epoch, and the number of optimizer steps before it
        self._accumulation = [(0, 1)]  # see `_accumulation_schedule`
        self._last_lr: float | None = None
        # "train" alone is no valid key: modules have an attribute of that name.
        names = (f"{name}_metrics" for name in (*STAGES, "tta"))
        self.metrics = nn.ModuleDict({name: ClassificationMetrics(num_classes) for name in names})
        self.example_input_array = torch.zeros(1, *self.image_shape, dtype=torch.uint8)  # for the model's summary
        self._pixels_at_once = image_size * (image_size if self.normalizes_whole_images else 1)
        self.register_buffer("scale", torch.empty(self._pixels_at_once * channels))
        self.register_buffer("shift", torch.empty(self._pixels_at_once * channels))
        self.keeps_normalization = False
        self.set_normalization(*_usual_normalization(channels))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image: (channels, image_size, image_size)."""
        return self.channels, self.image_size, self.image_size

    def set_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Standardize pixels by mean and standard deviation of each channel, on a scale of 0 to 1."""
        means, stds = torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
        self.scale.copy_((1 / (255 * stds)).repeat(self._pixels_at_once))
        self.shift.copy_((-means / stds).repeat(self._pixels_at_once))

    def keep_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Standardize pixels by these values, whatever the data's are; (0, ...) and (1, ...) divide by 255 alone."""
        self.set_normalization(mean, std)
        self.keeps_normalization = True

    def setup(self, stage: str) -> None:
        """Take over the normalization of the training images."""
        data = getattr(self.trainer, "datamodule", None)
        normalization = getattr(data, "normalization", None)
        if stage == "fit" and normalization is not None and not self.keeps_normalization:
            self.set_normalization(*normalization)
        if stage == "fit" and isinstance(data, ImageDataModule):
            self.check_data(data)

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float (n, `num_outputs`), of uint8 images (n, channels, image_size, image_size)."""

    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        """Learn from a batch, and pass it to `count`."""

    @property
    def num_outputs(self) -> int:
        """Number of logits: 1 for two classes, else one per class."""
        return 1 if self.num_classes == 2 else self.num_classes

    def normalize(self, images: Tensor) -> Tensor:
        """Return (x / 255 - mean) / std of uint8 pixels (n, c, h, w), in the model's dtype and channels_last.

        In that memory format, a row of pixels with all channels is contiguous.
        """
        check_images(images, self.image_shape)
        side, channels = self.image_size, self.channels
        rows = images.permute(0, 2, 3, 1).reshape(-1, self._pixels_at_once * channels).to(self.scale.dtype)
        return torch.addcmul(self.shift, rows, self.scale).view(-1, side, side, channels).permute(0, 3, 1, 2)

    def training_labels(self, batch: Batch) -> Tensor:
        """Return the labels of a training batch, as `loss` takes them: soft ones for images that are mixed."""
        return batch.labels if batch.partners is None else batch.partners.soft_labels(batch.labels, self.num_classes)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (n, `num_outputs`) against labels, smoothed in training mode.

        Labels are classes, int64 (n,), or soft: the probability of each class, float (n, `num_classes`).
        """
        smoothing = self.label_smoothing if self.training else 0.0
        if labels.ndim == 2:
            labels = labels.to(logits.dtype)
        if self.num_outputs == 1:
            targets = labels[:, 1] if labels.ndim == 2 else labels.to(logits.dtype)
            if smoothing:
                targets = targets * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(logits.squeeze(1), targets)
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)

    def predict_classes(self, logits: Tensor) -> Tensor:
        """Return the most probable classes, int64 (n,), of logits (n, `num_outputs`)."""
        return (logits.squeeze(1) > 0).long() if self.num_outputs == 1 else logits.argmax(1)

    def predict_probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the classes, float (n, `num_classes`), of logits (n, `num_outputs`)."""
        if self.num_outputs == 1:
            positive = torch.sigmoid(logits)
            return torch.cat([1 - positive, positive], dim=1)
        return torch.softmax(logits, dim=1)

    def set_tta(self, tta: str) -> None:
        """Choose the views that are averaged; raise InputError if there are none of this name for the model."""
        views.check(tta, self.image_size)
        self.tta = tta

    def torch_module(self) -> L.LightningModule:
        """Return the network as a PyTorch module from pixels to logits, for hooks, autograd and export."""
        return self

    def head_path(self) -> str:
        """Return the path of the head within the model, such as "net.9".

        Raises:
            InputError: if the model has no such module, or the module has no parameters.
        """
        name, head = type(self).__name__, getattr(self, "head", None)
        modules = dict(self.named_modules())
        if head is None:
            linear = {path: module for path, module in modules.items() if isinstance(module, nn.Linear)}
            paths = [path for path, module in linear.items() if module.out_features == self.num_outputs]
            if not paths:
                missing = f"{name} has no nn.Linear of {self.num_outputs} outputs to take for its head"
                raise InputError(f'{missing}: name a module in its __init__, such as self.head = "net.classifier"')
            return paths[-1]
        path = next((path for path, module in modules.items() if module is head), head)
        known = [path for path, module in modules.items() if path and any(True for _ in module.parameters())]
        if path not in known:
            raise InputError(f"{name}.head is '{path}', no module with parameters.{did_you_mean(str(path), known)}")
        return path

    def loss_gradients(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the gradients of the loss, by name of the parameter, and leave those of training as they are."""
        parameters = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        with torch.enable_grad():
            loss = self.loss(self(images.to(self.device)).float(), labels.to(self.device))
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        return {name: gradient for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}

    def compute_threads(self) -> int:
        """Return how many threads the forward pass uses on the CPU."""
        return torch.get_num_threads()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        trainer = self._trainer
        # Lightning's summary and exporters pass in the example input, too: images alone.
        if trainer is None or batch is self.example_input_array or trainer.state.finished:
            return batch
        return as_batch(batch, self.image_shape, needs_labels=not trainer.predicting)

    def check_data(self, data: ImageDataModule) -> None:
        """Raise InputError if the model cannot learn from the data's batches."""

    # Optimizer and schedule.

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Raise InputError if the model cannot be trained with the trainer's options."""
        if self.sam and not self.automatic_optimization:
            name = type(self).__name__
            raise InputError(f"--sam={self.sam}: {name} makes its optimizer steps itself: leave --sam out")
        if self.sam and any(batches != 1 for _, batches in _accumulation_schedule(trainer)):
            remedy = "leave out one of --sam and --trainer.accumulate_grad_batches, or give a larger --data.batch_size"
            raise InputError(f"--sam={self.sam} takes the gradient of each batch at weights of its own: {remedy}")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.build_optimizer()
        factors: list[Callable[[int], float]] = [partial(self.lr_factor, group) for group in optimizer.param_groups]
        scheduler = EveryStepLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def build_optimizer(self) -> Optimizer:
        """Build the optimizer, with further parameter groups if rates fall by layer or some parameters do not decay."""
        optimizer = self.make_optimizer(self._groups_by_layer())
        if self.decay_norms or not any(group.get("weight_decay") for group in optimizer.param_groups):
            return optimizer
        return self.make_optimizer(regularization.without_decay(self._groups_by_layer(), regularization.weights(self)))

    def _groups_by_layer(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        groups = self.parameter_groups()
        if self.layer_decay == 1:
            return groups
        layers = fine_tuning.layers(self, self.get_submodule(self.head_path()))
        return fine_tuning.falling_rates(groups, layers, self.layer_decay)

    def parameter_groups(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """Return the optimizer's parameters: all of the model's, or groups of those that learn.

        A group is a new dictionary with the key "params" and further keys for the optimizer, such as "role".
        """
        return self.parameters()

    def _make_default_optimizer(self, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> Optimizer:
        return instantiate_class(list(parameters), self.default_optimizer)

    def lr_factor(self, group: Mapping[str, Any], step: int) -> float:
        """Return the schedule's factor of a parameter group's learning rate at optimizer step `step`.

        A group runs through the schedule by the fraction "ends_at" of training; from "stops_at" on, its rate is 0. Its
        rate is multiplied by "lr_scale".
        """
        fraction = self.fraction_done(step)
        if "stops_at" in group and fraction >= group["stops_at"]:
            return 0.0
        factor = self.lr_schedule(min(1.0, fraction / group.get("ends_at", 1.0)))
        return factor * group.get("lr_scale", 1.0)

    def training_steps(self) -> float:
        """Return the number of optimizer steps of the whole training; infinity if the training has no end.

        Past epochs count with the steps that they had: a resumed run may have another batch size or accumulate more.
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
        batches, steps = self.trainer.num_training_batches, 0.0
        for start, accumulated in reversed(self._accumulation):
            if end > start:
                # A step always follows the last batch of an epoch.
                steps += max(0, end - max(first, start)) * -(-batches // accumulated)
                end = start
        return steps

    def fraction_done(self, step: int) -> float:
        """Return the fraction of training, 0..1, that is done in the middle of optimizer step `step`.

        At its start or end, a schedule that starts or ends at 0 would waste a step. The number of steps is read anew
        each time, because it is unknown before training starts and may change with a resume.
        """
        return min(1.0, (step + 0.5) / self.training_steps())

    def last_lr(self) -> float:
        """Return the learning rate that the last optimizer step used for the first parameter group."""
        if self._last_lr is not None:
            return self._last_lr
        group = self.trainer.optimizers[0].param_groups[0]  # before the first step, which may be of a resumed run
        if "initial_lr" not in group:  # a model's own configure_optimizers, without a schedule
            return group["lr"]
        return group["initial_lr"] * self.lr_factor(group, max(0, self.trainer.global_step - 1))

    def keep_lr(self, optimizer: Optimizer, *_: Any) -> None:
        """Remember the learning rate of a step, before the schedule sets the next one."""
        self._last_lr = optimizer.param_groups[0]["lr"]

    def on_train_start(self) -> None:
        """Find out where in its epoch the training starts, and set the first learning rate, unknown until now."""
        trainer, loop = self.trainer, cast(Any, self.trainer.fit_loop)
        self._accumulation = _accumulation_schedule(trainer)
        # Lightning's scheduler of accumulation acts at the start of an epoch; a run may resume after that.
        trainer.accumulate_grad_batches = batches_per_step = [
            batches for start, batches in self._accumulation if start <= trainer.current_epoch
        ][-1]
        is_within_epoch = loop.epoch_progress.current.ready > loop.epoch_progress.current.processed
        batches = loop.epoch_loop.batch_progress.current.processed if is_within_epoch else 0
        self._epoch_start = (trainer.current_epoch, trainer.global_step - batches // batches_per_step)
        self._last_lr = None
        trainer.optimizers[0].register_step_post_hook(self.keep_lr)
        for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
            if isinstance(scheduler, EveryStepLR):
                scheduler.set_rates()

    # Metrics.

    @torch.no_grad()
    def count(self, stage: Stage, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Add a batch to the stage's metrics: logits (n, `num_outputs`), labels as `loss` takes them, mean loss.

        The loss is added in float32: bfloat16 has no number between 2.297 and 2.313.
        """
        if not self.counts:
            return
        self.stage_metrics(stage).update(self.predict_classes(logits), labels, (loss.float() * len(labels)).reshape(1))

    def stage_metrics(self, stage: Stage | Literal["tta"]) -> ClassificationMetrics:
        """Return the metrics of a stage, or those of averaged views."""
        return cast(ClassificationMetrics, self.metrics[f"{stage}_metrics"])

    def train_metrics(self) -> dict[str, float]:
        """Return "train/loss" and "train/acc" of the epoch so far."""
        summary = self.stage_metrics("train").compute()
        return {f"train/{name}": summary[name] for name in ("loss", "acc")}

    def images_trained(self) -> int:
        """Return how many images of the epoch so far all processes have trained on. Waits for the device."""
        return int(self.stage_metrics("train").confusion.sum()) * self.trainer.world_size

    def train_loss_is_finite(self) -> bool:
        """Return whether every loss of the epoch so far was finite in this process. Waits for the device."""
        return bool(self.stage_metrics("train").loss_sum.isfinite())

    def named_results(self, stage: Stage) -> dict[str, float]:
        """Return the numbers of a stage's `results` by their names in logs: "val/acc", "val_per_class/cat", ..."""
        summary, data = self.results[stage], getattr(self.trainer, "datamodule", None)
        names = getattr(data, "class_names", range(self.num_classes))
        per_class = {
            f"{stage}_per_class/{name}": value
            for name, value in zip(names, summary["acc_per_class"], strict=True)
            if value == value  # NaN if the class does not occur
        }
        return {f"{stage}/{name}": value for name, value in summary.items() if isinstance(value, float)} | per_class

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log metrics of an epoch: for callbacks, loggers, and what `validate` and `test` return."""
        self.logged_names.update(metrics)
        self.log_dict(dict(metrics))

    def on_train_epoch_start(self) -> None:
        self.stage_metrics("train").reset()
        self._epoch_start = (self.trainer.current_epoch, self.trainer.global_step)

    def on_train_epoch_end(self) -> None:
        self.log_metrics({"lr": self.last_lr()} | self.train_metrics())
        is_validated = self.results.get("val", {}).get("epoch") == self.current_epoch
        if is_validated and "val/acc" not in self.trainer.callback_metrics:  # the run was resumed after the validation
            self.log_metrics(self.named_results("val"))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._count(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._count(batch, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the probabilities of the classes, float32 (n, `num_classes`), with test-time augmentation."""
        return self.predict_probabilities(views.mean_logits(self, batch.images, self.tta))

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _count(self, batch: Batch, stage: Stage) -> None:
        logits = self(batch.images).float()
        self.count(stage, logits, batch.labels, self.loss(logits, batch.labels))
        if self._averages_views(stage):
            mean = views.mean_logits(self, batch.images, self.tta, logits)
            # Their loss is not reported.
            self.stage_metrics("tta").update(self.predict_classes(mean), batch.labels, mean.new_zeros(1))

    def _averages_views(self, stage: Stage) -> bool:
        """Whether a pass over `stage` counts the predictions of averaged views, too. Validations in `fit` do not."""
        return self.tta != views.NO_VIEWS and (stage == "test" or self.trainer.state.fn == "validate")

    def _report(self, stage: Stage) -> None:
        metrics = self.stage_metrics(stage)
        if not self.trainer.sanity_checking:  # which runs a few batches only
            averaged = {"acc_tta": self.stage_metrics("tta").compute()["acc"]} if self._averages_views(stage) else {}
            self.results[stage] = metrics.compute() | averaged | {"epoch": self.current_epoch}
            self.log_metrics(self.named_results(stage))
        metrics.reset()
        self.stage_metrics("tta").reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the path of the class, unless a callback has added that of the registry."""
        checkpoint.setdefault("class_path", f"{type(self).__module__}.{type(self).__qualname__}")


def _undeclared(model: type) -> list[str]:
    """Return the arguments of `Classifier` that a model's __init__ does not take."""
    parameters = inspect.signature(model).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return [] if takes_any else [name for name in FROM_DATA if name not in parameters]


def _usual_normalization(channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation of each channel for a model that has seen no data: those of CIFAR-10."""
    if channels == len(CIFAR10.mean):
        return CIFAR10.mean, CIFAR10.std
    return [fmean(CIFAR10.mean)] * channels, [fmean(CIFAR10.std)] * channels


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _accumulation_schedule(trainer: L.Trainer) -> list[tuple[int, int]]:
    """Return pairs of an epoch and how many batches make an optimizer step from that epoch on."""
    schedulers = [c for c in cast(Any, trainer).callbacks if isinstance(c, GradientAccumulationScheduler)]
    return sorted(schedulers[0].scheduling.items()) if schedulers else [(0, trainer.accumulate_grad_batches)]
