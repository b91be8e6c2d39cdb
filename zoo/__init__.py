"""The model zoo. Its public names are imported when they are first used: `import zoo` alone brings no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.core.numpy_classifier import NumPyClassifier
    from zoo.core.torch_classifier import TorchClassifier
    from zoo.testing import check_model
    from zoo.trained.trained_model import load
    from zoo.training.main import fit

__all__ = ["NumPyClassifier", "TorchClassifier", "check_model", "fit", "load"]
HOMES = {
    "NumPyClassifier": "zoo.core.numpy_classifier",
    "TorchClassifier": "zoo.core.torch_classifier",
    "check_model": "zoo.testing",
    "fit": "zoo.training.main",
    "load": "zoo.trained.trained_model",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
