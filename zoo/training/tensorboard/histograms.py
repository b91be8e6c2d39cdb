"""Histograms of a network's weights, gradients and activations, and the share of units that no longer learn."""

from collections.abc import Callable

import lightning as L
from torch import Tensor, nn

from zoo.core.classifier import Classifier
from zoo.interpretation import layer_outputs
from zoo.trained.inference import evaluating
from zoo.training import run_logger
from zoo.training.callbacks.dead_units import alive
from zoo.training.tensorboard import observing

IMAGES = 100
BINS = 60  # of equal width: TensorBoard shows 30


class Histograms(L.Callback):
    """Logs histograms before the first step, as epoch 0, and after each epoch:

    - "weights/LAYER": of all weights with at least two dimensions; biases and batch norm have fewer.
    - "gradients/LAYER": of the loss on 100 validation images, the same ones at every epoch.
    - "activations/LAYER": outputs of each ReLU, sigmoid or tanh for these images.

    And as curves, because no gradient passes through the flat part of an activation:

    - "dead/LAYER": share of the ReLU units that are 0 for all of these images; `DeadUnits` looks at all of them.
    - "saturation/LAYER": share of the outputs with a slope below a twelfth of the steepest: below 0.02 or above 0.98
      for a sigmoid, below -0.96 or above 0.96 for a tanh.

    Activations are found if they are modules of `torch.nn`, or belong to a NumPy network.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        if trainer.global_step == 0:
            self._log(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Classifier) -> None:
        self._log(trainer, pl_module, run_logger.epochs_done(trainer))

    def _log(self, trainer: L.Trainer, model: Classifier, epoch: int) -> None:
        logger = observing.logger(trainer)
        if logger is None:
            return
        _, images, labels = observing.held_out(observing.data(trainer), IMAGES)
        with observing.optional("histograms"):
            outputs = activations(model, images)
            kinds = {"weights": weights(model), "gradients": gradients(model, images, labels), "activations": outputs}
            for kind, layers in kinds.items():
                for name, values in layers.items():
                    numbers = values.detach().float().cpu()
                    logger.experiment.add_histogram(f"{kind}/{name}", numbers, epoch, bins=BINS)
            for name, output in outputs.items():
                kind, share = flatness(activation_of(model, name), output)
                logger.experiment.add_scalar(f"{kind}/{name}", share, epoch)


def weights(model: Classifier) -> dict[str, Tensor]:
    return {
        name.removesuffix(".weight"): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim > 1
    }


def gradients(model: Classifier, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradients of the loss at `weights`, in evaluation mode, by layer."""
    with evaluating(model):
        slopes = model.loss_gradients(images, labels)
    return {name.removesuffix(".weight"): slope for name, slope in slopes.items() if slope.ndim > 1}


def activations(model: Classifier, images: Tensor) -> dict[str, Tensor]:
    """Return the outputs of activations for uint8 images (n, c, h, w), by layer."""
    wanted = [name for name in layer_outputs.names(model) if isinstance(activation_of(model, name), tuple(FLATNESS))]
    return layer_outputs.outputs(model, images, wanted)


def flatness(activation: nn.Module, output: Tensor) -> tuple[str, float]:
    """Return the share of an output (n, units, ...) on the activation's flat part: ("dead" or "saturation", share)."""
    kind, is_flat = next(entry for known, entry in FLATNESS.items() if isinstance(activation, known))
    return kind, is_flat(output).float().mean().item()


def activation_of(model: Classifier, name: str) -> nn.Module:
    return model.torch_module().get_submodule(name)


FLATNESS: dict[type, tuple[str, Callable[[Tensor], Tensor]]] = {
    nn.ReLU: ("dead", lambda output: ~alive(output)),
    nn.Sigmoid: ("saturation", lambda output: (output < 0.02) | (output > 0.98)),
    nn.Tanh: ("saturation", lambda output: output.abs() > 0.96),
}
