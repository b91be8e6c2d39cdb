"""`TorchTwin` against the network whose layers it has, for images of any shape."""

import numpy as np
import pytest
import torch

from zoo.models.numpy_mlp import NumPyMLP

SHAPES = [(3, 32, 32), (1, 28, 28), (3, 5, 5)]


@pytest.mark.parametrize("num_classes", [2, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_gives_the_logits_of_its_network(shape, num_classes):
    torch.manual_seed(0)
    channels, size, _ = shape
    model = NumPyMLP([6, 5], "tanh", num_classes=num_classes, channels=channels, image_size=size)
    model.set_normalization([0.1, 0.2, 0.7][:channels], [0.3, 0.5, 0.2][:channels])
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8))
    twin = model.torch_module()
    assert twin.example_input_array.shape == (1, *shape)
    torch.testing.assert_close(twin(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_unit_that_looks_at_one_pixel_finds_it_at_its_place(shape):
    """The first layer's weights are in the order of channel, row and column, as PyTorch flattens images."""
    channels, size, _ = shape
    model = NumPyMLP([], num_classes=2, channels=channels, image_size=size)
    model.keep_normalization([0.0] * channels, [1.0] * channels)
    weights = model.network.layers[1].parameters["weight"]
    weights[:] = 0
    weights.reshape(size, size, channels)[1, 2, -1] = 1  # row 1, column 2 and the last channel
    first = model.torch_module().layers[1].weight.detach().reshape(shape)
    assert first.nonzero().tolist() == [[channels - 1, 1, 2]]
    images = torch.zeros(1, *shape, dtype=torch.uint8)
    images[0, -1, 1, 2] = 255
    assert model.torch_module()(images).item() == pytest.approx(1)
