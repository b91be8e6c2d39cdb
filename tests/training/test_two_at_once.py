"""Two commands that write to one place: the second is refused when it comes to writing, and changes nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli
from zoo.core import files
from zoo.exporting import check
from zoo.plots import png
from zoo.trained import inference

QUICK = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
QUICK += ["--data.batch_size=16", "--trainer.max_epochs=1", "--trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["fit", "--model=MLP", *QUICK]) == 0
    (path,) = folder.glob("runs/*/*")
    return path


@pytest.fixture
def other(monkeypatch):
    """Let another process write a file while a command is at work."""

    def other(name: str) -> None:
        def after(function):
            def function_while_another_writes(*arguments):
                Path(name).parent.mkdir(exist_ok=True)
                Path(name).write_text("the other's")
                return function(*arguments)

            return function_while_another_writes

        monkeypatch.setattr(inference, "logits", after(inference.logits))
        monkeypatch.setattr(check, "images_for", after(check.images_for))

    return other


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


COMMANDS = {
    "evaluate --corruption_images=0 --out=o": "o/report.html",
    "explain --method=saliency --out=o": "o/page.png",
    "export --format=safetensors --out=o.safetensors": "o.safetensors",
    "predict x.png --out=o.csv": "o.csv",
    "predict x.png --sheet=s.png": "s.png",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_is_refused(command, run, other, capsys):
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("x.png")
    theirs = COMMANDS[command]
    other(theirs)
    assert cli.main([*command.split(), f"--ckpt={run}"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "another process" in error
    assert "in the meantime" in error
    left = contents()
    assert left.pop(theirs) == b"the other's"
    assert not [name for name in left if name != "x.png"]


def test_overwrite_says_that_the_last_one_wins(run, other, capsys):
    other("o.safetensors")
    options = ["--format=safetensors", "--out=o.safetensors", "--overwrite", f"--ckpt={run}"]
    assert cli.main(["export", *options]) == 0
    assert Path("o.safetensors").stat().st_size > 1000
    assert {path.name for path in Path().iterdir()} == {"o.safetensors", "o.safetensors.md"}


def test_what_was_there_before_is_replaced(run):
    """As every file that an option of `predict` names: no other process is at work."""
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("x.png")
    Path("o.csv").write_text("old")
    assert cli.main(["predict", "x.png", "--out=o.csv", f"--ckpt={run}"]) == 0
    assert "x.png" in Path("o.csv").read_text()


def test_data_show(monkeypatch, capsys):
    encode = png.encode

    def encode_while_another_writes(pixels):
        Path("samples.png").write_text("the other's")
        return encode(pixels)

    monkeypatch.setattr(png, "encode", encode_while_another_writes)
    assert cli.main(["data", "show", "--source=synthetic"]) == 2
    assert "--out samples.png was written by another process in the meantime" in capsys.readouterr().err
    assert Path("samples.png").read_text() == "the other's"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_last_replaces_none(links, monkeypatch):
    if not links:

        def refuse(*arguments):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(files.os, "link", refuse)
    files.write(Path("new"), b"first", replace=False)
    with pytest.raises(FileExistsError):
        files.write(Path("new"), b"second", replace=False)
    assert contents() == {"new": b"first"}
