"""A user's own images: a folder of image files, and arrays in a file."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli
from datamodules import Arrays, ImageFolder
from datamodules.data_set import cut_test
from datamodules.readers import image_files
from tests.data_files import arrays, photos, put
from tests.helpers import Malicious, contents, refusal, run_of
from zoo.trained import trained_model

MLP = ("--model=MLP", "--model.hidden_sizes=[4]", "--trainer.max_epochs=1", "--data.batch_size=8")
QUIET = ("--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false")


# A folder of images.


def test_missing_splits_are_cut_from_the_training_images():
    data = ImageFolder(photos())
    data.setup()
    assert (len(data.train), len(data.val), len(data.test)) == (41, 4, 5)
    assert data.class_names == ("cat", "dog")
    assert data.test.labels.bincount().tolist() == [2, 3]
    again = ImageFolder("photos", seed=5, batch_size=3)
    again.setup()
    assert (again.test.images == data.test.images).all(), "the same images in every run"
    reds = [
        (int(label), int(red))
        for part in (data.train, data.val, data.test)
        for label, red in zip(part.labels, part.images[:, 0, 0, 0], strict=True)
    ]
    assert sorted(reds) == [(0, k) for k in range(20)] + [(1, k) for k in range(30)], "every image once"


def test_the_test_is_a_tenth_of_each_class():
    labels = np.repeat([0, 1, 2], [500, 300, 20])
    train, test = cut_test(labels)
    assert np.bincount(labels[test]).tolist() == [50, 30, 2]
    assert sorted([*train, *test]) == list(range(820))


def test_folders_of_splits():
    for split, count in (("train", 6), ("val", 3), ("test", 2)):
        photos(f"photos/{split}", {"cat": count, "dog": count})
    photos("photos/train/dog", {"deeper": 1, ".hidden": 5})
    put("photos/train/dog/.DS_Store.png")
    Path("photos/readme.txt").write_text("beside the folders, files do not count")
    data = ImageFolder("photos")
    data.setup()
    assert (len(data.train), len(data.val), len(data.test)) == (13, 6, 4)
    assert data.train.labels.bincount().tolist() == [6, 7]
    few = ImageFolder("photos", val_size=2)
    few.setup("fit")
    assert len(few.val) == 2
    none = ImageFolder("photos", val_size=0)
    none.setup("fit")
    assert (len(none.train), none.val) == (13, None)


def test_no_validation_folder():
    for split, count in (("train", 20), ("test", 2)):
        photos(f"photos/{split}", {"cat": count, "dog": count})
    data = ImageFolder("photos")
    data.setup()
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_read_as_predict_reads_them(channels):
    rng = np.random.default_rng(0)
    for k in range(12):
        pixels = rng.integers(0, 256, (40 + k, 31, 3), dtype=np.uint8)
        Path(f"photos/{k % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(f"photos/{k % 2}/{k:02}.png")
    data = ImageFolder("photos", image_size=20, channels=channels, val_size=0)
    data.setup()
    assert (data.channels, data.image_size) == (channels, 20)
    read = {image_files.read(path, 20, channels).pixels.tobytes() for path in Path("photos").rglob("*.png")}
    ours = [image.permute(2, 0, 1).numpy().tobytes() for part in (data.train, data.test) for image in part.images]
    assert sorted(ours) == sorted(read)


def test_gray_is_the_luma_and_gray_images_stay_as_they_are():
    put("color.png", 10, (32, 32))
    assert (
        image_files.read(Path("color.png"), channels=1).pixels == round(0.299 * 10 + 0.587 * 20 + 0.114 * 245)
    ).all()
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save("gray.png")
    assert np.array_equal(image_files.read(Path("gray.png"), 16, 1).pixels, values[None])


def test_mean_and_standard_deviation_are_measured():
    data = ImageFolder(photos(), val_size=0)
    assert data.normalization is None
    data.setup("fit")
    pixels = data.train.images.double() / 255
    mean, std = data.normalization
    assert mean == pytest.approx(pixels.mean((0, 1, 2)).tolist())
    assert std == pytest.approx(pixels.std((0, 1, 2), unbiased=False).tolist())


def test_a_run_on_a_folder_of_images(capsys):
    """It is named after the folder, goes on, and its model classifies pictures without the folder."""
    photos("my photos!", {"cat": 20, "dog": 30})
    options = ("--data=ImageFolder", "--data.data_dir=my photos!", "--data.image_size=8", "--data.channels=1")
    run = run_of("fit", *MLP, *options, *QUIET)
    assert run.parent.name == "MLP-my-photos"
    assert "MLP on my photos!, 5 test images" in capsys.readouterr().out
    assert cli.main(["fit", "--resume", "--trainer.max_epochs=2", *QUIET]) == 0
    assert cli.main(["test", "--ckpt=best"]) == 0
    Path("my photos!").rename("elsewhere")
    capsys.readouterr()
    assert cli.main(["predict", "elsewhere/cat/00.png", "--sheet=sheet.png"]) == 0
    assert "cat" in capsys.readouterr().out
    model = trained_model.load(run).model
    assert model.image_shape == (1, 8, 8)
    message = refusal(capsys, "predict", "--test_set", notes=("note: ",))
    assert "--data.data_dir=my photos! is not a folder" in message
    assert message.endswith("or name another place by --data_dir")
    assert cli.main(["predict", "--test_set", "--data_dir=elsewhere"]) == 0


FOLDER_CASES = {
    "one class": (lambda: photos(classes={"cat": 5}), "'photos' has one class, 'cat': a classifier needs at least two"),
    "an empty class": (
        lambda: [photos(), Path("photos/bird").mkdir()],
        "the class folder 'photos/bird' has no images: remove it, or fill it",
    ),
    "no images at all": (lambda: Path("photos").mkdir(), "'photos' holds nothing, and no folders"),
    "images without folders": (lambda: put("photos/1.png"), "'photos' holds 1 files, and no folders"),
    "no folder": (lambda: Path("photo").mkdir(), "--data.data_dir=photos is not a folder. Did you mean 'photo'?"),
    "images of zero bytes": (
        lambda: [photos(), *(Path(f"photos/cat/{k:02}.png").write_bytes(b"") for k in range(5))],
        "5 of 45 files in the train images cannot be read: photos/cat/00.png (the file is empty)",
    ),
    "a text file": (
        lambda: [photos(), Path("photos/dog/notes.txt").write_text("hello")],
        "1 of 46 files in the train images cannot be read: photos/dog/notes.txt (no image, or in none of",
    ),
    "an unknown split": (
        lambda: [photos("photos/train"), photos("photos/valid")],
        "there is a folder 'valid' beside train in 'photos'. Did you mean 'val'?",
    ),
    "no training images": (lambda: photos("photos/test"), "'photos' has test, and no folder train"),
    "a class that is not trained": (
        lambda: [photos("photos/train"), photos("photos/test", {"cats": 1})],
        "'photos/test/cats' is of a class that has no training images. Did you mean 'cat'?",
    ),
    "an unprintable class": (lambda: photos(classes={"cat": 9, "d\no\ng": 9}), "a class with the name 'd\\no\\ng'"),
    "too few images of a class": (lambda: photos(classes={"cat": 1, "dog": 1}), "no training image of the class"),
    "a link to a folder": (
        lambda: [photos(), photos("more/deep"), Path("photos/cat/more").symlink_to(Path("more").resolve())],
        "'photos/cat/more' is a link to a folder, in which no images are searched: put the folder in its place",
    ),
    "a hold-out larger than a class": (lambda: photos(), "--data.val_size=44 leaves no training image of"),
}


@pytest.mark.parametrize("case", FOLDER_CASES)
def test_bad_folders(case, capsys):
    write, expected = FOLDER_CASES[case]
    write()
    before = contents(Path())
    hold_out = ["--data.val_size=44"] if "hold-out" in case else []
    line = refusal(capsys, "fit", *MLP, "--data=ImageFolder", "--data.data_dir=photos", *hold_out)
    assert expected in line
    assert contents(Path()) == before


# Arrays in a file.


@pytest.mark.parametrize("shape", [(30, 10, 10), (30, 10, 10, 1), (30, 10, 10, 3)])
@pytest.mark.parametrize("column", [True, False])
def test_arrays(shape, column):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    labels = (np.arange(30) % 3).astype(np.uint8)
    arrays(train_images=images, train_labels=labels[:, None] if column else labels, test_images=images[:10])
    data = Arrays("my.npz", val_size=0)
    channels = shape[3] if len(shape) == 4 else 1
    assert data.data_set.shape == (channels, 10, 10)
    assert data.class_names == ("0", "1", "2")
    data.setup()
    np.testing.assert_array_equal(data.train.images, images.reshape(30, 10, 10, channels))
    assert data.train.labels.tolist() == labels.tolist()


def test_missing_arrays_are_cut_from_the_training_images():
    arrays(test_images=None, test_labels=None, class_names=np.array(["cat", "dog", "emu"]))
    data = Arrays("my.npz")
    data.setup()
    assert (len(data.train), len(data.val), len(data.test)) == (25, 2, 3)
    assert sorted(data.test.labels.tolist()) == [0, 1, 2]
    assert data.class_names == ("cat", "dog", "emu")
    values = [int(image[0, 0, 0]) for part in (data.train, data.val, data.test) for image in part.images]
    assert sorted(values) == list(range(30))


def test_validation_arrays():
    arrays(val_images=np.full((4, 10, 10), 99, np.uint8), val_labels=np.array([0, 1, 2, 0]))
    data = Arrays("my.npz")
    data.setup()
    assert (len(data.train), len(data.val), len(data.test)) == (30, 4, 10)
    assert (data.val.images == 99).all()


def test_pixels_are_not_read_for_the_description(monkeypatch):
    arrays()
    read = []
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", watched(np.lib.npyio.NpzFile.__getitem__, read))
    Arrays("my.npz")
    assert sorted(read) == ["test_labels", "train_labels"]


def watched(function, read):
    return lambda self, key: read.append(key) or function(self, key)


def test_a_run_on_arrays(capsys):
    run = run_of("fit", *MLP, *QUIET, "--data=Arrays", f"--data.data_dir={arrays('blood.npz')}")
    assert run.parent.name == "MLP-blood"
    assert cli.main(["test", "--ckpt=best"]) == 0
    assert cli.main(["data", "check", "--data=Arrays", "--data_dir=blood.npz"]) == 0
    assert "train 30 images of 1 x 10 x 10, 3 of 3 classes" in capsys.readouterr().out
    assert cli.main(["data", "show", "--data=Arrays", "--data_dir=blood.npz", "--rows=2"]) == 0


def twice(key: str) -> None:
    """Write arrays, and beside one of them another one whose file lacks the ending, as a zip archive can hold it."""
    with zipfile.ZipFile(arrays(), "a") as archive, archive.open(key, "w") as file:
        np.lib.format.write_array(file, np.zeros((3, 10, 10)))


def test_another_file_under_the_name_of_the_trained_one(capsys):
    arrays()
    run_of("fit", *MLP, *QUIET, "--data=Arrays", "--data.data_dir=my.npz")
    arrays(**{f"{split}_images": np.zeros((n, 9, 9), np.uint8) for split, n in (("train", 30), ("test", 10))})
    shapes = "my in 'my.npz' has images of 1 x 9 x 9, and "
    assert shapes in refusal(capsys, "evaluate", "--ckpt=best", "--out=report")
    assert shapes in refusal(capsys, "predict", "--test_set", notes=("note: ",))
    assert "my has image_size 9, but the model of" in refusal(capsys, "test", "--ckpt=best")
    assert not Path("report").exists()


ZERO = np.zeros((30, 10, 10), np.uint8)
ARRAY_CASES = {
    "other length": (lambda: arrays(train_labels=np.zeros(29, int)), "train_labels has 29 labels for 30 images"),
    "negative": (lambda: arrays(train_labels=np.arange(30) % 3 - 1), "label -1 of image 0 is not a class from 0 to 1"),
    "out of range": (
        lambda: arrays(test_labels=np.full(10, 3)),
        "test_labels: label 3 of image 0 is not a class from 0 to 2",
    ),
    "a missing class": (lambda: arrays(train_labels=np.arange(30) % 3 * 2), "no training image of the class '1'"),
    "more than the names": (lambda: arrays(class_names=np.array(["a", "b"])), "label 2 of image 2 is not a class"),
    "one class": (lambda: arrays(train_labels=np.zeros(30, int), test_labels=None, test_images=None), "has one class"),
    "two of a name": (lambda: arrays(class_names=np.array(["a", "b", "a"])), "two classes with the name 'a'"),
    "names that are numbers": (lambda: arrays(class_names=np.arange(3)), "expected strings"),
    "floating-point images": (
        lambda: arrays(train_images=ZERO / 2),
        "train_images are float64, expected uint8 pixels of 0 to 255: turn 0..1 into bytes",
    ),
    "floating-point labels": (lambda: arrays(train_labels=np.zeros(30)), "train_labels are float64, expected integers"),
    "labels of several classes": (lambda: arrays(train_labels=np.zeros((30, 14), int)), "(30, 14), expected a class"),
    "objects": (
        lambda: arrays(train_labels=np.array([Malicious()] * 30)),
        "train_labels holds Python objects, which only a pickle can",
    ),
    "no squares": (lambda: arrays(train_images=np.zeros((30, 10, 12), np.uint8)), "10 x 12 pixels, expected squares"),
    "other channels": (lambda: arrays(train_images=np.zeros((30, 10, 10, 4), np.uint8)), "expected (n, h, w)"),
    "other sizes": (lambda: arrays(test_images=np.zeros((10, 9, 9), np.uint8)), "the images differ in their shape"),
    "no pixels": (lambda: arrays(train_images=ZERO[:, :0, :0]), "0 x 0 pixels, expected 1 x 1 to 1,024 x 1,024"),
    "too many pixels": (
        lambda: arrays(train_images=np.zeros((30, 1025, 1025), np.uint8)),
        "1025 x 1025 pixels, expected 1 x 1 to 1,024 x 1,024: resize them",
    ),
    "two arrays of a name": (lambda: twice("train_images"), "'my.npz' holds two arrays train_images"),
    "no labels": (lambda: arrays(train_labels=None), "has no array train_labels"),
    "no test labels": (lambda: arrays(test_labels=None), "has test_images without test_labels"),
    "other names": (lambda: np.savez("my.npz", x_train=ZERO, train_image=ZERO), "Did you mean 'train_image'?"),
    "no images": (lambda: arrays(train_images=ZERO[:0], train_labels=np.zeros(0, int)), "holds no images"),
    "no npz": (lambda: Path("my.npz").write_bytes(b"PK\3\4"), "cannot be read as an .npz file"),
    "a pipe": (lambda: os.mkfifo("my.npz"), "--data.data_dir=my.npz is not a file. Give an .npz file"),
    "no file": (lambda: arrays("mine.npz"), "--data.data_dir=my.npz is not a file. Did you mean 'mine.npz'?"),
    "a folder": (lambda: Path("my.npz").mkdir(), "is a folder: name an .npz file (it holds none)"),
    "cut": (lambda: Path(arrays()).write_bytes(Path("my.npz").read_bytes()[:900]), "cannot be read as an .npz file"),
}


@pytest.mark.parametrize("case", ARRAY_CASES)
def test_bad_arrays(case, capsys):
    write, expected = ARRAY_CASES[case]
    write()
    before = contents(Path())
    assert expected in refusal(capsys, "fit", *MLP, "--data=Arrays", "--data.data_dir=my.npz")
    assert contents(Path()) == before
    assert not Path("it-ran").exists()


# The command line.

COMMANDS = {
    "fit --model=MLP --data=ImageFolder": "ImageFolder needs a folder that has one for each class: name it by --data",
    "fit --model=MLP --data=Arrays": "Arrays needs an .npz file with train_images and train_labels: name it by",
    "fit --model=MLP --data=FasionMNIST": "unknown data set 'FasionMNIST'. Did you mean 'FashionMNIST'?",
    "fit --model=MLP --data=MNIST --config=synthetic": "--config synthetic, or data.source, stands in for CIFAR-10",
    "fit --model=MLP --data=MNIST --data.source=synthetic": "stands in for CIFAR-10 alone, not for MNIST",
    "fit --model=MLP --data=Arrays --data.data_dir=my.npz --data.task=multiclass --data.one_class=1": (
        "--data.task=multiclass contradicts --data.one_class=1, a binary task: leave one of them out"
    ),
    "fit --model=MLP --data.labels=fine": "unknown option 'data.labels'",
    "fit --model=MLP --data=CIFAR100 --data.labels=corse": "--data.labels=corse: expected one of 'fine', 'coarse'",
    "fit --model=MLP --data=ImageFolder --data.data_dir=x --data.channels=2": "channels=2: expected one of 1, 3",
    "fit --model=MLP --data=ImageFolder --data.data_dir=x --data.image_size=0": "--data.image_size=0 is out of range",
    "fit --model=MLP --data=MNIST --data.data_dir=x --data.download=false": "no MNIST in 'x'",
    "fit --model=MLP --data=MNIST --data.one_class=seven": "--data.one_class=seven is unknown",
    "data check --data=FasionMNIST": "unknown data set 'FasionMNIST'. Did you mean 'FashionMNIST'?",
    "data prepare --data=Arrays --data_dir=my.npz": "Arrays is not downloaded",
    "data show --data=MNIST --source=synthetic": "stands in for CIFAR-10 alone, not for MNIST",
    "data show --data=MNIST": "no MNIST in 'data': download it by: python cli.py data prepare --data MNIST",
    "data show --data=Arrays --data_dir=my.npz --rows=50": "the class '0' has 10 training images",
    "config CNN --data=FasionMNIST": "unknown data set 'FasionMNIST'. Did you mean 'FashionMNIST'?",
    "list --data --tag=fast": "--tag fast is about models: leave out --data",
    "list --data fasionmnist": "no data set matches 'fasionmnist'. Did you mean 'FashionMNIST'?",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_commands(command, capsys):
    arrays()
    assert COMMANDS[command] in refusal(capsys, *command.split())
