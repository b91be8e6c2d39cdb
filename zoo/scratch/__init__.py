"""Neural networks from nothing but NumPy: a lesson to be read from top to bottom.

It takes school calculus (the slope of a function; chain, product and quotient rule) and a little Python with classes.
What a library does in one call is written out here.

Reading order, one noun per chapter:

    neuron.py         a neuron, its loss, and a step downhill, in numbers: python -m zoo.scratch.neuron
    layers.py         many neurons side by side, forward and backward
    activations.py    the function between two layers: ReLU, sigmoid, tanh
    network.py        layers in a row, and a check of every gradient
    softmax.py        many classes: probabilities from logits, labels as rows
    losses.py         how wrong a prediction is, and in which direction
    initializers.py   the weights before the first step
    optimizers.py     from a gradient to a step: SGD, momentum, Adam
    regularizers.py   a penalty on large weights
    batches.py        images in small random groups
    training.py       the loop
    convolution.py    a layer that looks at images as images
    pooling.py        fewer numbers, the largest of each square
    batch_norm.py     the inputs of every layer, brought to mean 0 and variance 1
    dropout.py        dropping random inputs
    autograd.py       a program that finds every slope by itself
    fast.py           the same numbers with less work and less memory
    __main__.py       all of it at work: python -m zoo.scratch

Letters, in all chapters, with shapes as comments like `# (N, D)`:

    N   images in a batch                x   inputs of a layer            (N, D)
    D   inputs of a layer                z   outputs of a dense layer     (N, H)
    H   units (neurons) of a layer       a   outputs of an activation     (N, H)
    K   classes                          W, b   weights and biases        (D, H) and (H,)
    L   loss, the mean over a batch      y   labels                       (N,), or as rows (N, K)
    p   a parameter: a weight or bias    g   its gradient
    e   a small change

Each chapter names the further letters that it uses. dL/dz stands for an array of the shape of z: the slope of L in the
direction of each element. The z of the last layer are called logits. Images are (N, rows, columns, channels).

**NumPy in nine lines.** An array has a shape. In (N, D), axis 0 runs down the N rows, and axis 1 along a row of D.

    x @ W, x.T                      the matrix product; x with rows and columns exchanged
    z + b, of (N, H) and (H,)       b is added to each row: a missing axis, or one of length 1, is repeated (broadcast)
    y[:, None]                      (N,) becomes a column, (N, 1)
    z.max(axis=1, keepdims=True)    the largest number of each row, as a column, (N, 1)
    images[chosen]                  the images whose numbers are in `chosen`: a copy
    x[:, 2:8]                       columns 2 to 7: a view, a window into x. Writing into it is writing into x
    z += b, z[:] = b                change z itself, in place; z = z + b makes a new array of that name
    x.reshape(len(x), -1)           the same numbers in another shape; -1: NumPy works out this length
    float32, float64, uint8         dtypes, what an element is: a number of 7 digits, of 16, a whole number 0 to 255

**Python in four lines.** A few marks in the code are there for tools and libraries, and can be skipped at first.

    class Layer(ABC), @abstractmethod   Layer is a plan: only its subclasses can be made, and they write these methods
    x: np.ndarray | None = None         a hint for readers: x is an array or None, and None if it is not given
    @property                           lets `network.parameters` call a function without ()
    yield value                         in a loop, hands out one value after the other

The lesson retells four notebooks, A Journey into the Depths of Neural Networks
(https://github.com/Sayed-Hossein-Hosseini/A_Journey_into_the_Depths_of_Neural_Networks), and differs from them where
they are wrong or stop short: the gradient of the binary cross-entropy (`losses.NotebookBinaryCrossEntropy` has theirs),
a sigmoid that does not overflow, the derivative of softmax, no gradient for the images unless it is needed, and what a
learning rate means with momentum (`optimizers.Momentum`).

This file imports nothing. The chapters import what they build on, so the imports follow the order.
"""
