"""`NumPyClassifier`: the bridge between Lightning and the NumPy lesson, `zoo.scratch`.

Parameters and gradients are tensors that share memory with the network's arrays, and the optimizers are PyTorch's, so
that checkpoints, schedules, gradient clipping, several processes and metrics work as for every model.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateFinder, ModelPruning
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from threadpoolctl import threadpool_info
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from datamodules.errors import InputError
from datamodules.loading import Batch
from zoo.core import devices
from zoo.core.classifier import Classifier
from zoo.core.few_threads import FewThreads
from zoo.core.inputs import check_images
from zoo.core.torch_twin import TorchTwin
from zoo.scratch.fast import FastNetwork
from zoo.scratch.layers import Layer
from zoo.scratch.losses import Loss
from zoo.scratch.network import Network
from zoo.scratch.regularizers import L1, L2, Regularizer
from zoo.scratch.softmax import one_hot
from zoo.scratch.training import predictions

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
            def __init__(self, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
                super().__init__(num_classes, channels, image_size)
                layers = [Flatten(), Dense(self.num_inputs, self.num_outputs, he, self.rng())]
                self.set_network(Network(layers), CategoricalCrossEntropy())

    The network computes in float32 on the CPU, whatever device the trainer has. Lightning's own work around a step
    takes longer than a step of a small network, so one call of `training_step` makes several. A network with layers
    that draw random numbers makes one: each step has random numbers of its own, from the seed and the step.

    The tensors of a layer are "layers.N.weight" and so on, where N is the place of the layer in the network. With
    several processes, batch normalization takes the statistics of each process's batch, and all processes have the
    running statistics of the first one.

    Attributes:
        network: maps normalized pixels, float32 (n, rows, columns, channels), to logits, float32 (n, `num_outputs`).
        num_inputs: pixels of an image times its channels.
        batches_per_call: the most steps that one call of `training_step` makes.
        threads: limit for NumPy and PyTorch; None for as many as they take. For small products a second thread gains
            little, and waiting for it on a busy machine takes many times as long as the work.
    """

    default_optimizer: ClassVar[dict[str, Any]] = {
        "class_path": "zoo.core.numpy_optimizers.NumPyMomentum",
        "init_args": {"lr": 0.01},
    }
    cpu_only: ClassVar[bool] = True
    normalizes_whole_images: ClassVar[bool] = True
    batches_per_call: ClassVar[int] = 50
    threads: ClassVar[int | None] = 1

    network: FastNetwork
    objective: Loss

    def __init__(self, num_classes: int = 10, channels: int = 3, image_size: int = 32) -> None:
        super().__init__(num_classes, channels, image_size)
        self.automatic_optimization = False
        self.num_inputs = channels * image_size**2
        self._inputs = torch.empty(0, self.num_inputs)
        self._clip: tuple[float, str] | None = None
        self._called_every: list[int] = []

    # The network and its memory.

    def rng(self) -> np.random.Generator:
        """Return a NumPy generator for the weights, seeded by PyTorch's generator and so by the run's seed."""
        return np.random.default_rng(int(torch.randint(2**63 - 1, ())))

    def set_network(self, network: Network, objective: Loss) -> None:
        """Set the network, of float32, in its fast form, and what it minimizes."""
        self.network, self.objective = FastNetwork(network.layers), objective
        self.layers = nn.ModuleList(_Tensors(layer) for layer in self.network.layers)
        self._share_memory()
        # `load_state_dict(..., assign=True)` replaces the tensors.
        self.register_load_state_dict_post_hook(NumPyClassifier._share_memory)

    def _share_memory(self, *_: Any) -> None:
        """Turn all tensors into views of the network's arrays; the values of the tensors stay."""
        for tensors, layer in zip(self.layers, self.network.layers, strict=True):
            cast(_Tensors, tensors).share_memory_of(layer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or pickled module, whose tensors no longer share the network's memory."""
        super().__setstate__(state)
        self._share_memory()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to 0. Removing them would break the sharing of memory."""
        self.network.flat_gradients[:] = 0

    def _apply(self, fn: Any, recurse: bool = True) -> "NumPyClassifier":
        """Ignore `fn`, which moves or casts tensors: NumPy's arrays stay on the CPU, in float32."""
        return self

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch

    def head_path(self) -> str:
        return f"layers.{max(place for place, layer in enumerate(self.network.layers) if layer.parameters)}"

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters in one group; those of the head in a second one if the others are frozen at first."""
        parameters, head = list(self.parameters()), list(self.get_submodule(self.head_path()).parameters())
        below = parameters[: -len(head)]
        groups = [below, head] if below and self.frozen_epochs else [parameters]
        return [{"params": group} for group in groups]

    def torch_module(self) -> TorchTwin:
        return TorchTwin(self.network, self.scale, self.shift, self.image_shape)

    def compute_threads(self) -> int:
        """Return the number of threads of NumPy's matrix products."""
        return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)

    # Inputs and outputs.

    def normalized(self, images: Tensor) -> np.ndarray:
        """Return uint8 pixels (n, c, h, w) as float32 (n, h, w, c). The next call reuses the memory."""
        check_images(images, self.image_shape, differentiable=False)
        n = images.shape[0]
        by_place = images.cpu().permute(0, 2, 3, 1)
        rows = by_place.reshape(n, -1)
        if n > self._inputs.shape[0]:
            with torch.inference_mode(False):  # a tensor made in inference mode could not be written to outside it
                self._inputs = torch.empty(rows.shape)
        # PyTorch converts bytes to floats twice as fast as NumPy.
        return self._inputs[:n].copy_(rows).mul_(self.scale).add_(self.shift).view(by_place.shape).numpy()

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # as in `training_step`
    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self._logits(self.normalized(images)).copy())

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def loss_gradients(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        before = self.network.flat_gradients.copy()
        logits = self._logits(self.normalized(images))
        self.network.backward(self.objective.value_and_gradient(logits, labels.numpy())[1])
        gradients = {name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None}
        self.network.flat_gradients[:] = before
        return gradients

    def _logits(self, inputs: np.ndarray) -> np.ndarray:
        """Return the network's outputs. Lightning's loops change `training` without a call of `train`."""
        self.network.set_training(self.training)
        return self.network.forward(inputs)

    # Training.

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Refuse options that a NumPy network cannot follow, and take over gradient clipping.

        Lightning leaves the clipping to models with manual optimization.
        """
        model, batches = f"{type(self).__name__} computes with NumPy", trainer.accumulate_grad_batches
        if not devices.has_whole_weights(trainer) or devices.uses_multiprocessing(trainer):
            # A forked or spawned process gets a pickled module, whose tensors are in other memory.
            places = "in one process or with --trainer.strategy ddp"
            raise InputError(f"{model}, {places}: no other strategy keeps its memory together")
        if trainer.precision != "32-true":
            raise InputError(f"--trainer.precision={trainer.precision}: {model}, in float32: leave it out")
        if batches != 1:
            remedy = "and makes a step for each batch: a larger --data.batch_size is the same"
            raise InputError(f"--trainer.accumulate_grad_batches={batches}: {model}, {remedy}")
        for callback in cast(Any, trainer).callbacks:
            if isinstance(callback, (GradientAccumulationScheduler, ModelPruning, LearningRateFinder)):
                remedy = "and makes its optimizer steps itself: leave the callback out"
                raise InputError(f"{type(callback).__name__}: {model}, {remedy}")
        if trainer.gradient_clip_val:
            self._clip = (float(trainer.gradient_clip_val), trainer.gradient_clip_algorithm or "norm")
            trainer.gradient_clip_val = trainer.gradient_clip_algorithm = None

    def configure_callbacks(self) -> list[L.Callback]:
        return [FewThreads(self.threads)]

    def setup(self, stage: str) -> None:
        """Take over the normalization, and check the trainer, for a run without the command line."""
        super().setup(stage)
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and strategy.root_device.type != "cpu":
            raise InputError(
                f"{type(self).__name__} computes on the CPU, and its processes cannot talk to each other on "
                f"{strategy.root_device.type} devices: give Trainer(accelerator='cpu', devices=NUMBER, strategy='ddp')"
            )
        if stage == "fit":
            self.check_trainer(self.trainer)

    def on_train_start(self) -> None:
        """Note after how many steps each callback wants to be called."""
        super().on_train_start()
        callbacks: list[Any] = cast(Any, self.trainer).callbacks
        watchers = [c for c in callbacks if any(is_overridden(hook, c, L.Callback) for hook in BATCH_HOOKS)]
        self._called_every = [getattr(callback, "every_n_steps", 1) or self.batches_per_call for callback in watchers]

    def steps_in_a_call(self) -> int:
        """Return how many steps this call makes: up to the next one after which Lightning or a callback acts.

        A callback with a hook for batches acts after every step whose number is a multiple of its attribute
        `every_n_steps`. None lets any number of steps pass; a callback without the attribute is called for every batch.
        """
        if self._random_layers():
            return 1
        trainer = self.trainer
        steps, batches = trainer.global_step, trainer.fit_loop.batch_idx  # made so far; batches of this epoch
        left = [n - steps % n for n in (self.batches_per_call, *self._called_every)]
        left.append(int(trainer.num_training_batches) - batches)
        if trainer.max_steps > 0:
            left.append(trainer.max_steps - steps)
        if isinstance(interval := trainer.val_check_batch, int):
            in_epoch = trainer.check_val_every_n_epoch is not None
            left.append(interval - (batches if in_epoch else trainer.fit_loop.total_batch_idx) % interval)
        return min(left)

    def _random_layers(self) -> list[Any]:
        """Return the layers that draw random numbers, from their attribute `rng`."""
        return [layer for layer in self.network.layers if hasattr(layer, "rng")]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Make a step and further ones, see `steps_in_a_call`; return the last batch's loss."""
        optimizer, scheduler = cast(Any, self.optimizers()), cast(LRScheduler, self.lr_schedulers())
        plain = optimizer.optimizer
        further_steps = self.steps_in_a_call() - 1  # before the first step, which Lightning counts
        # The loss tells of a run that diverges, as with PyTorch.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            learnt = [self.learn(batch, optimizer.step, scheduler)]
            # `update` leaves out what Lightning and PyTorch wrap around a step, nearly as much work as the step itself.
            step = getattr(plain, "update", plain.step)
            for further in _further_batches(self, further_steps):
                learnt.append(self.learn(further, step, scheduler))
        classes, labels, losses = zip(*learnt, strict=True)
        loss_sums = torch.tensor(losses) * torch.tensor([len(batch_labels) for batch_labels in labels])
        self.stage_metrics("train").update(torch.from_numpy(np.concatenate(classes)), torch.cat(labels), loss_sums)
        return {"loss": torch.tensor(losses[-1])}

    def learn(self, batch: Batch, step: Callable[[], Any], scheduler: LRScheduler) -> tuple[np.ndarray, Tensor, float]:
        """Make a step; return the predictions before it, the labels, and the mean loss before it."""
        network, inputs, labels = self.network, self.mixed(batch), self.training_labels(batch)
        for layer in self._random_layers():
            layer.rng = self.rng()
        targets, logits = self.probabilities(labels), self._logits(inputs)
        classes, loss = predictions(logits), self._differentiate(logits, targets)
        if self.sam:
            kept = [network.flat, *(array for layer in network.layers for array in layer.state.values())]
            before = [array.copy() for array in kept]
            self._climb()
            self._differentiate(self._logits(inputs), targets)
            for array, value in zip(kept, before, strict=True):
                array[:] = value
        for regularizer in self.regularizers():
            for layer in network.layers:
                for name, weights in layer.parameters.items():
                    if weights.ndim > 1:  # no biases, and no scales of batch normalization
                        layer.gradients[name] += regularizer.slope(weights)
        own_gradients = [parameter.grad for parameter in self.frozen]  # they share memory with the network
        for parameter in self.frozen:
            parameter.grad = None
        if self._clip is not None:
            self.clip_gradients(self.trainer.optimizers[0], *self._clip)
        step()
        for parameter, own_gradient in zip(self.frozen, own_gradients, strict=True):
            parameter.grad = own_gradient
        self.keep_lr(self.trainer.optimizers[0])  # `update` calls no hooks
        scheduler.step()
        return classes, labels, loss

    def _differentiate(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Write the gradients of the loss of all processes, and return the loss of this one."""
        loss, gradient = self.objective.value_and_gradient(logits, labels)
        self.network.backward(gradient)
        if self.trainer.world_size > 1:
            # The mean over the processes, whose batches have the same size.
            torch.distributed.all_reduce(torch.from_numpy(self.network.flat_gradients))
            self.network.flat_gradients /= self.trainer.world_size
        return loss

    def on_validation_start(self) -> None:
        """Let all processes have the running statistics of the first one, which its checkpoints hold."""
        if self.trainer.world_size > 1:
            for buffer in self.layers.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _climb(self) -> None:
        """Move the weights to those at which sharpness-aware minimization takes the gradient.

        See `zoo.training.callbacks.sharpness_aware`.
        """
        for parameter in self.frozen:
            cast(Tensor, parameter.grad).zero_()
        gradients = self.network.flat_gradients
        self.network.flat += self.sam / (np.linalg.norm(gradients) + 1e-12) * gradients

    def regularizers(self) -> list[Regularizer]:
        """Return the penalties of strengths `l1` and `l2` on the weights of every layer."""
        return [kind(strength) for kind, strength in ((L1, self.l1), (L2, self.l2)) if strength]

    def mixed(self, batch: Batch) -> np.ndarray:
        """Return a batch's images as `normalized` does, mixed with their partners if they have any."""
        partners = batch.partners
        if partners is None:
            return self.normalized(batch.images)
        own, others = np.split(self.normalized(torch.cat([batch.images, partners.images])), 2)  # (n, h, w, c) each
        shares = partners.shares().numpy()[..., None]  # (n, h, w, 1)
        own *= shares
        others *= 1 - shares
        own += others
        return own

    def probabilities(self, labels: Tensor) -> np.ndarray:
        """Return labels as `objective` takes them: classes; if soft or smoothed, probabilities."""
        values, share = labels.numpy(), self.label_smoothing
        if values.ndim == 1:
            if not share:
                return values
            values = one_hot(values, self.num_classes)
        smoothed = values * (1 - share) + share / self.num_classes  # (n, num_classes)
        return smoothed[:, -self.num_outputs :]  # for two classes, the probability of class 1


class _Tensors(nn.Module):
    """The parameters and the state of a layer of `zoo.scratch` as tensors in the memory of its arrays."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        for name, array in layer.parameters.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(array)))
        for name, array in layer.state.items():
            self.register_buffer(name, torch.from_numpy(array))

    def share_memory_of(self, layer: Layer) -> None:
        """Turn the tensors into views of a layer's arrays, which take over the values of the tensors."""
        for name, parameter in self.named_parameters():
            parameter.data = torch.from_numpy(layer.parameters[name]).copy_(parameter.detach())
            parameter.grad = torch.from_numpy(layer.gradients[name])
        for name, buffer in self.named_buffers():
            setattr(self, name, torch.from_numpy(layer.state[name]).copy_(buffer))


def _further_batches(module: NumPyClassifier, n: int) -> Iterator[Batch]:
    """Yield the next n batches of the epoch, then add them and as many steps to Lightning's counters.

    Lightning has no public way to take several batches in one call.
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
