"""The models keep the zoo's contract."""

import pytest
from example_nets import NumPySoftmax, PatchNet

from zoo.testing import check_model


@pytest.mark.parametrize("width", [8, 32])
def test_patch_net(width):
    check_model(PatchNet, width=width)


def test_numpy_softmax():
    check_model(NumPySoftmax)
