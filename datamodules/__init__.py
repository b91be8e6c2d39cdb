"""Data sets of the project. Importing the package imports no torch: the NumPy readers work without."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.cifar10 import CIFAR10DataModule

__all__ = ["CIFAR10DataModule"]


def __getattr__(name: str) -> Any:
    if name == "CIFAR10DataModule":
        from datamodules.cifar10 import CIFAR10DataModule

        return CIFAR10DataModule
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
