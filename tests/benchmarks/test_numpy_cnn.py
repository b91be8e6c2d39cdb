"""The benchmark of the NumPy CNN: that its contestants learn the same. No time is asserted."""

import numpy as np
import torch
from torch import nn

from tests.benchmarks import numpy_cnn, through_fit

IMAGES = 150  # two batches, and a smaller one


def test_the_bare_loops_learn_the_same(monkeypatch):
    """PyTorch starts from NumPy's weights."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((IMAGES, 32, 32, 3), dtype=np.float32), rng.integers(0, 10, IMAGES)
    ours, theirs = numpy_cnn.new_network(), numpy_cnn.CNN()
    monkeypatch.setattr(numpy_cnn, "new_network", lambda: ours)
    monkeypatch.setattr(numpy_cnn, "CNN", lambda: theirs)
    start = ours.flat.copy()
    with torch.no_grad():
        convolved = [layer.parameters for layer in ours.layers if layer.parameters]
        for layer, given in zip((m for m in theirs.net if hasattr(m, "weight")), convolved, strict=True):
            weight = torch.from_numpy(given["weight"])
            layer.weight.copy_(weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.T)
            layer.bias.copy_(torch.from_numpy(given["bias"]))
        # Ours flattens rows, columns, channels, PyTorch's channels first.
        dense = theirs.net[7]
        dense.weight.copy_(dense.weight.view(128, 8, 8, 64).permute(0, 3, 1, 2).reshape(128, 4096))
    assert numpy_cnn.bare(inputs, labels)() == numpy_cnn.eager(inputs, labels)() == IMAGES
    assert np.abs(ours.flat - start).max() > 1e-3
    last = [module for module in theirs.net if isinstance(module, nn.Linear)][-1]
    np.testing.assert_allclose(ours.layers[-1].parameters["weight"], last.weight.detach().numpy().T, atol=1e-4)


def test_measure(monkeypatch):
    given = {}

    def fit(options, others, add):
        given.update(options)
        others()
        others()
        add(1.0, 0.5)
        add(1.0, 0.5)

    monkeypatch.setattr(through_fit, "fit", fit)
    stopwatch = numpy_cnn.measure(rounds=1, images=64)
    assert stopwatch.seconds.keys() == {name for pair in numpy_cnn.COMPARISONS for name in pair}
    assert {len(seconds) for seconds in stopwatch.seconds.values()} == {1}, "the first turn does not count"
    assert (given["model"], given["trainer.max_epochs"]) == ("NumPyCNN", 2)
