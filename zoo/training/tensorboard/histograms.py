"""Histograms of what a network is made of: weights, gradients, activations, and how many units no longer learn."""

from collections.abc import Callable

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from zoo.core.classifier import Classifier
from zoo.core.numpy_classifier import NumPyClassifier
from zoo.interpretation import layer_outputs
from zoo.scratch import activations as scratch
from zoo.trained.inference import evaluating
from zoo.training import run_logger
from zoo.training.callbacks.dead_units import alive
from zoo.training.tensorboard import observing

IMAGES = 100
BINS = 60  # of equal width: TensorBoard shows 30


class Histograms(L.Callback):
    """Logs histograms before the first step (epoch 0), where one sees what initialization does, and after each epoch:

    - "weights/LAYER": all that have at least two dimensions, so neither biases nor what batch norm learns.
    - "gradients/LAYER": of the loss on 100 validation images, the same at every epoch. Those of the last step would
      depend on its batch, and there are none before the first.
    - "activations/LAYER": what a ReLU, sigmoid or tanh puts out for these images.

    And as curves, since no gradient comes through where an activation is flat:

    - "dead/LAYER": the share of ReLU units that are 0 for every image, see
      `zoo.training.callbacks.dead_units.DeadUnits`, which looks at all validation images.
    - "saturation/LAYER": the share of outputs at which the slope is less than a twelfth of the steepest: below 0.02 or
      above 0.98 of a sigmoid, below -0.96 or above 0.96 of a tanh.

    Activations are found where they are modules of their own, of the classes of `torch.nn`. It writes to a `RunLogger`
    only, in the first process, and changes nothing of the training.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log what the network is before it has learnt anything; a run that goes on has done so."""
        if trainer.global_step == 0:
            self._log(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        """Log what the epoch made of it."""
        self._log(trainer, pl_module, run_logger.epochs_done(trainer))

    def _log(self, trainer: L.Trainer, model: Classifier, epoch: int) -> None:
        logger = observing.logger(trainer)
        if logger is None:
            return
        writer = logger.experiment
        _, images, labels = observing.held_out(observing.data(trainer), IMAGES)
        with observing.optional("histograms"):
            found = {"weights": weights(model), "gradients": gradients(model, images, labels)}
            outputs = activations(model, images)
            for kind, of_layers in {**found, "activations": outputs}.items():
                for name, values in of_layers.items():
                    writer.add_histogram(f"{kind}/{name}", values.detach().float().cpu(), epoch, bins=BINS)
            for name, output in outputs.items():
                kind, share = flatness(activation_of(model, name), output)
                writer.add_scalar(f"{kind}/{name}", share, epoch)


def weights(model: Classifier) -> dict[str, Tensor]:
    """Return the weights that are trained, by layer."""
    return {
        name.removesuffix(".weight"): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1
    }


def gradients(model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradients of the loss at `weights`, by layer, and leave those of training as they are.

    Args:
        model: any of the zoo; evaluation mode.
        images: uint8 (n, 3, 32, 32).
        labels: their classes, int64 (n,).
    """
    of_layers = weights(model)
    if isinstance(model, NumPyClassifier):
        network, before = model.network, model.network.gradients.copy()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # as in training
            logits = network.forward(model.normalized(images))
            network.backward(model.objective.value_and_gradient(logits, labels.numpy())[1])
        found = {name: parameter.grad.clone() for name, parameter in of_layers.items() if parameter.grad is not None}
        network.gradients[:] = before
        return found
    with evaluating(model), torch.enable_grad():
        loss = model.loss(model(images.to(model.device)).float(), labels.to(model.device))
        slopes = torch.autograd.grad(loss, list(of_layers.values()), allow_unused=True)
    return {name: slope for name, slope in zip(of_layers, slopes, strict=True) if slope is not None}


def activations(model: Classifier, images: Tensor) -> dict[str, Tensor]:
    """Return the outputs of activations for uint8 images (n, 3, 32, 32), by layer."""
    wanted = [name for name in layer_outputs.names(model) if isinstance(activation_of(model, name), tuple(FLATNESS))]
    return layer_outputs.outputs(model, images, wanted)


def flatness(activation: object, output: Tensor) -> tuple[str, float]:
    """Return how much of an activation's output (n, units, ...) lies where it is flat: "dead" or "saturation", a share.

    Args:
        activation: of one of the classes of `FLATNESS`.
        output: of it.
    """
    kind, share = next(entry for known, entry in FLATNESS.items() if isinstance(activation, known))
    return kind, share(output).float().mean().item()


def activation_of(model: Classifier, name: str) -> object:
    """Return the activation of a hidden layer: a module, or a NumPy network's activation."""
    if isinstance(model, NumPyClassifier):
        return model.network.layers[int(name.removeprefix("layers."))].activation
    return model.get_submodule(name)


def _dead(output: Tensor) -> Tensor:
    return ~alive(output)


def _sigmoid_is_flat(output: Tensor) -> Tensor:
    return (output < 0.02) | (output > 0.98)


def _tanh_is_flat(output: Tensor) -> Tensor:
    return output.abs() > 0.96


FLATNESS: dict[type, tuple[str, Callable[[Tensor], Tensor]]] = {
    nn.ReLU: ("dead", _dead),
    nn.Sigmoid: ("saturation", _sigmoid_is_flat),
    nn.Tanh: ("saturation", _tanh_is_flat),
    scratch.ReLU: ("dead", _dead),
    scratch.Sigmoid: ("saturation", _sigmoid_is_flat),
    scratch.Tanh: ("saturation", _tanh_is_flat),
}
