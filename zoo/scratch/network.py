"""The network: layers in a row, and a way to check every gradient.

Forward, the outputs of each layer are the inputs of the next. Backward, each layer turns the slopes of its outputs into
those of its inputs, which are the outputs of the layer before. That is the chain rule, layer by layer, and nothing is
computed twice: backpropagation (Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating
errors").

    images -> Dense -> ReLU -> Dense -> logits -> loss
              <------  <-----  <------  <-------

The last layer has no activation. Its outputs z are called logits, and the loss takes them as they are. So the first
slope, dL/dz, comes from the loss, and goes into the last layer's `backward`.

## A check without calculus

A gradient can be checked by trying. Change one parameter p by +e and by -e, with a small e. The quotient

    (L(p + e) - L(p - e)) / (2 e)

must agree with dL/dp. The error of this central difference shrinks with e^2. But L is rounded, and the rounding error
is divided by 2 e, so e must not be too small either. In float64, which has 16 digits, e = 1e-6 leaves about 8 of
them, and fewer for slopes close to 0. float32 has 7 digits, of which nothing is left: check a gradient in float64. The
loss must be the same function each time, so dropout must be off; and at the corner of a ReLU there is no slope to find.

After this chapter you can write backpropagation, and know that it is right. Next: more than two classes.

Letters: N images; p a parameter.
"""

from collections.abc import Callable, Sequence

import numpy as np

from zoo.scratch.layers import Layer, Shape


class Network:
    """Layers in a row.

    Args:
        layers: from the inputs to the outputs, at least one.

    Raises:
        ValueError: if there is no layer.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        if not layers:
            raise ValueError("a network needs at least one layer")
        self.layers = list(layers)

    @property
    def parameters(self) -> list[np.ndarray]:
        """The arrays that the network learns, layer by layer."""
        return [array for layer in self.layers for array in layer.parameters.values()]

    @property
    def gradients(self) -> list[np.ndarray]:
        """dL/dp of the last `backward` for each of `parameters`."""
        return [layer.gradients[name] for layer in self.layers for name in layer.parameters]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs of the last layer, the logits, shape (N, K), for a batch of N images."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Set the gradients of all layers, and return the slope of the loss for each number of the images.

        Args:
            gradient: dL/dz of the logits that the last `forward` returned, shape (N, K).
        """
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        return gradient

    def set_training(self, training: bool) -> None:
        """Tell every layer whether the network is in training or in use. It is in training until told otherwise."""
        for layer in self.layers:
            layer.training = training

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the outputs for one image of a given shape."""
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return input_shape


def central_differences(loss: Callable[[], float], array: np.ndarray, e: float = 1e-6) -> np.ndarray:
    """Return the slope of `loss()` in the direction of each element of an array, by trying.

    Args:
        loss: computes one number from the array's present values.
        array: float64, any shape. Each element is changed and restored.
        e: the size of the change.

    Returns:
        Shape of the array.

    Raises:
        ValueError: if the array is not float64.
    """
    if array.dtype != np.float64:
        raise ValueError(f"the array is {array.dtype}: central differences need float64")
    slopes = np.empty_like(array)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + e
        above = loss()
        array[place] = value - e
        below = loss()
        array[place] = value
        slopes[place] = (above - below) / (2 * e)
    return slopes
