"""The network: layers one behind the other.

Forward, each layer's outputs are the next one's inputs. Backward, each layer gets dL/da, works out the gradients of its
own weights, and hands dL/dx to the layer before, whose dL/da it is: the one's inputs are the other's outputs. That is
the chain rule, applied layer by layer, with nothing computed twice: backpropagation (Rumelhart, Hinton and Williams
1986, "Learning representations by back-propagating errors").

All weights and biases lie end to end in one flat array, and so do their gradients. The layers hold windows into it
(NumPy: views), so that whoever changes the flat array changes the layers, and a layer that writes its gradient with
`out=` writes it into the flat array. An optimizer then needs no loop over layers.

The gradients can be checked without any calculus. Push one weight by e = 1e-6 up and down: the slope
(L(w + e) - L(w - e)) / (2 e) must agree with dL/dw to some six digits. float32 has too few digits for it, float64 not.

After this file you can write backpropagation. Next: the gradient is known; how far shall a step go?

Letters: N images, D inputs of the network, K outputs, P parameters in all.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from zoo.scratch.layers import Dense


class Network:
    """A chain of layers, and the memory of their parameters.

    Args:
        layers: from the inputs to the outputs, at least one, all of one dtype. They belong to the network from now on.

    Attributes:
        layers: the same.
        parameters: for each layer in order its weights, row by row, then its bias; shape (P,).
        gradients: dL/dp for each parameter in the same order, of the last `backward`; shape (P,).

    Raises:
        ValueError: if there is no layer, or two neighbours do not fit.
    """

    def __init__(self, layers: Sequence[Dense]) -> None:
        if not layers:
            raise ValueError("a network needs at least one layer")
        for before, after in pairwise(layers):
            outputs, inputs = before.bias, after.weights
            if len(outputs) != len(inputs) or outputs.dtype != inputs.dtype:
                raise ValueError(
                    f"a layer puts out {len(outputs)} numbers of {outputs.dtype}, "
                    f"but the next one takes {len(inputs)} of {inputs.dtype}"
                )
        self.layers = list(layers)
        self.parameters = np.concatenate([part.ravel() for layer in layers for part in (layer.weights, layer.bias)])
        self.gradients = np.zeros_like(self.parameters)
        self.bind(self.parameters, self.gradients)

    def bind(self, parameters: np.ndarray, gradients: np.ndarray) -> None:
        """Take these two arrays as the memory from now on, with the values that they have.

        Args:
            parameters: see the attributes; contiguous, of the layers' dtype.
            gradients: likewise.

        Raises:
            ValueError: if one of them has another shape or dtype, or is not contiguous.
        """
        for name, array in (("parameters", parameters), ("gradients", gradients)):
            expected = (self.parameters.shape, self.parameters.dtype)
            if (array.shape, array.dtype) != expected or not array.flags.c_contiguous:
                raise ValueError(
                    f"{name} are {array.dtype} of shape {array.shape}, expected {expected[1]} of shape {expected[0]} "
                    "in one piece of memory"
                )
        self.parameters, self.gradients = parameters, gradients
        start = 0
        for layer in self.layers:
            shape = layer.weights.shape
            middle = start + layer.weights.size
            end = middle + layer.bias.size
            layer.weights, layer.bias = parameters[start:middle].reshape(shape), parameters[middle:end]
            layer.weights_gradient, layer.bias_gradient = gradients[start:middle].reshape(shape), gradients[middle:end]
            start = end

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied network: either makes arrays of their own out of the layers' windows."""
        self.__dict__.update(state)
        self.bind(self.parameters, self.gradients)

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """Return the last layer's outputs, the logits.

        Args:
            inputs: of the layers' dtype, shape (N, D). To be left alone until `backward` is done.

        Returns:
            Shape (N, K). The memory is used again: the values are valid until the next `forward`.

        Raises:
            ValueError: if `inputs` has another shape or dtype.
        """
        for layer in self.layers:
            inputs = layer.forward(inputs)
        return inputs

    def backward(self, gradient: np.ndarray, input_gradient: bool = False) -> np.ndarray | None:
        """Write the gradients of all parameters into `gradients`.

        Args:
            gradient: of the loss with respect to what the last `forward` returned, shape (N, K).
            input_gradient: whether to go on to dL/dx of the images. Training has no use for it, and it costs as much
                as the first layer's forward.

        Returns:
            dL/dx, shape (N, D), valid until the next `backward`; None where it was not asked for.

        Raises:
            ValueError: if `gradient` has not the shape of the last outputs.
        """
        for layer in reversed(self.layers[1:]):
            gradient = layer.input_gradient(layer.backward(gradient))
        delta = self.layers[0].backward(gradient)
        return self.layers[0].input_gradient(delta) if input_gradient else None
