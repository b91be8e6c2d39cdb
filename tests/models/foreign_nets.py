"""Networks as others write them, for `Wrapped`."""

from torch import Tensor, nn


class MyNet(nn.Module):
    """A convolution and a linear layer; `view` needs images that are contiguous."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, width: int = 4) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
        self.linear = nn.Linear(width * (image_size // 2) ** 2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convolution(x).relu().view(x.shape[0], -1))


def make_net(num_classes: int = 1000, in_chans: int = 3) -> nn.Module:
    """Return a network for images of any size."""
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, num_classes))


def logits(x: Tensor) -> Tensor:
    """A function of images, which makes no network."""
    return x.flatten(1)[:, :10]


class Broken(nn.Module):
    """A network that takes no images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("never")


class Wider(MyNet):
    """Another network of the same arguments."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, width: int = 4) -> None:
        super().__init__(num_classes, in_channels, image_size, width + 1)
