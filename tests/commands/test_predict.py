"""`predict`: pictures of every kind, as files that a person has, and the test set."""

import csv
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

import cli
from datamodules.cifar10 import CIFAR10DataModule
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.readers import image_files
from tests import forked
from tests.helpers import refusal
from zoo.plots import contact_sheet, grid, mosaic
from zoo.trained.trained_model import load

TINY = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
RED, WHITE = (200, 30, 40), (255, 255, 255)


@pytest.fixture
def run(runs, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run `predict` on the runs' newest model, or on that of `ckpt`; return exit code, output and errors."""

    def run(*arguments: object, ckpt: str = "best") -> tuple[int, str, str]:
        wanted = next(runs.glob("cnn-synthetic/*")) if ckpt == "cnn" else ckpt
        options = ["--runs_dir", str(runs), "--ckpt", str(wanted)]
        code = cli.main(["predict", *map(str, arguments), *options])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def save(name: str, pixels: np.ndarray = NOISE, **options) -> Path:
    Image.fromarray(pixels).save(name, **options)
    return Path(name)


def plain(mode: str, size: tuple[int, int] = (40, 60)) -> Image.Image:
    image = Image.new("RGB", size, RED)
    return image.quantize(4) if mode == "P" else image.convert(mode)


# What the network sees.


def test_a_picture_of_32_x_32_is_left_as_it_is_bit_for_bit(run):
    path = save("a.png")
    assert np.array_equal(image_files.read(path).pixels, NOISE.transpose(2, 0, 1))
    Image.fromarray(NOISE).convert("RGBA").save("opaque.png")
    opaque = image_files.read(Path("opaque.png"))
    assert np.array_equal(opaque.pixels, NOISE.transpose(2, 0, 1))
    assert not opaque.transparent


@pytest.mark.parametrize("ckpt", ["cnn", "best"])
def test_it_is_the_model_that_answers(run, runs, ckpt):
    """The network's own answer to these very pixels: of PyTorch, and of NumPy with two classes."""
    save("a.png")
    _, out, _ = run("a.png", "--format=json", ckpt=ckpt)
    (found,) = json.loads(out)
    trained = load(str(next(runs.glob("cnn-synthetic/*"))) if ckpt == "cnn" else "best", runs)
    with torch.no_grad():
        logits = trained.model(torch.from_numpy(NOISE.transpose(2, 0, 1).copy())[None])
    expected = torch.softmax(logits, 1)[0] if ckpt == "cnn" else torch.sigmoid(logits)[0, 0]
    probabilities = torch.tensor([found["probabilities"][name] for name in trained.class_names])
    expected = expected if ckpt == "cnn" else torch.stack([1 - expected, expected])
    torch.testing.assert_close(probabilities, expected, atol=1e-6, rtol=0)
    assert found["class"] == trained.class_names[expected.argmax()]
    assert found["probability"] == max(found["probabilities"].values())


MODES = {
    "1-bit": ("1", "png"), "gray": ("L", "png"), "gray and alpha": ("LA", "png"), "palette": ("P", "png"),
    "RGB": ("RGB", "bmp"), "RGBA": ("RGBA", "png"), "CMYK": ("CMYK", "tif"), "GIF": ("P", "gif"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODES)
def test_every_mode_keeps_its_color(kind):
    mode, suffix = MODES[kind]
    plain(mode).save(f"a.{suffix}")
    pixels = image_files.read(Path(f"a.{suffix}")).pixels
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.uint8
    if mode == "1":  # dots, of black and white, as often white as red is bright
        assert pixels.mean() == pytest.approx(np.dot(RED, (0.299, 0.587, 0.114)), abs=8)
    else:
        gray = [round(np.dot(RED, (0.299, 0.587, 0.114)))] * 3
        expected = gray if mode in ("L", "LA") else RED
        assert np.abs(pixels.astype(int) - np.reshape(expected, (3, 1, 1))).max() <= 1


def test_cmyk_jpeg():
    plain("CMYK").save("a.jpg", quality=95)
    assert image_files.read(Path("a.jpg")).pixels.mean((1, 2)) == pytest.approx(RED, abs=3)


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (20_000, 10), (10, 20_000), (31, 33), (2, 1)])
def test_any_size(size):
    plain("RGB", size).save("a.png")
    found = image_files.read(Path("a.png"), thumbnail=True)
    assert np.array_equal(found.pixels, np.broadcast_to(np.reshape(RED, (3, 1, 1)), (3, 32, 32)))
    assert max(found.thumbnail.shape[:2]) == min(max(size), image_files.THUMBNAIL)


def test_the_square_in_the_middle_is_what_counts():
    canvas = np.zeros((32, 96, 3), np.uint8)
    canvas[:, 32:64] = NOISE
    assert np.array_equal(image_files.read(save("wide.png", canvas)).pixels, NOISE.transpose(2, 0, 1))
    upright = np.ascontiguousarray(canvas.transpose(1, 0, 2))
    assert np.array_equal(image_files.read(save("tall.png", upright)).pixels, NOISE.transpose(2, 1, 0))


@pytest.mark.parametrize("side", [20, 50])
def test_pictures_are_resized_by_pillows_bicubic_filter(side):
    pixels = RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(image_files.read(save("a.png", pixels)).pixels, expected.transpose(2, 0, 1))


def test_shrinking_is_antialiased():
    """A fine chequerboard becomes gray; taking every tenth pixel would make it black or white."""
    board = (np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)
    assert image_files.read(save("a.png", board)).pixels == pytest.approx(127.5, abs=1.5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    """Row and column of the corners as the EXIF standard has them: where the first pixel of the file belongs."""
    stored = np.full((32, 32, 3), 255, np.uint8)
    stored[0, 0] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    save("a.png", stored, exif=exif)
    seen = image_files.read(Path("a.png")).pixels.transpose(1, 2, 0)
    top, left = (orientation in (1, 2, 5, 6)), (orientation in (1, 4, 5, 8))
    assert tuple(seen[0 if top else 31, 0 if left else 31]) == RED
    assert (seen == 255).all(axis=2).sum() == 32 * 32 - 1


def test_exif_that_cannot_be_read_is_left_alone():
    Image.fromarray(NOISE).save("a.png", exif=b"Exif\0\0nonsense")
    assert np.array_equal(image_files.read(Path("a.png")).pixels, NOISE.transpose(2, 0, 1))


def test_transparency_is_laid_over_white(run):
    half = np.dstack([np.full((32, 32, 3), 100, np.uint8), np.full((32, 32), 128, np.uint8)])
    expected = round(100 * 128 / 255 + 255 * 127 / 255)
    save("rgba.png", half)
    assert np.abs(image_files.read(Path("rgba.png")).pixels.astype(int) - expected).max() <= 1
    grey_alpha = half[..., 2:]
    Image.fromarray(grey_alpha, "LA").save("la.png")
    assert np.abs(image_files.read(Path("la.png")).pixels.astype(int) - expected).max() <= 1
    palette = plain("P", (32, 32))
    palette.save("p.png", transparency=palette.getpixel((0, 0)))
    assert (image_files.read(Path("p.png")).pixels == 255).all()
    save("key.png", np.full((32, 32, 3), 9, np.uint8), transparency=(9, 9, 9))
    assert (image_files.read(Path("key.png")).pixels == 255).all()
    save("opaque.png")
    _, _, error = run(".")
    assert "transparent, and laid over white: key.png, la.png, p.png and 1 more" in error


def test_an_animation_is_its_first_frame():
    first, second = plain("P", (32, 32)), Image.new("P", (32, 32))
    first.save("a.gif", save_all=True, append_images=[second])
    with Image.open("a.gif") as expected:
        expected = np.asarray(expected.convert("RGB")).transpose(2, 0, 1)
    assert expected.max() > 0
    assert np.array_equal(image_files.read(Path("a.gif")).pixels, expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits(suffix):
    values = RNG.integers(0, 65536, (32, 32), dtype=np.uint16)
    values[0, :2] = 0, 65535
    path = save(f"a.{suffix}", values)
    assert np.array_equal(image_files.read(path).pixels, np.stack([values >> 8] * 3))


def test_16_bits_from_a_machine_of_the_other_byte_order():
    values = np.full((32, 32), 0x1234, ">u2")
    header = b"MM\0*" + struct.pack(">I", 8 + 2048)
    tags = [(256, 3, 1, 32), (257, 3, 1, 32), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 3, 1, 32), (279, 4, 1, 2048)]
    entries = [
        struct.pack(">HHI", tag, kind, n) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, n, value in tags
    ]
    directory = struct.pack(">H", len(tags)) + b"".join(entries) + struct.pack(">I", 0)
    Path("a.tif").write_bytes(header + values.tobytes() + directory)
    assert (image_files.read(Path("a.tif")).pixels == 0x12).all()


# Files that are no pictures.


def bomb(side: int = 60_000) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def png() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # a picture to be turned, which is where it is first decoded
    content = io.BytesIO()
    Image.fromarray(NOISE).save(content, "PNG", exif=exif)
    return content.getvalue()


def tiff(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, "TIFF")
    return content.getvalue()


BAD = {
    "text": ("a.jpg", lambda: b"I am no picture", "no image, or in none of the formats JPEG"),
    "empty": ("b.png", lambda: b"", "the file is empty"),
    "one byte of its pixels": ("c.png", lambda: png()[:600] + bytes([png()[600] ^ 0xFF]) + png()[601:], ""),
    "a program": (
        "d.jpg",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "none of the formats",
    ),
    "too large": ("e.png", lambda: bomb(11_000), "more than 100,000,000 pixels"),
    "truncated": ("cut.png", lambda: png()[: len(png()) // 2], "truncated"),
    "a header alone": ("head.png", lambda: png()[:20], "Truncated"),
    "a bomb": ("f.png", bomb, "a decompression bomb"),
    "floats": ("float.tif", lambda: tiff(np.zeros((4, 4), np.float32)), "8 or 16 bits"),
    "32 bits": ("deep.tif", lambda: tiff(np.full((4, 4), 70_000, np.int32)), "16 bits"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_costs_a_line_and_not_the_run(run, case):
    name, content, why = BAD[case]
    Path("all").mkdir()
    (Path("all") / name).write_bytes(content())
    save("all/good.png")
    code, out, error = run("all", "--format=csv")
    assert code == 0
    assert [row["file"] for row in csv.DictReader(out.splitlines())] == [f"all{os.sep}good.png"]
    (line,) = (line for line in error.splitlines() if not line.startswith("note: "))
    assert line.startswith(f"skipped {Path('all') / name}: ")
    assert why in line
    code, out, error = run(Path("all") / name, "--out", "new/out.csv", "--sheet", "new/sheet.png")
    assert (code, out) == (2, "")
    assert error.splitlines()[-1].startswith("error: ")
    assert not Path("new").exists()


def test_a_file_that_is_too_large_is_not_read():
    with open("large.png", "wb") as file:
        file.write(png())
        file.truncate(400_000_001)  # which takes no room on the disk
    with pytest.raises(InputError, match="400,000,001 bytes are more than 400,000,000"):
        image_files.read(Path("large.png"))


def test_a_file_that_may_not_be_read(run, monkeypatch):
    """As root, any file may be: so the refusal is played."""
    save("a.png")
    save("b.png")
    open_image = Image.open

    def refuse(path: Path, **options):
        if Path(path).name == "a.png":
            raise PermissionError(13, "Permission denied")
        return open_image(path, **options)

    monkeypatch.setattr(Image, "open", refuse)
    code, out, error = run("a.png", "b.png")
    assert code == 0
    assert "skipped a.png: Permission denied\n" in error
    assert "b.png" in out


def test_a_pipe_is_not_waited_for(run):
    save("a.png")
    os.mkfifo("pipe")
    code, _, error = run("pipe", "a.png")
    assert code == 0
    assert "skipped pipe: not a regular file" in error


# Which files.


def test_files_folders_and_patterns():
    for name in ("b.png", "a.png", ".hidden.png", "sub/c.png", "odd[1].png"):
        path = Path("photos") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [path.name for path in image_files.find(["photos"])] == ["a.png", "b.png", "odd[1].png"]
    assert [path.name for path in image_files.find(["photos/?.png"])] == ["a.png", "b.png"]
    assert [path.name for path in image_files.find(["photos/*"])] == ["a.png", "b.png", "odd[1].png"], "no folder"
    assert [path.name for path in image_files.find(["photos/odd[1].png"])] == ["odd[1].png"], "a name before a pattern"
    found = image_files.find(["photos/b.png", "photos", "./photos/a.png"])
    assert [path.name for path in found] == ["b.png", "a.png", "odd[1].png"], "in their order, none twice"


MISSING = {
    "cta.png": ["'cta.png' does not exist.", "Did you mean 'cat.png'?"],
    "phtos/cat.png": ["'phtos/cat.png' does not exist.", "Did you mean 'photos'?"],
    "*.jpg": ["no file matches '*.jpg'"],
    "photos": ["'photos' has no file in it"],
    "gone.png": ["'gone.png' is a link to 'nowhere.png'"],
    "nowhere.png": ["'nowhere.png' does not exist.\n"],
    "x" * 5000: ["does not exist"],
    "nul\0byte": ["does not exist"],
}


@pytest.mark.parametrize("name", MISSING)
def test_what_does_not_exist_is_told_before_anything_is_computed(name, capsys, monkeypatch):
    monkeypatch.setattr("zoo.trained.trained_model.load", None)
    save("cat.png")
    Path("photos").mkdir()
    Path("gone.png").symlink_to("nowhere.png")
    assert cli.main(["predict", "cat.png", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for text in MISSING[name]:
        assert text in error


CASES = {
    "predict": ["needs pictures"],
    "predct a.png": ["Did you mean 'predict'?"],
    "predict a.png --test_set": ["not both"],
    "predict a.png --chkpt best": ["unknown option '--chkpt'", "Did you mean '--ckpt'?"],
    "predict a.png --data_dir x": ["--data_dir x", "--test_set"],
    "predict --test_set --sheet s.png": ["--sheet s.png"],
    "predict a.png --format jsn": ["--format jsn", "Did you mean 'json'?"],
    "predict a.png --top -1": ["--top -1"],
    "predict a.png --top many": ["--top", "many"],
    "predict a.png --sheet s.jpg": ["--sheet s.jpg", ".png"],
    "predict a.png --out .": ["--out . is a folder"],
    "predict a.png --sheet a.png": ["--sheet a.png is one of the pictures"],
    "predict a.png --out ./a.png": ["is one of the pictures"],
    "predict a.png --out b.png --sheet b.png": ["--sheet b.png", "--out"],
    "predict a.png --ckpt no.ckpt": ["no.ckpt", "no such file"],
    "predict a.png": ["no run in 'runs'"],
    "predict a.png --ckpt bad.ckpt": ["bad.ckpt", "no readable checkpoint"],
    "predict --test_set --ckpt bad.ckpt": ["bad.ckpt", "no readable checkpoint"],
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line(command, capsys):
    save("a.png")
    Path("bad.ckpt").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    before = {path: path.read_bytes() for path in Path().iterdir()}
    error = refusal(capsys, *command.split())
    for text in CASES[command]:
        assert text in error
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_a_model_that_diverged(run, runs):
    (path,) = runs.glob("cnn-synthetic/*/checkpoints/best.ckpt")
    content = torch.load(path, weights_only=True)
    for tensor in content["state_dict"].values():
        tensor.fill_(float("nan"))
    torch.save(content, "nan.ckpt")
    save("a.png")
    code, out, error = run("a.png", ckpt="nan.ckpt")
    assert (code, out) == (2, "")
    assert "are not finite numbers: its training diverged" in error


# What is told.


def test_the_formats_say_the_same(run):
    save("a.png")
    plain("RGB").save("b.png")
    found = {name: run("a.png", "b.png", "--format", name, ckpt="cnn") for name in ("table", "csv", "json")}
    assert all(code == 0 for code, _, _ in found.values())
    objects = json.loads(found["json"][1])
    rows = list(csv.DictReader(found["csv"][1].splitlines()))
    head, *lines = found["table"][1].splitlines()
    assert head.split() == ["file", "class", "probability", "next"]
    for one, row, line in zip(objects, rows, lines, strict=True):
        ranked = sorted(one["probabilities"], key=lambda name: -one["probabilities"][name])
        assert len(ranked) == 10
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert one["class"] == ranked[0] == row["class"]
        assert {name: float(row[name]) for name in ranked} == one["probabilities"]
        expected = [one["file"], *(f"{name} {100 * one['probabilities'][name]:.1f} %" for name in ranked[:4])]
        assert line.split() == " ".join(expected).replace(",", "").split() or ", " in line
        told = line.replace(",", "").split()
        assert [told[0], *told[1::3]] == [one["file"], *ranked[:4]], "the class, and the next three"
        assert [float(number) for number in told[2::3]] == pytest.approx(
            [100 * one["probabilities"][name] for name in ranked[:4]], abs=0.051
        )


@pytest.mark.parametrize(("top", "named"), [(0, 1), (1, 2), (9, 10), (50, 10)])
def test_top(run, top, named):
    save("a.png")
    _, out, _ = run("a.png", "--top", top, ckpt="cnn")
    assert out.splitlines()[1].count(" %") == named


def test_out(run):
    save("a.png")
    _, expected, _ = run("a.png", "--format=csv")
    code, out, error = run("a.png", "--format=csv", "--out", "new/out.csv")
    assert (code, out) == (0, "")
    assert Path("new/out.csv").read_text() == expected
    assert "new/out.csv" in error
    code, _, error = run("a.png", "--out", "a.png/out.csv")
    assert code == 2
    assert "--out a.png/out.csv cannot be written" in error


def test_a_name_of_any_bytes_is_one_line(run):
    name = os.fsdecode(b"\xff\n\x1b[31m $^$ \xc3\xa9.png")
    Path(name).write_bytes(png())
    code, out, _ = run(".", "--format=csv", "--sheet", "sheet.png")
    assert code == 0
    (row,) = csv.DictReader(out.splitlines())
    assert row["file"] == "\\udcff\\n\\x1b[31m $^$ é.png"


def test_many_pictures_are_more_than_a_batch_and_one_sheet(run, monkeypatch):
    monkeypatch.setattr("zoo.trained.inference.BATCH_SIZE", 4)
    monkeypatch.setattr("zoo.commands.predict.MOST_ON_SHEET", 6)
    Path("all").mkdir()
    for number in range(10):
        save(f"all/{number}.png", np.roll(NOISE, number, axis=0))
    _, out, error = run("all", "--format=json", "--sheet=sheet.png", ckpt="cnn")
    single = [json.loads(run(f"all/{number}.png", "--format=json", ckpt="cnn")[1])[0] for number in range(10)]
    for one, alone in zip(json.loads(out), single, strict=True):
        assert one["file"] == alone["file"]
        assert one["probabilities"] == pytest.approx(alone["probabilities"], abs=2e-6)
    assert "the first 6 of 10 pictures" in error
    with Image.open("sheet.png") as sheet:
        step, height = step_of_the_sheet()
        assert sheet.width == 4 * step + mosaic.SPACE
        assert 2 * height < sheet.height < 3 * height


def test_the_reader_of_the_output_may_stop(runs):
    """As `head` does: no traceback."""
    read, write = os.pipe()
    os.close(read)
    with open("errors", "wb") as errors:
        command = ("predict", "--test_set", "--runs_dir", str(runs))
        process = forked.Process(command, os.environ, out=write, err=errors.fileno())
        os.close(write)
        assert process.wait() == 0
    assert all(line.startswith("note: ") for line in Path("errors").read_text().splitlines())


def test_the_checkpoint_is_not_written_over(run, runs):
    checkpoint = next(runs.glob("cnn-synthetic/*/checkpoints/best.ckpt"))
    before = checkpoint.read_bytes()
    save("a.png")
    Path("link.png").symlink_to(checkpoint)
    for option, path in (("--out", checkpoint), ("--sheet", "link.png")):
        code, _, error = run("a.png", option, path, ckpt=str(checkpoint))
        assert code == 2
        assert "is the checkpoint: give another name" in error
    assert checkpoint.read_bytes() == before


# The sheet.


def step_of_the_sheet() -> tuple[int, int]:
    """Pixels from one image to the next, and from one row to the next."""
    return contact_sheet.WIDTH + mosaic.SPACE, 128 + grid.FRAME + 2 * mosaic.LINE + mosaic.SPACE


@pytest.fixture
def written(monkeypatch) -> list[mosaic.Label]:
    """All labels of the sheet."""
    written = []

    def write(canvas, labels):
        written.extend(labels)
        return mosaic.write(canvas, labels)

    monkeypatch.setattr(grid, "write", write)
    return written


@pytest.mark.parametrize("count", [1, 5])
def test_the_sheet_shows_the_pixels_that_the_network_saw(count, written):
    big = [np.full((128, 64, 3), (200, 30, 40 * number), np.uint8) for number in range(count)]
    shown = [
        contact_sheet.Shown(f"{k}.png", f"cat {k}", big[k], np.roll(NOISE, k, 0).transpose(2, 0, 1))
        for k in range(count)
    ]
    sheet = contact_sheet.draw(shown, "title")
    told = [label.text for label in written]
    assert told[-2 * count :] == [text for picture in shown for text in (picture.name, picture.prediction)]
    assert " ".join(told[: -2 * count]) == f"title {contact_sheet.EXPLANATION.format(size=32)}"
    head, (step, height) = (
        mosaic.heading("title", contact_sheet.EXPLANATION.format(size=32), sheet.shape[1])[1],
        step_of_the_sheet(),
    )
    for number in range(count):
        row, column = divmod(number, 4)
        x, y = mosaic.SPACE + column * step, head + row * height
        saw = sheet[y : y + 128, x + 128 + mosaic.SPACE :][:, :128]
        expected = np.roll(NOISE, number, 0)
        assert np.array_equal(saw[::4, ::4], expected)
        assert np.array_equal(saw, np.kron(expected, np.ones((4, 4, 1), np.uint8))), "blocks of one color, no blur"
        assert np.array_equal(sheet[y : y + 128, x + 32 : x + 96], big[number])
        assert (sheet[y : y + 128, x : x + 32] == contact_sheet.BACKGROUND).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (128, 1), (1, 128), (65, 127)])
def test_a_small_thumbnail_is_enlarged_as_far_as_it_fits(shape):
    thumbnail = np.broadcast_to(np.array(RED, np.uint8), (*shape, 3))
    sheet = contact_sheet.draw([contact_sheet.Shown("a", "cat", thumbnail, np.zeros((3, 32, 32), "u1"))], "t")
    head = mosaic.heading("t", contact_sheet.EXPLANATION.format(size=32), sheet.shape[1])[1]
    box = sheet[head:, mosaic.SPACE :][:128, :128]
    factor = 128 // max(shape)
    assert (box == RED).all(axis=2).sum() == shape[0] * shape[1] * factor**2


def test_labels_have_room(written):
    """No two labels overlap, and none leaves the sheet or its column."""
    long = "W" * 300 + ".jpeg"
    shown = [contact_sheet.Shown(long, f"{long} 100.0 %", NOISE, NOISE.transpose(2, 0, 1))] * 6
    height, width, _ = contact_sheet.draw(shown, long).shape
    boxes = [(label.x, label.x + mosaic.LETTER * len(label.text), label.y) for label in written]
    for number, (left, right, top) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top <= height - mosaic.LINE
        for other_left, other_right, other_top in boxes[number + 1 :]:
            assert right <= other_left or other_right <= left or abs(top - other_top) >= mosaic.LINE
    step, _ = step_of_the_sheet()
    captions = boxes[-2 * 6 :]
    assert len({top for _, _, top in captions}) == 2 * 2, "two lines in each of two rows"
    for left, right, _ in captions:
        assert (left - mosaic.SPACE) // step == right // step, "within its column"


def test_a_short_name_stays_and_a_long_one_keeps_both_ends():
    assert mosaic.shorten("cat.jpg", 7 * mosaic.LETTER) == "cat.jpg"
    assert mosaic.shorten("a very long name of a cat.jpg", 11 * mosaic.LETTER) == "a ver…t.jpg"


# The test set.


def test_the_test_set(run, runs):
    code, out, error = run("--test_set", ckpt="cnn")
    assert code == 0
    assert "Data: synthetic, multiclass: 40 test" in error
    rows = list(csv.DictReader(out.splitlines()))
    data = CIFAR10DataModule(source="synthetic", test_size=40)
    data.setup("test")
    assert [int(row["index"]) for row in rows] == data.test.indices.tolist()
    assert [row["label"] for row in rows] == [data.class_names[label] for label in data.test.labels]
    assert list(rows[0])[4:] == list(data.class_names)
    for row in rows:
        probabilities = {name: float(row[name]) for name in data.class_names}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert float(row["probability"]) == probabilities[row["class"]] == max(probabilities.values())
    (results,) = runs.glob("cnn-synthetic/*/metrics.json")
    correct = sum(row["label"] == row["class"] for row in rows)
    assert correct / 40 == pytest.approx(json.loads(results.read_text())["test/acc"], abs=1e-6)


def test_the_test_set_of_two_classes(run, runs):
    rows = list(csv.DictReader(run("--test_set")[1].splitlines()))
    assert {row["label"] for row in rows} == {"disc", "not disc"}
    (results,) = runs.glob("numpy-synthetic/*/metrics.json")
    correct = sum(row["label"] == row["class"] for row in rows)
    assert correct / 40 == pytest.approx(json.loads(results.read_text())["test/acc"], abs=1e-6)


def of_cifar10(runs: Path, **data: object) -> str:
    """Write a checkpoint of the CNN that says it was trained on CIFAR-10."""
    (path,) = runs.glob("cnn-synthetic/*/checkpoints/best.ckpt")
    content = torch.load(path, weights_only=True)
    content["config"]["data"] |= {"source": "cifar10", "test_size": 10, **data}
    content["CIFAR10DataModule"] |= {"title": CIFAR10.title, "class_names": list(CIFAR10.class_names)}
    torch.save(content, "cifar10.ckpt")
    return "cifar10.ckpt"


def test_where_the_test_set_lies(run, runs, official_layout, monkeypatch):
    ckpt = of_cifar10(runs, data_dir="/of/another/machine", download=False)
    expected = run("--test_set", "--data_dir", official_layout, ckpt=ckpt)
    assert expected[0] == 0
    assert "CIFAR-10 copy (not the official files), multiclass: 10 test" in expected[2]
    assert {row["label"] for row in csv.DictReader(expected[1].splitlines())} <= set(CIFAR10.class_names)
    monkeypatch.setenv("CIFAR10_DIR", str(official_layout))
    assert run("--test_set", ckpt=ckpt)[1] == expected[1]
    monkeypatch.setenv("CIFAR10_DIR", "elsewhere")
    assert run("--test_set", ckpt=of_cifar10(runs, data_dir=str(official_layout)))[1] == expected[1]


def test_nothing_is_downloaded(run, runs, monkeypatch):
    monkeypatch.setattr("datamodules.image_data_module.fetch", None)
    code, out, error = run("--test_set", "--data_dir", "nowhere", ckpt=of_cifar10(runs, data_dir=None))
    assert (code, out) == (2, "")
    assert "error: no CIFAR-10 in 'nowhere': name its place by --data_dir" in error
    assert not Path("nowhere").exists()


def test_the_trainer_in_a_script_predicts_the_same(run, runs):
    """`Trainer.predict`, which nothing of the project's own calls."""
    rows = list(csv.DictReader(run("--test_set", ckpt="cnn")[1].splitlines()))
    trained = load(str(next(runs.glob("cnn-synthetic/*"))))
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    data = CIFAR10DataModule(source="synthetic", test_size=40, eval_batch_size=16)
    found = torch.cat(trainer.predict(trained.model, data))
    expected = torch.tensor([[float(row[name]) for name in trained.class_names] for row in rows])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_help_states_the_rule(capsys):
    assert cli.main(["predict", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in ("square in its middle", "32 x 32", "bicubic", "laid over white if it is transparent"):
        assert words in text


def test_reading_needs_no_torch_and_a_wrong_path_is_told_without_it():
    code = (
        "import cli, sys; import datamodules.readers.image_files, zoo.plots.contact_sheet\n"
        "code = cli.main(['predict', 'nowhere.png'])\n"
        "assert not {'torch', 'lightning'} & set(sys.modules); sys.exit(code)"
    )
    root = Path(cli.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "'nowhere.png' does not exist" in done.stderr


def test_a_picture_that_raises_what_nobody_expects(monkeypatch):
    def explode(*arguments, **options):
        raise RecursionError("deep\ndown")

    save("a.png")
    monkeypatch.setattr(Image, "open", explode)
    with pytest.raises(InputError, match=r"^RecursionError: deep down$"):
        image_files.read(Path("a.png"))
