"""Training: the loop that puts the other files together.

A step has four parts, one after the other:

    forward     what does the network say to these images?
    loss        how wrong is that, and in which direction?
    backward    how much did each weight have to do with it?
    step        each weight moves a little, against its slope

After this file you can train any network of these parts. Next: does it work?

Letters: N images of a batch, D inputs, K classes.
"""

from collections.abc import Iterable

import numpy as np

from zoo.scratch.losses import Loss
from zoo.scratch.network import Network
from zoo.scratch.optimizers import Optimizer
from zoo.scratch.regularizers import Regularizer

Batches = Iterable[tuple[np.ndarray, np.ndarray]]  # inputs (N, D) and labels (N,)


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
        network: what learns.
        loss: what it is to make small.
        optimizer: made for the network's `parameters` and `gradients`.
        inputs: shape (N, D).
        labels: integers, shape (N,).
        learning_rate: see `Optimizer.step`.
        regularizer: a price on the weights of every layer, if any.

    Returns:
        The loss of the batch before the step, with the regularizer's price.
    """
    logits = network.forward(inputs)  # (N, K)
    value, gradient = loss.value_and_gradient(logits, labels)
    network.backward(gradient)
    if regularizer is not None:
        for layer in network.layers:
            value += regularizer.value(layer.weights)
            regularizer.add_gradient(layer.weights, layer.weights_gradient)
    optimizer.step(learning_rate)
    return value


def train_epoch(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    batches: Batches,
    learning_rate: float,
    regularizer: Regularizer | None = None,
) -> float:
    """Learn from each batch once.

    Args are those of `train_step`.

    Returns:
        The mean loss per image; each batch is judged before it is learnt from.
    """
    total, count = 0.0, 0
    for inputs, labels in batches:
        total += len(labels) * train_step(network, loss, optimizer, inputs, labels, learning_rate, regularizer)
        count += len(labels)
    return total / count


def evaluate(network: Network, loss: Loss, batches: Batches) -> tuple[float, float]:
    """Return the mean loss per image and the accuracy, 0..1: the share of images whose most probable class is right.

    Nothing is learnt, and a regularizer's price is not in this loss.
    """
    total, right, count = 0.0, 0, 0
    for inputs, labels in batches:
        logits = network.forward(inputs)  # (N, K)
        total += len(labels) * loss.value_and_gradient(logits, labels)[0]
        right += int(np.sum(predictions(logits) == labels))
        count += len(labels)
    return total / count, right / count


def predictions(logits: np.ndarray) -> np.ndarray:
    """Return the most probable class of each image: that of the largest logit, as softmax keeps the order.

    Args:
        logits: shape (N, K), or (N, 1) for yes or no: class 1 where the logit is positive, as sigmoid(0) = 1/2.

    Returns:
        Integers, shape (N,).
    """
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return logits.argmax(axis=1)
