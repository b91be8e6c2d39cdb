"""Fixtures: a small data set in the official layout, and real ones that CIFAR10_DIR and FASHION_MNIST_DIR name."""

import os
import re
from pathlib import Path
from types import FunctionType

import pytest

from zoo.core.installation import quick_imports

with quick_imports():
    import lightning as L  # first, because its log handler keeps the stderr that it finds
    from tensorboard.summary.writer import event_file_writer

    import cli
    from datamodules.data_sets import CIFAR10
    from tests import guards
    from tests.helpers import batch_file, write_pickle
    from zoo.training import fit_command

REAL_DATA = Path(os.environ["CIFAR10_DIR"]).resolve() if os.environ.get("CIFAR10_DIR") else None
FASHION_MNIST = Path(os.environ["FASHION_MNIST_DIR"]).resolve() if os.environ.get("FASHION_MNIST_DIR") else None


def pytest_configure(config):
    config.pluginmanager.register(guards)
    # TensorBoard reads the files of one second by their process's running number as text, and so its tenth before its
    # ninth: commands have a process each, and these tests one for all of them.
    event_file_writer._global_uid = event_file_writer.AtomicCounter(10**6)


def pytest_make_parametrize_id(config, val, argname):
    """Name a case by characters that `-k` takes, and no more than one line of them; None leaves it to pytest."""
    if isinstance(val, str | dict | list | tuple | Path | FunctionType):
        words = re.sub(r"[^\w.:+/]+", "-", _text(val) or "", flags=re.ASCII)
        return words[:48].strip("-") or None
    return None


def _text(value: object) -> str | None:
    """Return a text for plain values, collections of them and functions; None for others, which can hold an address."""
    if isinstance(value, str | int | float | Path | None):
        return str(value)
    if isinstance(value, FunctionType) and value.__name__ == "<lambda>":
        code = value.__code__
        constants = [_text(value) for value in code.co_consts if value is not None]
        return "-".join([*code.co_names, *filter(None, constants)])
    if isinstance(value, type | FunctionType):
        return value.__name__
    parts = [*value.items()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    if parts is None or None in (texts := [_text(part) for part in parts]):
        return None
    return "-".join(texts) or "empty"


def pytest_collection_modifyitems(items):
    for item in items:
        if "real_data" in item.keywords and not REAL_DATA and os.environ.get("REQUIRE_REAL_DATA") != "1":
            item.add_marker(pytest.mark.skip(reason="CIFAR10_DIR names no CIFAR-10"))
        if "fashion_mnist" in item.keywords and not FASHION_MNIST:
            item.add_marker(pytest.mark.skip(reason="FASHION_MNIST_DIR names no Fashion-MNIST"))


@pytest.fixture
def real_data() -> Path:
    """Where the real CIFAR-10, or a copy of it, lies."""
    assert REAL_DATA, "REQUIRE_REAL_DATA=1, but CIFAR10_DIR is not set"
    return REAL_DATA


@pytest.fixture
def fashion_mnist() -> Path:
    """Where the real Fashion-MNIST lies; for tests that are marked `fashion_mnist`."""
    assert FASHION_MNIST, "mark the test: pytest.mark.fashion_mnist"
    return FASHION_MNIST


@pytest.fixture(autouse=True)
def _own_surroundings(nothing_is_left, monkeypatch, tmp_path):
    """Each test starts in an empty folder, without the real data unless it asks for them."""
    monkeypatch.chdir(tmp_path)
    for name in ("CIFAR10_DIR", "FASHION_MNIST_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def _own_cache(monkeypatch, tmp_path):
    """Keep what commands remember of models in the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def official_layout(tmp_path_factory) -> Path:
    """A folder in the official layout: 60,000 images of one color each. Read only."""
    root = tmp_path_factory.mktemp("cifar10")
    folder = root / CIFAR10.folder
    folder.mkdir()
    for name in CIFAR10.files[:-1]:
        write_pickle(folder / name, batch_file(name))
    write_pickle(folder / "batches.meta", {"label_names": list(CIFAR10.class_names), "num_cases_per_batch": 10_000})
    return root


@pytest.fixture
def damaged_layout(official_layout, tmp_path) -> Path:
    """A copy of the official layout whose files a test may replace."""
    folder = tmp_path / "damaged" / CIFAR10.folder
    folder.mkdir(parents=True)
    for name in CIFAR10.files:
        (folder / name).symlink_to(official_layout / CIFAR10.folder / name)
    return folder.parent


@pytest.fixture(scope="module", autouse=True)
def _draw_only_where_somebody_looks(request):
    """Leave out TensorBoard's pictures and projector, half of a short fit, but for modules marked `pictures`."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("pictures"):
            for callback in ("Pictures", "Embeddings"):
                patch.setattr(fit_command, callback, L.Callback)
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder of runs on drawn images: cnn, mlp, all (without a validation set), and numpy, for two classes, which is
    the newest. Read only.
    """
    folder = tmp_path_factory.mktemp("runs")
    common = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
    common += ["--trainer.max_epochs=1", f"--runs_dir={folder}", "--trainer.enable_progress_bar=false"]
    models = {"cnn": ["--model=CNN"], "mlp": ["--model=MLP"], "all": ["--model=MLP", "--data.val_size=0"]}
    models["numpy"] = ["--model=NumPyMLP", "--data.task=binary"]
    for name, options in models.items():
        assert cli.main(["fit", *common, f"--name={name}", *options]) == 0
    return folder
