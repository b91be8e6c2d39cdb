"""Data sets of the project. Importing the package imports no torch: the NumPy readers work without."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.cifar10 import CIFAR10DataModule
    from datamodules.image_data_module import ImageDataModule
    from datamodules.own_images import Arrays, ImageFolder
    from datamodules.published import CIFAR100, MNIST, SVHN, FashionMNIST

__all__ = [
    "CIFAR100",
    "MNIST",
    "SVHN",
    "Arrays",
    "CIFAR10DataModule",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
]

# "module:Class" of each data module, by the name that --data takes.
DATA_MODULES = {
    "CIFAR10DataModule": "datamodules.cifar10:CIFAR10DataModule",
    "CIFAR100": "datamodules.published:CIFAR100",
    "FashionMNIST": "datamodules.published:FashionMNIST",
    "MNIST": "datamodules.published:MNIST",
    "SVHN": "datamodules.published:SVHN",
    "ImageFolder": "datamodules.own_images:ImageFolder",
    "Arrays": "datamodules.own_images:Arrays",
}


def __getattr__(name: str) -> Any:
    if name == "ImageDataModule":
        return import_module("datamodules.image_data_module").ImageDataModule
    if name in DATA_MODULES:
        module, _, class_name = DATA_MODULES[name].partition(":")
        return getattr(import_module(module), class_name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
