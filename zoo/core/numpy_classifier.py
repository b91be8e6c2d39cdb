"""The bridge between PyTorch and the NumPy lesson, `zoo.scratch`: nothing else knows both.

For Lightning, a NumPy network is a module like any other. Its parameters and their gradients are tensors that share
memory with the network's arrays: what NumPy writes, PyTorch reads, and nothing is copied. Its optimizers are PyTorch
optimizers around the rules of `zoo.scratch.optimizers`. So checkpoints, schedules, gradient clipping, several
processes, metrics and curves are those of every model.

A step of such a small network takes less time than Lightning's own work around a step. Therefore a call of
`training_step` makes as many steps as nobody wants to be called in between, see `NumPyClassifier.steps_in_a_call`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateFinder, ModelPruning
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.loading import Batch
from zoo.core.classifier import Classifier
from zoo.core.inputs import check_images
from zoo.scratch import optimizers as rules
from zoo.scratch.layers import Dense
from zoo.scratch.losses import Loss
from zoo.scratch.network import Network
from zoo.scratch.regularizers import Regularizer
from zoo.scratch.training import predictions
from zoo.training import processes
from zoo.training.callbacks.few_threads import FewThreads

BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
)


class NumPyClassifier(Classifier):
    """A classifier around a network of `zoo.scratch`; a subclass says which one:

        class TinyNet(NumPyClassifier):
            def __init__(self, num_classes: int = 10) -> None:
                super().__init__(num_classes)
                layer = Dense(3072, self.num_outputs, Identity(), he, self.rng())
                self.set_network(Network([layer]), CategoricalCrossEntropy())

    It computes in float32 and on the CPU, whatever device the trainer has, in one process or in several (strategy
    "ddp").

    Attributes:
        network: maps normalized pixels, float32 (n, 3072), to logits, float32 (n, `num_outputs`). The 3072 numbers of
            an image are its rows from top to bottom, of each row its pixels, of each pixel red, green and blue.
        objective: the loss that training makes small.
        regularizers: prices on the weights of every layer, which the reported losses leave out.
        pixel_scale, pixel_shift: normalization, float32 tensors (3072,): pixel * scale + shift.
        batches_per_call: at most so many steps are made in a call of `training_step`.
        threads: that NumPy and PyTorch may use. Products as small as these gain little from a second one, and where
            the cores have anything else to do, waiting for it takes many times as long as the work.
    """

    default_optimizer: ClassVar[dict[str, Any]] = {
        "class_path": "zoo.core.numpy_classifier.NumPyMomentum",
        "init_args": {"lr": 0.01},
    }
    cpu_only: ClassVar[bool] = True
    batches_per_call: ClassVar[int] = 50
    threads: ClassVar[int] = 1

    network: Network
    objective: Loss
    regularizers: Sequence[Regularizer]

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.automatic_optimization = False
        self.pixel_scale, self.pixel_shift = self.scale.repeat(CIFAR10.side), self.shift.repeat(CIFAR10.side)
        self._inputs = torch.empty(0, len(self.pixel_scale))
        self._clip: tuple[float, str] | None = None
        self._called_every: list[int] = []

    # The network, and its memory.

    def rng(self) -> np.random.Generator:
        """Return a source of random numbers for the weights that PyTorch's own, and so the run's seed, decides."""
        return np.random.default_rng(int(torch.randint(2**63 - 1, ())))

    def set_network(self, network: Network, objective: Loss, regularizers: Sequence[Regularizer] = ()) -> None:
        """Make `network` the one that learns, of float32, to make `objective` small; see the attributes."""
        self.network, self.objective, self.regularizers = network, objective, regularizers
        self.layers = nn.ModuleList(_DenseParameters(layer) for layer in network.layers)
        self._share_memory()
        self.register_load_state_dict_post_hook(_share_memory_again)

    def _share_memory(self) -> None:
        """Make windows into the network's arrays of the parameters and their gradients, with the parameters' values."""
        parameters = list(self.parameters())
        values, gradients = (_windows(a, parameters) for a in (self.network.parameters, self.network.gradients))
        for parameter, value, gradient in zip(parameters, values, gradients, strict=True):
            parameter.data = value.copy_(parameter.detach())
            parameter.grad = gradient

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or pickled module: either makes tensors of their own out of the windows."""
        super().__setstate__(state)
        self._share_memory()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to 0: without them, the memory would be shared no more."""
        self.network.gradients[:] = 0

    def _apply(self, fn: Any, recurse: bool = True) -> "NumPyClassifier":
        """Stay where it is and as it is: what moves or casts a module calls this, and NumPy's arrays do neither."""
        return self

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Leave the batch where it is, on the CPU."""
        return batch

    # Inputs and outputs.

    def normalized(self, images: Tensor) -> np.ndarray:
        """Return uint8 pixels (n, 3, 32, 32) as float32 (n, 3072); the memory is used again at the next call.

        Raises:
            InputError: if the images are something else, see `zoo.core.inputs.check_images`.
        """
        check_images(images, differentiable=False)
        n = images.shape[0]
        rows = images.cpu().permute(0, 2, 3, 1).reshape(n, -1)
        if n > self._inputs.shape[0]:
            with torch.inference_mode(False):  # what is made within it cannot be written to outside
                self._inputs = torch.empty(rows.shape)
        # By PyTorch, which turns bytes into numbers twice as fast as NumPy.
        return self._inputs[:n].copy_(rows).mul_(self.pixel_scale).add_(self.pixel_shift).numpy()

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # as in `training_step`
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, float32 (n, `num_outputs`), of uint8 images (n, 3, 32, 32)."""
        return torch.from_numpy(self.network.forward(self.normalized(images)).copy())

    # Training.

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Take over gradient clipping, which Lightning leaves to models like this one.

        Raises:
            InputError: for what a NumPy network cannot do.
        """
        in_parts = not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
        if in_parts or processes.uses_multiprocessing(trainer):
            # A process that is not started anew gets the module pickled, and its tensors in other memory.
            raise InputError(
                f"{type(self).__name__} computes with NumPy, in one process or with --trainer.strategy ddp: "
                "no other strategy keeps its memory together"
            )
        if trainer.precision != "32-true":
            raise InputError(
                f"--trainer.precision={trainer.precision}: {type(self).__name__} computes with NumPy, in float32: "
                "leave it out"
            )
        if trainer.accumulate_grad_batches != 1:
            raise InputError(
                f"--trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: {type(self).__name__} makes a "
                "step for each batch: a larger --data.batch_size is the same"
            )
        unfit = (GradientAccumulationScheduler, ModelPruning, LearningRateFinder)
        for callback in cast(Any, trainer).callbacks:
            if isinstance(callback, unfit):
                raise InputError(
                    f"{type(callback).__name__}: {type(self).__name__} computes with NumPy, and makes its optimizer "
                    "steps itself: leave the callback out"
                )
        if trainer.gradient_clip_val:
            self._clip = (float(trainer.gradient_clip_val), trainer.gradient_clip_algorithm or "norm")
            trainer.gradient_clip_val = trainer.gradient_clip_algorithm = None

    def configure_callbacks(self) -> list[L.Callback]:
        """Compute with `threads` threads while a trainer runs."""
        return [FewThreads(self.threads)]

    def setup(self, stage: str) -> None:
        """Look at the trainer, where no command line has done so.

        Raises:
            InputError: see `check_trainer`; or if several processes are to exchange their results on GPUs.
        """
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and strategy.root_device.type != "cpu":
            raise InputError(
                f"{type(self).__name__} computes on the CPU, and its processes cannot talk to each other on "
                f"{strategy.root_device.type} devices: give Trainer(accelerator='cpu', devices=NUMBER, strategy='ddp')"
            )
        if stage == "fit":
            self.check_trainer(self.trainer)

    def on_train_start(self) -> None:
        """Find out who wants to be called when."""
        super().on_train_start()
        callbacks: list[Any] = cast(Any, self.trainer).callbacks
        watchers = [c for c in callbacks if any(is_overridden(hook, c, L.Callback) for hook in BATCH_HOOKS)]
        self._called_every = [getattr(callback, "every_n_steps", 1) or self.batches_per_call for callback in watchers]

    def steps_in_a_call(self) -> int:
        """How many steps the call at hand makes: up to the next one after which somebody wants to be called.

        Lightning does when it is about to validate, and at the end of an epoch or of training. A callback that hooks
        into batches does after every step whose number is a multiple of its `every_n_steps`, where it has such an
        attribute; where that is None, now and then will do. A callback without it is called for every batch.
        """
        trainer = self.trainer
        steps, batches = trainer.global_step, trainer.fit_loop.batch_idx  # done so far; batches in this epoch
        left = [n - steps % n for n in (self.batches_per_call, *self._called_every)]
        left.append(int(trainer.num_training_batches) - batches)
        if trainer.max_steps > 0:
            left.append(trainer.max_steps - steps)
        if isinstance(interval := trainer.val_check_batch, int):
            in_epoch = trainer.check_val_every_n_epoch is not None
            left.append(interval - (batches if in_epoch else trainer.fit_loop.total_batch_idx) % interval)
        return min(left)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Make a step, and those that can be made in the same call; return the last batch's loss."""
        optimizer, scheduler = cast(Any, self.optimizers()), cast(LRScheduler, self.lr_schedulers())
        plain = optimizer.optimizer
        further_steps = self.steps_in_a_call() - 1  # asked before the first step, which Lightning counts
        # What overflows in a run that diverges is told by the loss, as with PyTorch.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            learnt = [self.learn(batch, optimizer.step, scheduler)]
            # The others leave out what Lightning and PyTorch wrap around a step, nearly as much work as the update.
            step = getattr(plain, "update", plain.step)
            for further in _further_batches(self, further_steps):
                learnt.append(self.learn(further, step, scheduler))
        classes, labels, losses = zip(*learnt, strict=True)
        loss_sums = torch.tensor(losses) * torch.tensor([len(of_batch) for of_batch in labels])
        self._metrics_of("train").update(torch.from_numpy(np.concatenate(classes)), torch.cat(labels), loss_sums)
        return {"loss": torch.tensor(losses[-1])}

    def learn(self, batch: Batch, step: Callable[[], Any], scheduler: LRScheduler) -> tuple[np.ndarray, Tensor, float]:
        """Make a step; return the predicted classes, the labels, and the mean loss, of before the step."""
        network = self.network
        logits = network.forward(self.normalized(batch.images))
        loss, gradient = self.objective.value_and_gradient(logits, batch.labels.numpy())
        network.backward(gradient)
        for regularizer in self.regularizers:
            for layer in network.layers:
                regularizer.add_gradient(layer.weights, layer.weights_gradient)
        if self.trainer.world_size > 1:
            # The mean over the processes, whose batches are of equal size.
            torch.distributed.all_reduce(torch.from_numpy(network.gradients))
            network.gradients /= self.trainer.world_size
        if self._clip is not None:
            self.clip_gradients(self.trainer.optimizers[0], *self._clip)
        step()
        self.keep_lr(self.trainer.optimizers[0])  # `step` may be a plain function, which calls no hooks
        scheduler.step()
        return predictions(logits), batch.labels, loss


class _DenseParameters(nn.Module):
    """The parameters of a `Dense` layer, as PyTorch keeps them: weight (D, H), bias (H,)."""

    def __init__(self, layer: Dense) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(layer.weights))
        self.bias = nn.Parameter(torch.from_numpy(layer.bias))


def _share_memory_again(module: NumPyClassifier, incompatible_keys: Any) -> None:
    """After `load_state_dict(..., assign=True)`, which puts other tensors into a module."""
    module._share_memory()


def _further_batches(module: NumPyClassifier, n: int) -> Iterator[Batch]:
    """Yield the next n batches of the epoch, and count them, and as many optimizer steps, once they were learnt from.

    Lightning knows no way to take several batches in a call, so this one function reaches into its loops. They count as
    if each batch had had its own call: what depends on a batch's number, or on that of a step, does not notice.
    """
    fit_loop = module.trainer.fit_loop
    fetcher, loop = fit_loop._data_fetcher, fit_loop.epoch_loop
    assert fetcher is not None
    for _ in range(n):
        batch, _, _ = next(fetcher)
        yield module.on_before_batch_transfer(batch, 0)
    loop.batch_progress.increment_by(n, is_last_batch=fetcher.done)
    loop.manual_optimization.optim_step_progress.increment_by(n)
    loop._batches_that_stepped += n


# Optimizers.


class _NumPyOptimizer(Optimizer):
    """A PyTorch optimizer around a rule of `zoo.scratch.optimizers`, for the parameters of a `NumPyClassifier`.

    `state_dict` is in PyTorch's format, with the rule's arrays cut into those of each parameter. The attribute `state`
    stays empty: Lightning moves what it finds there to the trainer's device.

    Args:
        params: all parameters of one model, in order.
        rule: a class of `zoo.scratch.optimizers`.
        lr: the learning rate, at least 0.
        settings: the rule's further arguments, by name.

    Raises:
        ValueError: for parameters that do not share one piece of memory, or a setting out of range.
    """

    def __init__(self, params: Iterable[nn.Parameter], rule: type[rules.Optimizer], lr: float, **settings: Any) -> None:
        if lr < 0:
            raise ValueError(f"lr={lr} is negative: give a number of at least 0")
        super().__init__(params, {"lr": lr, **settings})
        if len(self.param_groups) != 1:
            raise ValueError(f"{type(self).__name__} has one learning rate for all parameters, not groups of them")
        parameters = self.param_groups[0]["params"]
        self._settings = tuple(settings)
        self._rule = rule(
            _one_array(parameters, type(self).__name__),
            _one_array([parameter.grad for parameter in parameters], type(self).__name__),
            **settings,
        )

    def step(self, closure: Any = None) -> Any:
        """Make a step; call `closure` before it, and return what it does, where there is one."""
        loss = closure() if closure is not None else None
        self.update()
        return loss

    def update(self) -> None:
        """Make a step, and nothing else: PyTorch wraps `step` into a profiler and a counter."""
        (group,) = self.param_groups
        for name in self._settings:
            setattr(self._rule, name, group[name])
        self._rule.step(group["lr"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to 0: without them, the memory would be shared no more."""
        self._rule.gradients[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes; the tensors share the optimizer's memory, as PyTorch's do."""
        parameters = self.param_groups[0]["params"]
        slots = {name: _windows(array, parameters) for name, array in self._rule.state.items()}
        state = {
            index: {"step": self._rule.step_count} | {name: windows[index] for name, windows in slots.items()}
            for index in range(len(parameters))
        }
        return super().state_dict() | {"state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: if it is from another optimizer, or for other parameters.
        """
        of_parameters = [state_dict["state"][index] for index in sorted(state_dict["state"])]
        if not of_parameters or "step" not in of_parameters[0]:
            raise ValueError(f"the state is of another optimizer than {type(self).__name__}")
        names = [name for name in of_parameters[0] if name != "step"]
        flat = {name: torch.cat([state[name].flatten() for state in of_parameters]).numpy() for name in names}
        self._rule.load_state_dict({"step_count": of_parameters[0]["step"], **flat})  # which looks at it first
        super().load_state_dict({**state_dict, "state": {}})


class NumPySGD(_NumPyOptimizer):
    """Stochastic gradient descent, see `zoo.scratch.optimizers.SGD`.

    Args:
        params: of a `NumPyClassifier`.
        lr: the learning rate.
        weight_decay: see `zoo.scratch.optimizers.Optimizer`.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.01, weight_decay: float = 0.0) -> None:
        super().__init__(params, rules.SGD, lr, weight_decay=weight_decay)


class NumPyMomentum(_NumPyOptimizer):
    """SGD with momentum, see `zoo.scratch.optimizers.Momentum`.

    Args:
        params: of a `NumPyClassifier`.
        lr: the learning rate.
        beta: how much of the velocity remains after a step.
        nesterov: whether to look ahead.
        weight_decay: see `zoo.scratch.optimizers.Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.01,
        beta: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, rules.Momentum, lr, beta=beta, nesterov=nesterov, weight_decay=weight_decay)


class NumPyAdam(_NumPyOptimizer):
    """Adam, see `zoo.scratch.optimizers.Adam`.

    Args:
        params: of a `NumPyClassifier`.
        lr: the learning rate.
        beta1: how much of the average gradient remains after a step.
        beta2: how much of the average square remains after a step.
        epsilon: keeps the division from 0 / 0.
        weight_decay: see `zoo.scratch.optimizers.Optimizer`.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, rules.Adam, lr, **settings)


def _one_array(tensors: Sequence[Tensor | None], optimizer: str) -> np.ndarray:
    """Return the flat array, shape (P,), that the tensors are windows into, one after the other.

    Raises:
        ValueError: if they are not.
    """
    first, size = tensors[0], 0
    for tensor in tensors:
        if (
            first is None
            or tensor is None
            or tensor.device.type != "cpu"
            or not tensor.is_contiguous()
            or tensor.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
            or tensor.storage_offset() != first.storage_offset() + size
        ):
            raise ValueError(
                f"{optimizer} is for NumPy models, whose parameters share one array: take one of torch.optim"
            )
        size += tensor.numel()
    assert first is not None
    return first.detach().as_strided((size,), (1,), first.storage_offset()).numpy()


def _windows(array: np.ndarray, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors of the shapes of `parameters` that are windows into a flat array, one after the other."""
    pieces = torch.from_numpy(array).split([parameter.numel() for parameter in parameters])
    return [piece.view(parameter.shape) for piece, parameter in zip(pieces, parameters, strict=True)]
