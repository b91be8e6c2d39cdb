"""Making it fast: the same numbers with less work and less memory.

This chapter has faster forms of the layers and optimizers that take most of the time. Tests check that each gives the
results of its plain form. It uses five ideas, the most useful first:

**Leave out what nobody needs.** Training does not need the slopes of the pixels, so the first layer does not compute
them. In a network with one hidden layer, that halves the time of `backward`.

**Reuse arrays.** The chapters make a new array for every result. `np.matmul(x, W, out=z)` is z = x @ W without a new
array. Batches have the same shapes at every step, so the arrays of the last step can be used again. The price: an
output is valid only until the next `forward`.

**One flat array for all parameters**, and another one for all gradients. The layers hold windows into them (NumPy:
views), so that an optimizer changes all layers with a few operations on one long array.

**Stay in the cache.** The patches of a batch take nine times the memory of its images, and do not fit the processor's
cache. A convolution takes a few images at a time, and their patches are multiplied while they are still in the cache.

**Use all cores.** While NumPy computes, it lets other threads of Python run, so a convolution can give some of the
images to each of several threads. (NumPy can also divide a single product of matrices among threads, but these products
are too small to gain from it, and its threads keep a core busy while they wait.)

`FastNetwork` takes any layers. Those without a fast form, such as a layer of your own, work as they are.

After this chapter you can read all of the code that trains these networks. Next: all of it at work.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from zoo.scratch.activations import Activation, ReLU, Sigmoid, Tanh
from zoo.scratch.convolution import Conv2D
from zoo.scratch.layers import Dense, Layer
from zoo.scratch.network import Network
from zoo.scratch.optimizers import SGD, Adam, Momentum, Optimizer, State

PATCH_BYTES = 1 << 20  # of the patches that a convolution cuts out at once


class FastNetwork(Network):
    """A network whose parameters and gradients lie in two flat arrays.

    Args:
        layers: as for `Network`; they belong to this network from now on, and keep their weights.

    Attributes:
        flat: all parameters, layer by layer, shape (P,).
        flat_gradients: dL/dp of the last `backward` in the same order, shape (P,).

    Raises:
        ValueError: if there is no layer, or the parameters are not all of one dtype.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__([FAST[type(layer)](layer) if type(layer) in FAST else layer for layer in layers])
        parts = [array for layer in self.layers for array in layer.parameters.values()]
        if len(dtypes := {str(part.dtype) for part in parts}) > 1:
            raise ValueError(f"the parameters are {' and '.join(sorted(dtypes))}: give all layers one dtype")
        self.flat = np.concatenate([part.ravel() for part in parts]) if parts else np.empty(0, np.float32)
        self.flat_gradients = np.zeros_like(self.flat)
        self._share()

    def _share(self) -> None:
        """Turn the arrays of the layers into windows into the flat arrays."""
        start = 0
        for layer in self.layers:
            parameters, gradients = {}, {}
            for name, array in layer.parameters.items():
                end = start + array.size
                parameters[name] = self.flat[start:end].reshape(array.shape)
                gradients[name] = self.flat_gradients[start:end].reshape(array.shape)
                start = end
            layer.parameters, layer.gradients = Windows(parameters), Windows(gradients)
            layer.state = Windows(layer.state)
        self._windows = [layer.gradients for layer in self.layers]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or pickled network: both make arrays of their own out of the windows."""
        self.__dict__.update(state)
        self._share()

    @property
    def parameters(self) -> list[np.ndarray]:
        """The flat array, as a list of one."""
        return [self.flat]

    @property
    def gradients(self) -> list[np.ndarray]:
        """The flat array of the gradients, as a list of one."""
        return [self.flat_gradients]

    def set_threads(self, threads: int) -> None:
        """Let each convolution divide its images among this number of threads, at least 1. At first it is 1."""
        for layer in self.layers:
            if isinstance(layer, FastConv2D):
                layer.threads = threads

    def backward(self, gradient: np.ndarray, input_gradient: bool = False) -> np.ndarray:
        """Set the gradients of all layers; see `Network.backward`.

        The slopes of the images are computed only with `input_gradient`. Without it, the return value is meaningless.
        """
        learning = [number for number, layer in enumerate(self.layers) if layer.parameters]
        first = 0 if input_gradient or not learning else learning[0]
        for layer, windows in reversed(list(zip(self.layers, self._windows, strict=True))[first:]):
            is_first = layer is self.layers[first]
            if is_first and not input_gradient and isinstance(layer, (FastDense, FastConv2D)):
                layer.set_gradients(gradient)
            else:
                gradient = layer.backward(gradient)
            if layer.gradients is not windows:  # the layer made new arrays, in a dictionary of its own
                for name, array in layer.gradients.items():
                    windows[name] = array
                layer.gradients = windows
        return gradient


class Windows(dict[str, np.ndarray]):
    """Arrays by name that stay where they are: assigning to a name writes into its array.

    So a plain layer, which assigns a new array to `gradients["weight"]` at every step, fills the flat array.
    """

    def __setitem__(self, name: str, values: np.ndarray) -> None:
        self[name][...] = values

    def __reduce__(self) -> tuple[type, tuple[dict[str, np.ndarray]]]:
        return dict, (dict(self),)


class Memory:
    """Arrays that are used again. A smaller batch gets the first rows of the largest one so far."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array of this shape and dtype, with any content; new arrays start at 0."""
        array = self._arrays.get(name)
        if array is None or array.shape[1:] != shape[1:] or len(array) < shape[0] or array.dtype != dtype:
            self._arrays[name] = array = np.zeros(shape, dtype)
        return array[: shape[0]]


class FastDense(Dense):
    """`Dense` that reuses its arrays."""

    def __init__(self, plain: Dense) -> None:
        self.__dict__.update(vars(plain))
        self._memory = Memory()

    def forward(self, x: np.ndarray) -> np.ndarray:
        weight = self.parameters["weight"]
        _check(x, weight, ("N", len(weight)))
        self.x = x
        z = np.matmul(x, weight, out=self._memory.take("z", (len(x), weight.shape[1]), x.dtype))
        z += self.parameters["bias"]
        return z

    def set_gradients(self, gradient: np.ndarray) -> None:
        np.matmul(self.x.T, gradient, out=self.gradients["weight"])
        np.sum(gradient, axis=0, out=self.gradients["bias"])

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        self.set_gradients(gradient)
        out = self._memory.take("slopes", self.x.shape, gradient.dtype)
        return np.matmul(gradient, self.parameters["weight"].T, out=out)


class FastActivation(Activation):
    """An activation that reuses its arrays."""

    def __init__(self, plain: Activation) -> None:
        self.__dict__.update(vars(plain))
        self._memory = Memory()

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        out = self._memory.take("slopes", gradient.shape, gradient.dtype)
        return np.multiply(gradient, self.slope(self.a), out=out)


class FastReLU(FastActivation, ReLU):
    def function(self, z: np.ndarray) -> np.ndarray:
        return np.maximum(z, 0, out=self._memory.take("a", z.shape, z.dtype))

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        out = self._memory.take("slopes", gradient.shape, gradient.dtype)
        np.greater(self.a, 0, out=out)  # 0 or 1, as in ReLU.slope
        out *= gradient
        return out


class FastSigmoid(FastActivation, Sigmoid):
    pass


class FastTanh(FastActivation, Tanh):
    def function(self, z: np.ndarray) -> np.ndarray:
        return np.tanh(z, out=self._memory.take("a", z.shape, z.dtype))


class FastConv2D(Conv2D):
    """`Conv2D` that cuts out the patches of a few images at a time, into arrays that it reuses.

    Backward cuts them out once more: keeping the patches of a whole batch would take longer. Each thread has groups of
    images of its own. The numbers do not depend on how many threads there are.

    Attributes:
        threads: how many share the work.
    """

    threads = 1

    def __init__(self, plain: Conv2D) -> None:
        self.__dict__.update(vars(plain))
        self._memory = Memory()
        self._memories: list[Memory] = []  # one for each thread

    def forward(self, x: np.ndarray) -> np.ndarray:
        weight = self.parameters["weight"]
        _check(x, weight, ("N", "h", "w", weight.shape[2]))
        self.x = x
        z = self._memory.take("z", (*x.shape[:3], weight.shape[3]), x.dtype)
        flat_weight, bias = weight.reshape(-1, weight.shape[3]), self.parameters["bias"]

        def fill(number: int, block: slice, memory: Memory) -> None:
            rows = self._rows(z[block])
            np.matmul(self._patches(x[block], memory), flat_weight, out=rows)
            rows += bias

        self._in_threads(fill)
        return z

    def set_gradients(self, gradient: np.ndarray) -> None:
        self._backward(gradient, None)

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        n, h, w, c = self.x.shape
        border = self.size // 2
        padded = self._memory.take("slopes", (n, h + 2 * border, w + 2 * border, c), gradient.dtype)
        padded[:] = 0
        self._backward(gradient, padded)
        return padded[:, border : border + h, border : border + w]

    def _backward(self, gradient: np.ndarray, padded: np.ndarray | None) -> None:
        """Set the gradients, and add the slopes of the images into `padded`, (N, h + 2 border, w + 2 border, C)."""
        weight, dw = self.parameters["weight"], self.gradients["weight"]
        h, w, kernels = gradient.shape[1:]
        flat_weight, flat_dw = weight.reshape(-1, kernels), dw.reshape(-1, kernels)
        blocks = len(self._blocks())
        partial = self._memory.take("dw", (blocks, *flat_dw.shape), dw.dtype)
        partial_bias = self._memory.take("db", (blocks, kernels), dw.dtype)

        def fill(number: int, block: slice, memory: Memory) -> None:
            slopes, rows = self._rows(gradient[block]), self._patches(self.x[block], memory)
            np.matmul(rows.T, slopes, out=partial[number])
            np.sum(slopes, axis=0, out=partial_bias[number])
            if padded is None:
                return
            cut = np.matmul(slopes, flat_weight.T, out=rows).reshape(-1, h, w, self.size, self.size, weight.shape[2])
            for u in range(self.size):
                for v in range(self.size):
                    padded[block, u : u + h, v : v + w] += cut[:, :, :, u, v]

        self._in_threads(fill)
        np.sum(partial, axis=0, out=flat_dw)
        np.sum(partial_bias, axis=0, out=self.gradients["bias"])

    def _blocks(self) -> list[slice]:
        """Divide the batch into groups of images whose patches fit the cache."""
        images = max(1, PATCH_BYTES // (self.x[0].nbytes * self.size**2))
        return [slice(start, start + images) for start in range(0, len(self.x), images)]

    def _in_threads(self, fill: Callable[[int, slice, Memory], None]) -> None:
        """Call `fill` with each group of images, its number, and arrays that no other thread uses.

        Each matrix product should take one thread, see `threadpoolctl.threadpool_limits`.
        """
        blocks = self._blocks()
        threads = min(len(blocks), self.threads)
        self._memories += [Memory() for _ in range(threads - len(self._memories))]

        def work(thread: int) -> None:
            for number in range(thread, len(blocks), threads):
                fill(number, blocks[number], self._memories[thread])

        if threads == 1:
            work(0)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))

    def _patches(self, x: np.ndarray, memory: Memory) -> np.ndarray:
        """Return the patches of a few images, shape (n h w, size * size * C)."""
        n, h, w, c = x.shape
        border = self.size // 2
        # The border is 0 from the start and stays so.
        padded = memory.take("padded", (n, h + 2 * border, w + 2 * border, c), x.dtype)
        padded[:, border : border + h, border : border + w] = x
        # A row of a patch lies in one piece in memory: all of its columns are copied at once.
        rows = sliding_window_view(padded.reshape(n, h + 2 * border, -1), self.size * c, axis=2)[:, :, ::c]
        cut = memory.take("patches", (n, h, w, self.size, self.size * c), x.dtype)
        for u in range(self.size):
            cut[:, :, :, u] = rows[:, u : u + h]
        return cut.reshape(n * h * w, -1)

    @staticmethod
    def _rows(x: np.ndarray) -> np.ndarray:
        """Return numbers at all places as rows, shape (n h w, H)."""
        return x.reshape(-1, x.shape[-1])


class FastOptimizer(Optimizer):
    """An optimizer that reuses its arrays."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._memory = Memory()

    def decayed(self, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        if not self.weight_decay:
            return g
        decayed = np.multiply(p, self.weight_decay, out=self._memory.take("decayed", p.shape, p.dtype))
        decayed += g
        return decayed


class FastSGD(FastOptimizer, SGD):
    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        p -= np.multiply(g, learning_rate, out=self._memory.take("change", p.shape, p.dtype))


class FastMomentum(FastOptimizer, Momentum):
    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        v, change = state["velocity"], self._memory.take("change", p.shape, p.dtype)
        v *= self.beta
        v += g
        if self.nesterov:
            np.multiply(v, self.beta, out=change)
            change += g
            change *= learning_rate
        else:
            np.multiply(v, learning_rate, out=change)
        p -= change


class FastAdam(FastOptimizer, Adam):
    def update(self, p: np.ndarray, g: np.ndarray, state: State, learning_rate: float) -> None:
        m, s, scratch = state["mean"], state["mean_square"], self._memory.take("scratch", p.shape, p.dtype)
        m *= self.beta1
        m += np.multiply(g, 1 - self.beta1, out=scratch)
        s *= self.beta2
        np.square(g, out=scratch)
        s += np.multiply(scratch, 1 - self.beta2, out=scratch)

        # sqrt(s / c) is sqrt(s) / sqrt(c), and the two factors of the numerator are one number.
        np.sqrt(s, out=scratch)
        scratch /= (1 - self.beta2**self.step_count) ** 0.5
        scratch += self.epsilon
        change = np.divide(m, scratch, out=scratch)
        change *= learning_rate / (1 - self.beta1**self.step_count)
        p -= change


FAST: dict[type[Layer], Callable[[Any], Layer]] = {
    Dense: FastDense,
    ReLU: FastReLU,
    Sigmoid: FastSigmoid,
    Tanh: FastTanh,
    Conv2D: FastConv2D,
}


def _check(x: np.ndarray, weight: np.ndarray, shape: tuple[str | int, ...]) -> None:
    """Raise ValueError unless x has a shape like ("N", 3072) and the dtype of the weights."""
    fits = x.ndim == len(shape) and x.shape[-1] == shape[-1] and x.dtype == weight.dtype
    if not fits:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"inputs are {x.dtype} of shape {x.shape}, expected {weight.dtype} of shape ({expected})")
