"""Packages of other people with models for the zoo, as pip would have installed them."""

import importlib
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

from zoo.catalogue import registry

TINY = '''
from enum import Enum
from torch import nn
from zoo.core.about import About
from zoo.core.torch_classifier import TorchClassifier

class Size(Enum):
    small = 8

class TinyNet(TorchClassifier):
    """A convolution and a dense layer.

    Args:
        width: channels of the convolution.
        size: not used.
        num_classes: see `Classifier`.
    """

    about = About(family="tiny", tags=("small",))

    def __init__(self, width: int = 4, *, size: Size = Size.small, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.net = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), nn.Flatten(), nn.Linear(64 * width, 10))
'''
TINY_PARAMETERS = (3 * 16 * 4 + 4) + (256 * 10 + 10)
TINY_FLOPS = 2 * (3 * 16 * 4 * 64 + 256 * 10)  # of 8 x 8 places

SMALL = '''
from torch import nn
from zoo.core.torch_classifier import TorchClassifier

class SmallNet(TorchClassifier):
    """What a step can depend on beside its batch: running statistics, and random numbers.

    Args:
        dropout: probability that a feature is dropped.
        num_classes: see `Classifier`.
    """

    def __init__(self, dropout: float = 0.5, *, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        layers = [nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(512, self.num_outputs))
'''


def claim(monkeypatch, points: Sequence[EntryPoint]) -> None:
    """Let one made-up package have these entry points, in place of all installed packages."""
    package = SimpleNamespace(name="made-up", requires=[], entry_points=EntryPoints(points))
    monkeypatch.setattr(registry, "distributions", lambda: [package])
    registry.entries.cache_clear()
    registry.data.entries.cache_clear()


def install(
    monkeypatch,
    folder: Path,
    code: str = TINY,
    models: Iterable[str] = ("TinyNet",),
    package: str = "tiny-zoo",
    version: str = "1.0",
) -> None:
    """Put a package that consists of one module into `folder`, and the folder on the path."""
    module = package.replace("-", "_")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
    for old in folder.glob(f"{module}-*.dist-info/*"):
        old.unlink()
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    points = "".join(f"{name} = {module}:{name}\n" for name in models)
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINT_GROUP}]\n{points}")
    for old in folder.glob(f"{module}-*.dist-info"):
        if old != info:
            old.rmdir()
    importlib.invalidate_caches()
    registry.entries.cache_clear()
