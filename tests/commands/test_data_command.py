"""`data check`, `data prepare` and `data show`, as they are called."""

import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli
from datamodules import download, synthetic
from datamodules.data_sets import CIFAR10
from datamodules.readers.cifar import CIFARDataSet
from tests.helpers import Malicious, batch_file, write_pickle
from zoo.plots import image_table, mosaic


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, list[str], str]]:
    """Run a command; return its exit code, the lines that it prints, and its errors."""

    def run(*arguments: object) -> tuple[int, list[str], str]:
        code = cli.main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return code, output.out.splitlines(), output.err

    return run


@pytest.fixture
def _official_sums(official_layout, monkeypatch) -> None:
    """Take the made-up files for the official ones."""
    for name in CIFAR10.files:
        content = (official_layout / CIFAR10.folder / name).read_bytes()
        monkeypatch.setitem(CIFAR10.md5, name, hashlib.md5(content).hexdigest())


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, CIFAR10.folder)


@pytest.mark.usefixtures("_official_sums")
def test_official_files(run, official_layout):
    code, lines, error = run("data", "check", "--data_dir", official_layout)
    assert (code, error) == (0, "")
    assert [line.split()[0] for line in lines[:-1]] == list(CIFAR10.files)
    assert all(line.endswith("  official") for line in lines[:-1])
    assert f"{(official_layout / CIFAR10.folder / 'test_batch').stat().st_size:,} bytes" in lines[5]
    assert "is the official CIFAR-10" in lines[-1]


def test_a_copy_can_be_used_and_how_is_told(run, official_layout):
    code, lines, _ = run("data", "check", "--data_dir", official_layout)
    assert code == 0
    assert len(lines) == 8
    for line in lines[:-1]:
        assert "not official: MD5 " in line
        assert "of the right structure" in line
    assert "--data.verify_checksums=false" in lines[-1]


def replace(root: Path, name: str, content: object) -> None:
    path = root / CIFAR10.folder / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "a folder":
        path.mkdir()
    elif content is not None:
        write_pickle(path, content)


BAD = {
    "truncated": (lambda: b"\x80\x02}q", "not official: MD5", "not a readable batch file"),
    "empty": (lambda: b"", "0 bytes", "not a readable batch file"),
    "swapped": (lambda: batch_file("data_batch_1"), "not official: MD5", "calls itself 'training batch 1 of 5'"),
    "malicious": (lambda: Malicious(), "not official: MD5", "asks to call"),
    "shape": (lambda: batch_file("data_batch_2", data=np.zeros((3, 3072), np.uint8)), "not official", "(3, 3072)"),
    "labels": (lambda: batch_file("data_batch_2", labels=[10] * 10_000), "not official", "label 10 of image 0"),
    "missing": (lambda: None, "-  missing", "missing"),
    "a folder": (lambda: "a folder", "-  missing", "missing"),
}


@pytest.mark.usefixtures("_official_sums")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_its_verdict_and_the_others_theirs(run, damaged_layout, case):
    content, *expected = BAD[case]
    replace(damaged_layout, "data_batch_2", content())
    code, lines, error = run("data", "check", "--data_dir", damaged_layout)
    assert (code, error) == (1, "")
    assert lines[1].startswith("data_batch_2")
    for text in expected:
        assert text in lines[1]
    assert [line.endswith("  official") for line in lines[:-1]] == [True, False, *[True] * 5]
    assert "cannot be used because of data_batch_2" in lines[-1]
    assert "data prepare" in lines[-1]
    assert not Path("it-ran").exists()


@pytest.mark.usefixtures("_official_sums")
def test_a_file_that_may_not_be_read(run, official_layout, monkeypatch):
    """As root, any file may be: so the refusal is played."""
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "data_batch_2":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    code, lines, _ = run("data", "check", "--data_dir", official_layout)
    assert code == 1
    assert "unreadable: " in lines[1]
    assert "Permission denied" in lines[1]
    assert all(line.endswith("  official") for line in (lines[0], *lines[2:-1]))


def test_another_data_set(run, damaged_layout):
    replace(damaged_layout, "batches.meta", {"label_names": ["apple"]})
    code, lines, _ = run("data", "check", "--data_dir", damaged_layout)
    assert code == 1
    assert "apple" in lines[6]


def test_the_archive(run, official_layout):
    pack(official_layout / CIFAR10.folder, Path(CIFAR10.archive.name))
    code, lines, _ = run("data", "check", "--data_dir", CIFAR10.archive.name)
    assert code == 0
    assert len(lines) == 8
    assert all("of the right structure" in line for line in lines[:-1])


def test_a_truncated_archive_has_good_files_too(run, official_layout):
    pack(official_layout / CIFAR10.folder, Path("whole"))
    whole = Path("whole").read_bytes()
    Path(CIFAR10.archive.name).write_bytes(whole[: len(whole) // 2])
    code, lines, _ = run("data", "check", "--data_dir", ".")
    assert code == 1
    verdicts = {line.split()[0]: line for line in lines[:-1]}
    assert list(verdicts) == list(CIFAR10.files)
    assert any("of the right structure" in line for line in verdicts.values())
    assert any("unreadable: " in line and "truncated" in line for line in verdicts.values())


def test_no_archive_at_all(run):
    Path("data").write_bytes(b"<html>404</html>")
    code, lines, _ = run("data", "check")
    assert code == 1
    assert all("unreadable: 'data' cannot be read as an archive" in line for line in lines[:-1])


def test_nothing_there(run, monkeypatch):
    code, lines, _ = run("data", "check")
    assert code == 1
    assert len(lines) == 1
    assert "no CIFAR-10 in 'data'" in lines[0]
    assert "data prepare" in lines[0]
    monkeypatch.setenv("CIFAR10_DIR", "elsewhere")
    assert "no CIFAR-10 in 'elsewhere'" in run("data", "check")[1][0]
    assert not list(Path().iterdir())


def test_prepare_changes_nothing_where_there_are_data(run, damaged_layout, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", None)
    replace(damaged_layout, "test_batch", None)
    before = sorted(Path().rglob("*"))
    code, lines, _ = run("data", "prepare", "--data_dir", damaged_layout)
    assert code == 1
    assert "is there: nothing is downloaded" in lines[0]
    assert "missing" in lines[6]
    assert sorted(Path().rglob("*")) == before


def test_prepare_downloads_and_checks(run, official_layout, monkeypatch):
    called = []

    def fetch(data_set: CIFARDataSet, data_dir: Path, mirrors: list[str]) -> None:
        called.append(mirrors)
        (data_dir / CIFAR10.folder).symlink_to(official_layout / CIFAR10.folder)

    monkeypatch.setattr(download, "fetch", fetch)
    Path("here").mkdir()
    code, lines, _ = run("data", "prepare", "--data_dir=here", "--mirrors", "http://a/b", "http://c/d")
    assert code == 0
    assert called == [["http://a/b", "http://c/d"]]
    assert len(lines) == 8


def test_prepare_without_a_network(run, monkeypatch):
    def no_network(*args, **kwargs):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    code, _, error = run("data", "prepare")
    assert code == 2
    assert error.count("\n") == 1
    assert "Connection refused" in error
    assert "name a mirror" in error
    assert not list(Path().iterdir())


CASES = {
    "dta check": ["unknown command 'dta'", "Did you mean 'data'?"],
    "data": ["data prepare, data check, data show"],
    "data shw": ["unknown command 'data shw'", "Did you mean 'show'?"],
    "data show": ["no CIFAR-10 in 'data'", "data prepare", "--source synthetic"],
    "data show --source synthtic": ["--source synthtic", "Did you mean 'synthetic'?"],
    "data show --source synthetic --data_dir x": ["--data_dir", "not allowed with", "--source"],
    "data show --rows 0": ["--rows 0", "from 1 to 100"],
    "data show --rows 101": ["--rows 101", "from 1 to 100"],
    "data show --rows two": ["--rows", "two"],
    "data show --seed -1": ["--seed -1", "at least 0"],
    "data show --out samples.jpg": ["--out samples.jpg", ".png"],
    "data show --row 3": ["unknown option '--row'", "Did you mean '--rows'?"],
    "data check --rows 3": ["data check: unknown option '--rows'"],
    "data chek": ["unknown command 'data chek'", "Did you mean 'check'?"],
    "data --data_dir x": ["unknown command 'data --data_dir'"],
    "data check --data-dir x": ["unknown option '--data-dir'", "Did you mean '--data_dir'?"],
    "data prepare --data.data_dir=x": ["unknown option '--data.data_dir'", "Did you mean '--data_dir'?"],
    "data prepare --mirror http://a/b": ["unknown option '--mirror'", "Did you mean '--mirrors'?"],
    "data check --mirrors http://a/b": ["data check: unknown option '--mirrors'"],
    "data check stray": ["'stray'"],
    "data check --data_dir": ["data check: ", "--data_dir", "expected one argument"],
    "data prepare --mirrors a/b": ["mirror 'a/b'", "https://"],
    f"data check --data_dir {'x' * 300}": ["data_dir=xxx"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(run, command):
    code, lines, error = run(*command.split())
    assert (code, lines) == (2, [])
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for text in CASES[command]:
        assert text in error
    assert not list(Path().iterdir())


@pytest.mark.parametrize("command", ["--help", "data --help", "data prepare --help", "data check -h", "data show -h"])
def test_help(command, capsys):
    code = cli.main(command.split())
    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    assert "data" in output.out


def shown(path: str = "samples.png", rows: int = 6) -> np.ndarray:
    """Return the images that a picture shows, uint8 (10, rows, 3, 32, 32); check that each is blocks of one color."""
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB"))
    step, size = image_table.SIDE + mosaic.SPACE, image_table.SIDE
    top = picture.shape[0] - rows * step
    assert picture.shape[1] == mosaic.SPACE + 10 * step
    images = np.empty((10, rows, 3, 32, 32), np.uint8)
    for column, row in np.ndindex(10, rows):
        x, y = mosaic.SPACE + column * step, top + row * step
        tile = picture[y : y + size, x : x + size]
        images[column, row] = tile[::3, ::3].transpose(2, 0, 1)
        blocks = np.ones((3, 3, 1), np.uint8)
        assert np.array_equal(tile, np.kron(images[column, row].transpose(1, 2, 0), blocks)), "no blur"
    return images


def test_show_synthetic_images(run):
    code, lines, error = run("data", "show", "--source", "synthetic", "--rows", 3, "--seed", 5)
    assert (code, lines, error) == (0, ["drawn: samples.png"], "")
    images, labels = synthetic.generate(30, split="train", seed=5)
    for label, of_class in enumerate(shown(rows=3)):
        expected = {image.tobytes() for image in images[labels == label]}
        assert {image.tobytes() for image in of_class} == expected, "each image of the class, once"
    run("data", "show", "--source=synthetic", "--rows=3", "--seed=6", "--out=new/other.png")
    assert not np.array_equal(shown(rows=3), shown("new/other.png", rows=3))


def test_the_picture_is_small_enough_for_the_readme(run):
    run("data", "show", "--source", "synthetic")
    assert Path("samples.png").stat().st_size < 300_000


def test_show_cifar10(run, official_layout, monkeypatch):
    """Each image of the fixture is of one color, which tells its class and its file; the test set is not read."""
    root = Path("links")
    root.mkdir()
    for name in CIFAR10.files:
        (root / name).symlink_to(official_layout / CIFAR10.folder / name)
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read_bytes(path))
    code, lines, _ = run("data", "show", "--data_dir", root, "--rows", 2, "--out", "a.png")
    assert (code, lines) == (0, ["drawn: a.png"])
    assert "test_batch" not in opened
    for label, of_class in enumerate(shown("a.png", rows=2)):
        assert {(value - 5) // 20 for value in np.unique(of_class)} == {label}
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    assert run("data", "show", "--rows", 2, "--out", "b.png")[0] == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes(), "the same seed, the same picture"
    assert run("data", "show", "--rows", 2, "--seed", 1, "--out", "c.png")[0] == 0
    assert not np.array_equal(shown("a.png", rows=2), shown("c.png", rows=2))


def test_images_stand_in_the_column_of_their_class_in_their_order():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 32, 32), dtype=np.uint8)
    found = image_table.draw(images.swapaxes(0, 1), ["a", "b"], title="t")
    step = image_table.SIDE + mosaic.SPACE
    top = found.shape[0] - 3 * step
    for column, of_class in enumerate(images):
        for row, image in enumerate(of_class):
            y, x = top + row * step, mosaic.SPACE + column * step
            shown = found[y : y + image_table.SIDE, x : x + image_table.SIDE]
            assert np.array_equal(shown, image.transpose(1, 2, 0).repeat(3, 0).repeat(3, 1))


def test_the_names_stand_above_their_columns(monkeypatch):
    written = []
    monkeypatch.setattr(image_table, "write", lambda canvas, labels: written.extend(labels) or canvas)
    image_table.draw(np.zeros((1, 10, 3, 32, 32), np.uint8), CIFAR10.class_names, title="CIFAR-10, training images")
    title, *names = written
    assert title.text == "CIFAR-10, training images"
    step = image_table.SIDE + mosaic.SPACE
    assert tuple(name.text for name in names) == CIFAR10.class_names
    for column, name in enumerate(names):
        half = len(name.text) * mosaic.LETTER / 2
        assert name.centered
        assert column * step < name.x - half < name.x + half < mosaic.SPACE + (column + 1) * step, "within its column"
        assert title.y + mosaic.LINE <= name.y


def test_show_writes_all_or_nothing(run):
    Path("file").touch()
    code, lines, error = run("data", "show", "--source=synthetic", "--rows=1", "--out=file/a.png")
    assert (code, lines) == (2, [])
    assert "--out file/a.png cannot be written" in error
    assert [path.name for path in Path().iterdir()] == ["file"]


@pytest.mark.real_data
def test_show_real_images(run, real_data):
    assert run("data", "show", "--data_dir", real_data)[0] == 0
    images = shown()
    train = CIFAR10.read(real_data, "train", verify_checksums=False)
    for label, of_class in enumerate(images):
        members = {image.tobytes() for image in train.images[train.labels == label]}
        assert len({image.tobytes() for image in of_class} & members) == 6


def test_show_needs_no_torch():
    code = "import cli, sys; code = cli.main(['data', 'show', '--source=synthetic', '--rows=1', '--out', sys.argv[1]])"
    code += "; assert not {'torch', 'lightning'} & set(sys.modules); sys.exit(code)"
    command = [sys.executable, "-c", code, str(Path("a.png").resolve())]
    done = subprocess.run(command, cwd=Path(cli.__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("a.png").is_file()


def test_needs_no_torch():
    code = "import cli, sys; code = cli.main(['data', 'check']); assert not {'torch', 'lightning'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(code)"],
        cwd=Path(cli.__file__).parent,
        env={"CIFAR10_DIR": "/no/such/folder"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "no CIFAR-10 in '/no/such/folder'" in done.stdout
