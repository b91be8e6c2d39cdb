"""`zoo.scratch` as a lesson: it needs NumPy alone, its reading order is whole, and it runs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zoo.scratch
from zoo.scratch import neuron
from zoo.scratch.__main__ import main
from zoo.scratch.batches import Batches

FOLDER = Path(zoo.scratch.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_needs_numpy_alone():
    """Importing every file, and running the lesson, loads no deep-learning library and no SciPy."""
    code = f"""
import sys
from importlib import import_module
for name in {MODULES}:
    import_module("zoo.scratch." + name)
from zoo.scratch.__main__ import main
assert main(["--source", "synthetic", "--images", "200", "--epochs", "1"]) == 0
loaded = {{"torch", "lightning", "pytorch_lightning", "scipy", "sklearn", "pandas", "matplotlib"}} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parents[1])


def test_the_reading_order_names_every_file_and_follows_the_imports():
    order = re.findall(r"^    (\w+)\.py ", zoo.scratch.__doc__, flags=re.MULTILINE)
    assert sorted([*order, "__init__"]) == MODULES
    for position, name in enumerate(order):
        imported = re.findall(r"from zoo\.scratch\.(\w+) import", (FOLDER / f"{name}.py").read_text())
        assert set(imported) <= set(order[:position]), name


def test_the_package_itself_imports_nothing():
    assert "import" not in (FOLDER / "__init__.py").read_text().rpartition('"""')[2]


def column(output: str, number: int) -> list[float]:
    return [float(line.split()[number]) for line in output.splitlines() if re.match(r" +\d+ +\d", line)]


def test_the_loss_falls_on_drawn_images(capsys):
    assert main(["--source", "synthetic", "--images", "1500", "--epochs", "3"]) == 0
    output = capsys.readouterr().out
    assert "1,500 drawn images" in output
    losses = column(output, 1)
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0]
    assert column(output, 3)[-1] > 20


def test_reads_cifar10(official_layout, capsys, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    assert main(["--images", "2000", "--epochs", "2", "--seed", "1"]) == 0
    output = capsys.readouterr().out
    assert "2,000 images of CIFAR-10, a copy (not the official files)" in output
    losses = column(output, 1)
    assert losses[1] < losses[0]
    assert column(output, 3)[-1] > 15  # each class has a shade of gray of its own


def test_the_same_seed_gives_the_same_lesson(capsys):
    outputs = []
    for seed in ("3", "3", "4"):
        assert main(["--source", "synthetic", "--images", "300", "--epochs", "1", "--seed", seed]) == 0
        outputs.append(column(capsys.readouterr().out, 1))
    assert outputs[0] == outputs[1] != outputs[2]


def test_one_neuron(capsys):
    """The numbers by hand of the first chapter, computed anew here, and 200 points that it learns to tell apart."""
    neuron.main()
    output = capsys.readouterr().out
    assert "z = 0, a = 0.5, L = 0.693" in output  # z = 0.5 * 1 - 0.25 * 2, L = ln 2
    assert "dL/dz = -0.5, dL/dw = (-0.5, -1), dL/db = -0.5" in output
    assert "w = (1, 0.75), b = 0.5;  z = 3, a = 0.953, L = 0.049" in output
    losses = column(output, 1)
    assert losses == sorted(losses, reverse=True)
    assert column(output, 2)[-1] > 75


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ([], "no CIFAR-10 in 'data'.*--source synthetic"),
        (["--data_dir", "nowhere"], "no CIFAR-10 in 'nowhere'.*python cli.py data prepare"),
        (["--epochs", "0"], "--epochs: '0' is not a whole number of at least 1"),
        (["--images", "9"], "--images: '9' is not a whole number of at least 10"),
        (["--seed", "-1"], "--seed"),
        (["--source", "imagenet"], "--source.*imagenet"),
        (["--epoch", "3"], "--epoch"),
    ],
)
def test_bad_input_is_one_line(argv, problem, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(problem, err)


def test_help_is_an_exit_code(capsys):
    assert main(["--help"]) == 0
    assert "--source" in capsys.readouterr().out


def test_batches_hold_each_image_once():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    labels = np.arange(10)
    shuffled = Batches(images, labels, 4, np.random.default_rng(0))
    found, again = list(shuffled), list(shuffled)
    assert [inputs.shape for inputs, _ in found] == [(4, 3, 2, 2), (4, 3, 2, 2), (2, 3, 2, 2)]
    assert not np.array_equal(found[0][1], again[0][1]), "each epoch has an order of its own"
    order = np.concatenate([chosen for _, chosen in found])
    assert sorted(order) == list(range(10))
    assert list(order) != list(range(10))
    values = np.concatenate([inputs for inputs, _ in found])
    assert values.dtype == np.float32
    plain = np.concatenate([inputs for inputs, _ in Batches(images, labels, 4)])
    np.testing.assert_array_equal(values, plain[order])
    assert (np.diff(plain[:, 0, 0, 0]) > 0).all()


def test_pixels_are_normalized_with_the_statistics_of_cifar10():
    """The constants, from the channels' own that the rest of the project uses."""
    from datamodules.data_sets import CIFAR10
    from zoo.scratch.batches import PIXEL_MEAN, PIXEL_STD

    assert pytest.approx(255 * np.mean(CIFAR10.mean), abs=0.1) == PIXEL_MEAN
    assert pytest.approx(255 * np.sqrt(np.mean(np.square(CIFAR10.std)) + np.var(CIFAR10.mean)), abs=0.1) == PIXEL_STD
    pixels = np.array([[[0, 255]]], np.uint8)
    ((inputs, _),) = Batches(pixels, np.array([0]), 1)
    np.testing.assert_allclose(inputs[0], [[-PIXEL_MEAN / PIXEL_STD, (255 - PIXEL_MEAN) / PIXEL_STD]], rtol=1e-6)


def test_batches_refuse():
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        Batches(np.zeros((3, 4), np.uint8), np.zeros(2, np.int64), 2)
    with pytest.raises(ValueError, match="batch_size=0"):
        Batches(np.zeros((3, 4), np.uint8), np.zeros(3, np.int64), 0)
