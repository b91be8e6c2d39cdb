"""Neural networks from nothing but NumPy: a lesson to be read from top to bottom.

It takes school calculus (the slope of a curve; chain, product and quotient rule) and a little Python with classes. What
a library does in one call is done here in the open.

**A neuron weighs.** An image is a row of D numbers: 3072 for CIFAR-10, the red, green and blue of 32 x 32 pixels. A
neuron has a weight for each of them and a bias, and adds up

    z = x_1 w_1 + x_2 w_2 + ... + x_D w_D + b

Say that a large z shall mean "this is an airplane", and a very negative one "this is none". The sigmoid makes a
probability of it, a = 1 / (1 + exp(-z)). With weights taken at random, the answers are as good as a coin's. (exp(z) is
e^z, and log in all files the natural logarithm, which undoes it.)

**A loss judges.** Let y be 1 for an airplane and 0 for anything else. The neuron gave the truth the probability a or
1 - a; the loss L is -log of that. It is 0 for a right answer of full certainty, and large for a firm wrong one. To
learn is to change the weights until the mean loss over many images is small.

**A gradient points uphill.** If w_1 grows a little, how much does L? By the chain rule, through z:

    dL/dw_1 = dL/dz * dz/dw_1 = (a - y) * x_1

The first factor is what was said minus what is true (`losses.py` derives it), and the second how much w_1 had to do
with it. Each slope is taken with all other weights held still. The gradient is the list of these slopes, one for each
weight and bias.

**A step goes downhill.** Each weight moves a little against its slope, w_1 <- w_1 - learning_rate * dL/dw_1. If the
learning rate is too small, that takes for ever; if too large, it jumps across the valley. Then the next few images, a
batch, and the next step. That is all of learning; one neuron that does it is called logistic regression.

**Many neurons.** K neurons side by side tell K classes apart; softmax (`activations.py`) makes K probabilities of their
K numbers. A layer of H neurons between the image and those K, a hidden layer, finds H useful properties of images on
its own. It has no labels to be judged by: what it should do differently comes back from the layer behind it, again by
the chain rule (`Dense.backward`). Where a number acts on L along several paths, the slopes of the paths add up, as each
adds its own small change to L.

Letters, in all files, with shapes as comments like `# (N, D)`:

    N   images in a batch                x   inputs of a layer            (N, D)
    D   inputs of a layer                z   weighted inputs, x W + b     (N, H)
    H   units (neurons) of a layer       a   activations, f(z)            (N, H)
    K   classes                          W, b   weights and biases        (D, H) and (H,)
    P   parameters: all weights          y   labels                       (N,)
        and biases of a network          L   loss, the mean over a batch, one number

dL/dz stands for an array of the shape of z: how fast L grows with each element. z of the last layer are the logits.

**NumPy in nine lines.** An array has a shape. In (N, D), axis 0 runs down the N rows, and axis 1 along a row of D.

    x @ W, x.T                      the matrix product; x with rows and columns exchanged
    z + b, of (N, H) and (H,)       b is added to each row: a missing axis, or one of length 1, is repeated (broadcast)
    y[:, None]                      (N,) becomes a column, (N, 1)
    z.max(axis=1, keepdims=True)    the largest number of each row, as a column, (N, 1)
    pixels[chosen]                  the rows whose numbers are in `chosen`: a copy
    p[2:8].reshape(2, 3)            a view, a window into p: to write into it is to write into p
    z += b, z[:] = b                change z itself, in place; z = z + b makes a new array of that name
    np.exp(z, out=a)                writes its result into a, in place of a new array
    float32, float64, uint8         dtypes, what an element is: a number of 7 digits, of 16, a whole number 0..255

To be skipped at first: whatever raises ValueError, `_Rows`, `bind`, `__setstate__` and the two `state_dict` methods.
They make the code safe and quick; the lesson is in the rest.

Reading order, one noun per file:

    activations.py    the bend in a neuron: ReLU, sigmoid, tanh; softmax
    initializers.py   the weights before the first step
    layers.py         many neurons side by side; forward and backward
    one_hot.py        labels, as numbers and as rows
    losses.py         how wrong an answer is, and in which direction
    regularizers.py   a price on large weights
    network.py        layers one behind the other
    optimizers.py     from a gradient to a step: SGD, momentum, Adam
    batches.py        images in small random groups
    training.py       the loop
    __main__.py       all of it at work: python -m zoo.scratch

The lesson retells four notebooks, A Journey into the Depths of Neural Networks
(https://github.com/Sayed-Hossein-Hosseini/A_Journey_into_the_Depths_of_Neural_Networks), and differs from them where
they are wrong or stop short: the gradient of the binary cross-entropy (`losses.NotebookBinaryCrossEntropy` has theirs),
a sigmoid that does not overflow, the derivative of softmax, no gradient for the images unless someone asks, and what a
learning rate means with momentum (`optimizers.Momentum`).

This file imports nothing, like that of `zoo`; the others import what they build on, so the imports tell the order too.
"""
