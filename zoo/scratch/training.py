"""Training: the loop that puts the chapters together.

A step has four parts, one after the other:

    forward     what does the network predict for these images?
    loss        how wrong is that, and in which direction?
    backward    what is the slope for each weight?
    step        each weight moves a little, against its slope

After this chapter you can train any network of these parts. Next: a layer that looks at images as images.

Letters: N images of a batch, K classes.
"""

from collections.abc import Iterable

import numpy as np

from zoo.scratch.losses import Loss
from zoo.scratch.network import Network
from zoo.scratch.optimizers import Optimizer
from zoo.scratch.regularizers import Regularizer

ManyBatches = Iterable[tuple[np.ndarray, np.ndarray]]  # inputs (N, ...) and labels (N,)


def train_step(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    inputs: np.ndarray,
    labels: np.ndarray,
    learning_rate: float,
    regularizer: Regularizer | None = None,
) -> float:
    """Learn from one batch.

    Args:
        network: the network to train.
        loss: the loss to minimize.
        optimizer: made for the network's `parameters`.
        inputs: shape (N, ...).
        labels: integers, shape (N,).
        learning_rate: see `Optimizer.step`.
        regularizer: a penalty on all weights, but not on biases, if any.

    Returns:
        The loss of the batch before the step, with the penalty.
    """
    logits = network.forward(inputs)  # (N, K)
    value, gradient = loss.value_and_gradient(logits, labels)
    network.backward(gradient)
    if regularizer is not None:
        for layer in network.layers:
            if "weight" in layer.parameters and layer.parameters["weight"].ndim > 1:  # not those of batch normalization
                value += regularizer.value(layer.parameters["weight"])
                layer.gradients["weight"] = layer.gradients["weight"] + regularizer.slope(layer.parameters["weight"])
    optimizer.step(network.gradients, learning_rate)
    return value


def train_epoch(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    batches: ManyBatches,
    learning_rate: float,
    regularizer: Regularizer | None = None,
) -> float:
    """Learn from each batch once.

    Args are those of `train_step`.

    Returns:
        The mean loss per image; each batch is judged before the network learns from it.

    Raises:
        ValueError: if there are no batches.
    """
    network.set_training(True)
    total, count = 0.0, 0
    for inputs, labels in batches:
        total += len(labels) * train_step(network, loss, optimizer, inputs, labels, learning_rate, regularizer)
        count += len(labels)
    _check_count(count)
    return total / count


def evaluate(network: Network, loss: Loss, batches: ManyBatches) -> tuple[float, float]:
    """Return the mean loss per image, and the accuracy: the share of images whose most probable class is right.

    The network learns nothing, and the loss excludes the penalty.

    Raises:
        ValueError: if there are no batches.
    """
    network.set_training(False)
    total, right, count = 0.0, 0, 0
    for inputs, labels in batches:
        logits = network.forward(inputs)  # (N, K)
        total += len(labels) * loss.value_and_gradient(logits, labels)[0]
        right += int(np.sum(predictions(logits) == labels))
        count += len(labels)
    _check_count(count)
    return total / count, right / count


def predictions(logits: np.ndarray) -> np.ndarray:
    """Return the most probable class of each image: that of the largest logit, because softmax keeps the order.

    Args:
        logits: shape (N, K); or (N, 1) for two classes, with class 1 if the logit is positive, as sigmoid(0) = 1/2.

    Returns:
        Integers, shape (N,).
    """
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return logits.argmax(axis=1)


def _check_count(count: int) -> None:
    if count == 0:
        raise ValueError("there are no batches: a generator, for example, gives its batches only once")
