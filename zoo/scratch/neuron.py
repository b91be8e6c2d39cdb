"""A neuron, its loss, and a step downhill: all of learning, in numbers.

    python -m zoo.scratch.neuron

prints every number of this chapter, and then lets the neuron learn to tell two groups of points apart.

## A neuron

A neuron has a weight for each of its inputs, and a bias. It adds up

    z = x_1 w_1 + x_2 w_2 + ... + x_D w_D + b

For an image, the inputs are its pixels. Here two inputs are enough: x = (1, 2), w = (0.5, -0.25) and b = 0 give

    z = 1 * 0.5 + 2 * (-0.25) + 0 = 0

A large z is to mean "yes", for example "this is an airplane", and a very negative z is to mean "no". The sigmoid turns
z into a probability of "yes",

    a = 1 / (1 + exp(-z)) = 1 / (1 + 1) = 0.5

exp(z) is 2.718... to the power of z, and log is its inverse, the natural logarithm.

## A loss

The label y is 1 for "yes" and 0 for "no". The neuron gave the true answer the probability a if
y = 1, and 1 - a if y = 0. The
loss L is -log of that probability. It is 0 for a correct prediction made with full confidence, and large for a
confident mistake:

    the truth had probability    1     0.9    0.5    0.1    0.01
    loss                         0     0.105  0.693  2.303  4.605

The example has y = 1, so L = -log 0.5 = 0.693. To learn is to change w and b so that the mean loss falls.

## Slopes

How much does L change if w_1 alone grows by a little? Try it. With w_1 = 0.501, z becomes 0.001, a becomes 0.50025, and
L falls from 0.69315 to 0.69265, by 0.0005. The slope is -0.0005 / 0.001 = -0.5. This number is the partial derivative
dL/dw_1: the slope of L in the direction of w_1, while all other weights stay as they are.

The chain rule finds it without trying. L depends on w_1 through z, so the slopes multiply:

    dL/dw_1 = dL/dz * dz/dw_1

The second factor is x_1, because w_1 occurs in z as x_1 w_1. The first factor is a - y: what the neuron said minus what
is true (`loss_slope` derives it). In numbers,

    dL/dz = 0.5 - 1 = -0.5      dL/dw_1 = -0.5 * 1 = -0.5      dL/dw_2 = -0.5 * 2 = -1      dL/db = -0.5 * 1 = -0.5

The list of all slopes, here (-0.5, -1, -0.5), is the gradient.

## A step

Moving the weights by small amounts d_1, d_2, ... changes L by the sum dL/dw_1 d_1 + dL/dw_2 d_2 + ... For two weights,
this sum is |gradient| |d| cos(angle between them). Among all steps of one length, it
is most negative at 180 degrees, where the cosine is -1: exactly against the gradient. So each weight moves against its
slope, and b likewise:

    w <- w - learning_rate * dL/dw

With a learning rate of 1, w becomes (1, 0.75) and b becomes 0.5. Then z = 3, a = 0.953, and L = 0.049 instead of 0.693.
A learning rate that is too small takes forever. One that is too large overshoots the valley and climbs the other side.

With many points, L is the mean of their losses L_n, and the slope of a mean is the mean of the slopes.

After this chapter you can train a neuron by hand. Next: many neurons side by side, which is a layer.

Letters: N points, D inputs; x (N, D), w (D,), b a number; z, a and y (N,).
"""

import numpy as np


def weigh(x: np.ndarray, w: np.ndarray, b: float) -> np.ndarray:
    """Return z = x w + b for each of N points.

    Args:
        x: inputs, shape (N, D).
        w: weights, shape (D,).
        b: the bias.

    Returns:
        Shape (N,).
    """
    return x @ w + b  # (N, D) @ (D,) = (N,): for each row of x, the sum of its products with w


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-z)) for each element: a number between 0 and 1.

    Written like this, exp(-z) is too large for float32 if z is below about -88.7. Multiplying the top and the bottom of
    the fraction by exp(z) gives exp(z) / (exp(z) + 1), which is too large if z is above 88.7. So each half takes the
    form whose exponent is never positive:

        z >= 0:        1 / (1 + exp(-z))
        z <  0:   exp(z) / (1 + exp(z))

    One formula covers both: exp(min(z, 0)) / (1 + exp(-|z|)).
    """
    return np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))


def loss(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return -log a where y = 1, and -log (1 - a) where y = 0, with a = sigmoid(z).

    Both can be written with softplus(z) = log (1 + exp(z)), which is the loss for y = 0:

        1 - a = 1 - 1 / (1 + exp(-z)) = exp(-z) / (1 + exp(-z)) = 1 / (exp(z) + 1)
        -log (1 - a) = log (1 + exp(z)) = softplus(z)

    and for y = 1, using a = exp(z) / (1 + exp(z)):

        -log a = log (1 + exp(z)) - log exp(z) = softplus(z) - z

    Together, L_n = softplus(z) - y z. For z > 0, exp(z) could overflow; 1 + exp(z) = exp(z) (exp(-z) + 1) gives

        softplus(z) = max(z, 0) + log (1 + exp(-|z|))

    Args:
        z: shape (N,).
        y: labels 0 and 1, or probabilities between them, shape (N,).

    Returns:
        The loss of each point, shape (N,).
    """
    softplus = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))  # log1p(t) is log(1 + t), accurate for small t
    return softplus - y * z


def loss_slope(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dL_n/dz = a - y for each point n: the prediction minus the truth.

    L_n = softplus(z) - y z. By the chain rule, the slope of log (1 + exp(z)) is exp(z) / (1 + exp(z)), which is a. The
    slope of y z is y.
    """
    return sigmoid(z) - y


def gradient(x: np.ndarray, z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Return dL/dw, shape (D,), and dL/db, of the mean loss L of N points."""
    slopes = loss_slope(z, y)  # (N,)
    return x.T @ slopes / len(x), float(slopes.mean())  # (D, N) @ (N,) = (D,): over the points, the sum of x * slope


def step(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float, learning_rate: float
) -> tuple[np.ndarray, float, float]:
    """Return w and b after a step downhill, and the mean loss before it."""
    z = weigh(x, w, b)
    dw, db = gradient(x, z, y)
    return w - learning_rate * dw, b - learning_rate * db, float(loss(z, y).mean())


def two_groups(rng: np.random.Generator, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return n points in two overlapping round groups, float64 (n, 2), and the group of each, 0 or 1, (n,)."""
    y = rng.integers(2, size=n)
    return rng.standard_normal((n, 2)) + np.where(y[:, None] == 1, [0.9, 0.6], [-0.9, -0.6]), y


def main() -> None:
    """Print the numbers of this chapter, then train a neuron."""
    x, y, w, b = np.array([[1.0, 2.0]]), np.array([1]), np.array([0.5, -0.25]), 0.0
    z = weigh(x, w, b)
    dw, db = gradient(x, z, y)
    print(f"x = (1, 2), w = (0.5, -0.25), b = 0, y = 1:  z = {z[0]:g}, a = {sigmoid(z)[0]:g}, L = {loss(z, y)[0]:.3f}")
    print(f"slopes: dL/dz = {loss_slope(z, y)[0]:g}, dL/dw = ({dw[0]:g}, {dw[1]:g}), dL/db = {db:g}")
    w, b, _ = step(x, y, w, b, learning_rate=1)
    z = weigh(x, w, b)
    weights = f"w = ({w[0]:g}, {w[1]:g}), b = {b:g}"
    print(f"after a step: {weights};  z = {z[0]:g}, a = {sigmoid(z)[0]:.3f}, L = {loss(z, y)[0]:.3f}")
    print()

    x, y = two_groups(np.random.default_rng(0))
    w, b = np.zeros(2), 0.0
    print("200 points in two groups\nstep   loss  accuracy")
    for number in range(101):
        right = ((weigh(x, w, b) > 0) == y).mean()
        w, b, mean_loss = step(x, y, w, b, learning_rate=0.5)
        if number in (0, 1, 2, 5, 10, 100):
            print(f"{number:4}  {mean_loss:.3f}  {100 * right:6.1f} %")
    print("The loss falls to the end. The accuracy does not: it only counts on which side of the line a point lies.")


if __name__ == "__main__":
    main()
