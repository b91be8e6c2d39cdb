"""`zoo.fit`: from Python what the command does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from datamodules import CIFAR10DataModule
from datamodules.data_set import DataSet
from datamodules.data_sets import CIFAR10, SYNTHETIC
from datamodules.errors import InputError
from datamodules.image_data_module import shared_reads
from tests.helpers import random_images, rows, run_of, scalars, weights

TINY = {
    "data.source": "synthetic", "data.train_size": 64, "data.val_size": 32, "data.test_size": 32,
    "trainer.max_epochs": 1, "trainer.enable_progress_bar": False,
}  # fmt: skip
WORDS = [f"--{key}={str(value).lower()}" for key, value in TINY.items()]


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The splits that are read from now on."""
    splits: list[str] = []
    read = type(SYNTHETIC).read

    def count(self: DataSet, data_dir, split, **options):
        splits.append(split)
        return read(self, data_dir, split, **options)

    monkeypatch.setattr(type(SYNTHETIC), "read", count)
    monkeypatch.setattr("zoo.training.main._READ", {})
    return splits


def test_it_does_what_the_command_does():
    """Weights, curves and rows are equal bit for bit, also after another fit in this process."""
    command = run_of("fit", "--config=cnn", *WORDS, "--optimizer.lr=0.01", "--seed_everything=3")
    zoo.fit("mlp", TINY)
    run = zoo.fit("cnn", TINY, {"optimizer.lr": 0.01, "seed_everything": 3})
    for name in ("best", "last"):
        here, there = weights(run.path, name), weights(command, name)
        assert here.keys() == there.keys()
        assert all(torch.equal(here[key], there[key]) for key in here)
    assert rows(run.path) == rows(command)
    assert scalars(run.path) == scalars(command)


def test_the_finished_run():
    run = zoo.fit("mlp", TINY)
    assert (run.path / "metrics.json").is_file()
    assert run.metrics == json.loads((run.path / "metrics.json").read_text())
    images = random_images(3)
    with torch.no_grad():
        expected = torch.softmax(run.model(images), dim=1)
    assert not run.model.training
    for given in (images, images.numpy()):
        torch.testing.assert_close(run.predict(given), expected)
    assert run.class_names == SYNTHETIC.class_names
    saved = zoo.load(run.path)
    torch.testing.assert_close(run.predict(images), torch.softmax(saved.model(images), dim=1).detach())


def test_a_dry_run_leaves_nothing():
    run = zoo.fit("mlp", TINY, {"trainer.fast_dev_run": True})
    assert (run.path, run.metrics) == (None, {})
    assert not list(Path().iterdir())


def test_values_of_every_kind():
    run = zoo.fit(
        TINY, {"model": "MLP", "model.hidden_sizes": [5, 4], "name": "x", "early_stopping": None, "data.task": "binary"}
    )
    assert [layer.out_features for layer in run.model.modules() if isinstance(layer, torch.nn.Linear)] == [5, 4, 1]
    assert run.path.parent.name == "x-synthetic"
    assert len(run.class_names) == 2


def test_images_are_read_once(reads):
    zoo.fit("mlp", TINY)
    assert sorted(reads) == ["test", "train"]
    zoo.fit("cnn", TINY, {"data.crop_padding": 2})
    assert len(reads) == 2
    zoo.fit("mlp", TINY, {"data.test_size": 40})
    assert reads[2:] == ["test"], "other images"


def test_files_that_have_changed_are_read_again(official_layout, tmp_path):
    """Copies of the files, one of which gets other labels."""
    folder = tmp_path / CIFAR10.folder
    folder.mkdir()
    for path in (official_layout / CIFAR10.folder).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())

    def labels() -> np.ndarray:
        data = CIFAR10DataModule(str(tmp_path), verify_checksums=False)
        data.setup("test")
        return data.test.labels.numpy()

    splits: dict = {}
    with shared_reads(splits):
        before = labels()
        (split,) = splits.values()
        split.labels[:] = 7  # to be undone only by another reading of the files
        assert (labels() == 7).all()
        (folder / "test_batch").touch()
        np.testing.assert_array_equal(labels(), before)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        (["cnm"], "Did you mean 'cnn'?"),
        (["cnn", {"data.batch_sise": 3}], "Did you mean 'data.batch_size'?"),
        (["cnn", {"data.batch_size": "x"}], "--data.batch_size=x: expected a whole number"),
        (["cnn", {"data.batch_size": 0}], "--data.batch_size=0"),
        ([TINY], "fit needs a model"),
    ],
)
def test_bad_input_is_an_exception(configs, message, capsys):
    """With the line that the command prints, which prints nothing here."""
    with pytest.raises(InputError) as raised:
        zoo.fit(*configs)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(Path().iterdir())
    assert capsys.readouterr().err == ""


def test_public_names_are_imported_when_they_are_used():
    code = (
        "import sys, zoo, datamodules, zoo.scratch; assert not {'torch', 'lightning'} & set(sys.modules)\n"
        "from zoo import *; assert {'fit', 'load', 'check_model', 'TorchClassifier', 'NumPyClassifier'} <= set(dir())\n"
        "import zoo.testing; assert check_model is zoo.testing.check_model and 'fit' in dir(zoo)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(zoo.__file__).parents[1])
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'fitt'"):
        zoo.fitt  # noqa: B018
