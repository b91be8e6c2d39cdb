"""`--ema` and `--swa`: averages of the weights, which are validated, saved and tested in place of the trained ones."""

from abc import ABC, abstractmethod
from typing import Any

import lightning as L
import torch
from torch import Tensor

from zoo.core.classifier import Classifier
from zoo.runs.checkpoints import TRAINED, kind

RUNNING_STATISTICS = ("running_mean", "running_var")


class TrainedWeights(L.Callback):
    """Goes on with the trained weights of a checkpoint that has an average, whether the average goes on or not."""

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and TRAINED in checkpoint:
            pl_module.load_state_dict(checkpoint[TRAINED])


class WeightAverage(L.Callback, ABC):
    """Averages the weights of training steps.

    The average has the parameters and batch norm's running statistics, in float32 or more; all other buffers are those
    of the trained model. Its first weights are those of the first step that counts: until then, the trained weights are
    validated and saved, never weights that have learned nothing.

    From a validation to the next training batch, and after training, the model holds the average. Checkpoints have the
    average as "state_dict", and the trained weights, with which a resumed run goes on (see `TrainedWeights`), as
    `TRAINED`.

    Lightning's `WeightAveraging` waits for the device in every step, and validates and saves a copy of the first
    weights until the average starts.

    Args:
        every_n_steps: take the weights after every step whose number is a multiple of this. NumPy networks make several
            steps in a call (see `zoo.core.numpy_classifier.NumPyClassifier.steps_in_a_call`).
    """

    def __init__(self, every_n_steps: int = 1) -> None:
        self.every_n_steps = every_n_steps
        self.updates = 0
        self._average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # the trained weights while the model holds the average
        self._weights: dict[str, Tensor] = {}  # the model's own, which training changes in place
        self._step = 0
        self._has_begun = False

    @abstractmethod
    def includes(self, step: int, steps: float) -> bool:
        """Return whether the weights after a step, from 1, belong to the average in a training of `steps`."""

    @abstractmethod
    def share(self, updates: int) -> float:
        """Return the share of the newest weights in the average, after `updates` updates with them."""

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; raise ValueError if it counts less than no updates."""
        if state_dict["updates"] < 0:
            raise ValueError(f"updates is {state_dict['updates']}, expected a count")
        self.updates = state_dict["updates"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        if self._average:
            weights = checkpoint["state_dict"]
            checkpoint[TRAINED] = weights | self._trained
            checkpoint["state_dict"] = weights | self._average

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Classifier, checkpoint: dict[str, Any]) -> None:
        """Go on with the average if it is of the same kind."""
        is_same = self.state_key in checkpoint.get("callbacks", {})
        if trainer.state.fn == "fit" and TRAINED in checkpoint and is_same:
            self._average = {name: checkpoint["state_dict"][name] for name in averaged(pl_module)}

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._step, self._has_begun, self._weights = trainer.global_step, False, averaged(pl_module)
        self._average = {name: average.to(self._weights[name].device) for name, average in self._average.items()}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Classifier, *_: Any) -> None:
        """Go on with the trained weights after a validation.

        At first, drop the average of a resumed run that is longer now, so that its average has not started yet. The
        model counts its steps only after `on_train_start`.
        """
        if not self._has_begun:
            self._has_begun = True
            if not self.includes(self._step, pl_module.training_steps()):
                self._average = {}
        if self._trained:
            _copy(self._trained, self._weights)
            self._trained = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Classifier, *_: Any) -> None:
        step = trainer.global_step
        if step == self._step:  # with accumulated gradients, not every batch makes a step
            return
        self._step = step
        if step % self.every_n_steps == 0 and self.includes(step, pl_module.training_steps()):
            self._update(self._weights)

    @torch.no_grad()
    def _update(self, weights: dict[str, Tensor]) -> None:
        if not self._average:
            self.updates = 1
            self._average = {
                name: weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
                for name, weight in weights.items()
            }
            return
        self.updates += 1
        averages = [self._average[name] for name in weights]
        newest = [weight.to(average.dtype) for weight, average in zip(weights.values(), averages, strict=True)]
        torch._foreach_lerp_(averages, newest, self.share(self.updates))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if trainer.state.fn == "fit":
            self._take_average(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._take_average(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._average, self._trained, self._weights, self.updates = {}, {}, {}, 0

    def _take_average(self, model: Classifier) -> None:
        if self._average and not self._trained:
            self._trained = {name: weight.clone() for name, weight in self._weights.items()}
            _copy(self._average, self._weights)


class EMA(WeightAverage):
    """An exponential moving average of the weights:

        average <- d average + (1 - d) weights,      d = min(decay, (1 + n) / (10 + n)) in update n

    The lower d of the first updates, which keeps the first weights from weighing long, is that of TensorFlow
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). The average of the last weights is
    that of Polyak and Juditsky 1992, with exponential weights.

    Args:
        decay: share of the average that a step keeps, 0 < decay < 1.
        every_n_steps: see `WeightAverage`; an update keeps decay to the power of this.
    """

    def __init__(self, decay: float, every_n_steps: int = 1) -> None:
        super().__init__(every_n_steps)
        self.decay = decay

    def includes(self, step: int, steps: float) -> bool:
        return True

    def share(self, updates: int) -> float:
        return 1 - min(self.decay**self.every_n_steps, (1 + updates) / (10 + updates))


class SWA(WeightAverage):
    """The mean of the weights over the last part of training.

    Stochastic weight averaging (SWA; Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, algorithm 1 with a cycle
    of one step). The authors keep the learning rate high, or raise it again and again, while they average. They compute
    batch norm's statistics anew; here these are averaged.

    Args:
        part: of all training steps, 0 < part < 1; at least `every_n_steps`.
        every_n_steps: see `WeightAverage`.
    """

    def __init__(self, part: float, every_n_steps: int = 1) -> None:
        super().__init__(every_n_steps)
        self.part = part

    def includes(self, step: int, steps: float) -> bool:
        return step > steps - max(self.every_n_steps, round(self.part * steps))

    def share(self, updates: int) -> float:
        return 1 / updates


def averaged(model: Classifier) -> dict[str, Tensor]:
    """Return the tensors of a model that are averaged, by name."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if (name in parameters or name.endswith(RUNNING_STATISTICS)) and kind(tensor) != "integer"
    }


@torch.no_grad()
def _copy(source: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(source[name])
