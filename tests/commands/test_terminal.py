"""What steers a terminal never reaches it, wherever the text comes from: packages, runs, files, options."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import cli
from datamodules import download
from datamodules.data_set import Archive
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError, printable_lines
from tests import plugins
from zoo.catalogue import registry
from zoo.commands import output

QUICK = ["--config=synthetic", "--data.train_size=64", "--data.val_size=32", "--data.test_size=40"]
QUICK += ["--data.batch_size=16", "--trainer.max_epochs=1", "--trainer.enable_model_summary=false"]
# An escape sequence, its one-character form, an override of the writing direction, what Matplotlib takes for a formula
# with an error, and a line that could be taken for one of the program's own.
SHORT = "\x1b[31m\x9b32m\u202eevil $^$"
EVIL = f"{SHORT}\nforged"


def assert_harmless(text: str) -> None:
    assert all(line.isprintable() and not line.startswith("forged") for line in text.split("\n")), text


@pytest.fixture
def screen(capsys):
    """Return what a command prints, once it is certain that a terminal would obey none of it."""

    def screen(*arguments: str, code: int = 0) -> str:
        assert cli.main(list(arguments)) == code
        captured = capsys.readouterr()
        assert_harmless(captured.out)
        assert_harmless(captured.err)
        return captured.out + captured.err

    return screen


def test_the_boundary(capsys):
    output.say(f"a {SHORT}\nb")
    assert capsys.readouterr().out == "a \\x1b[31m\\x9b32m\\u202eevil $^$\nb\n"
    assert printable_lines("ä ± 日本\n") == "ä ± 日本\n"
    content = {"name": EVIL, "other": "ä ± 日本 \U000e0001"}
    output.say_json(content)
    out = capsys.readouterr().out
    assert json.loads(out) == content
    assert "ä ± 日本 \\udb40\\udc01" in out
    assert all(line.isprintable() for line in out.split("\n"))


def test_what_a_package_says_of_its_model(screen, tmp_path, monkeypatch):
    code = plugins.TINY.replace("A convolution", f"A {SHORT} convolution")
    code = code.replace("channels of", f"{SHORT} channels of")
    code = code.replace('family="tiny", tags=("small",)', f"family={EVIL!r}, tags=({EVIL!r},)")
    plugins.install(monkeypatch, tmp_path / "site", code=code, package="tiny-zoo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "\\x1b[31m" in screen("info", "TinyNet")
    assert screen("list").count("\\x1b[31m") == 2, "its family and its tag, which are known from now on"
    assert json.loads(screen("info", "TinyNet", "--json"))["family"] == EVIL
    metadata = tmp_path / "site/tiny_zoo-1.0.dist-info/METADATA"
    metadata.write_text(f"Metadata-Version: 2.1\nName: tiny-zoo{SHORT}\nVersion: 1.0\n")
    registry.entries.cache_clear()
    assert "\\x1b[31m" in screen("info", "TinyNet")
    assert "\\x1b[31m" in screen("list")
    assert any(model["package"] == f"tiny-zoo{SHORT}" for model in json.loads(screen("list", "--json")))
    assert "\\x1b[31m" in screen("config", "TinyNet")
    assert "\\x1b[31m" in screen("config", "TinyNet", f"--out={EVIL}.yaml")
    assert "\\x1b[31m" in screen("config", f"--check={EVIL}.yaml")
    assert "unknown model" in screen("info", f"Tin{EVIL}", code=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main(["fit", "--model=MLP", *QUICK, "--data.task=binary"]) == 0
    (path,) = folder.glob("runs/*/*")
    return path


def evil_run(run: Path, folder: Path) -> Path:
    """A run of a stranger, with escape sequences in all that can be chosen."""
    path = folder / f"name{EVIL}" / f"when{EVIL}"
    shutil.copytree(run, path)
    facts = json.loads((path / "metrics.json").read_text())
    facts["data"]["source"] += EVIL
    facts["model"] += EVIL
    facts["versions"]["torch"] = EVIL
    facts["test/acc_per_class"] = {EVIL: 0.5, "other": 0.5}
    (path / "metrics.json").write_text(json.dumps(facts))
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["optimizer"]["init_args"] |= {EVIL: 1, "foreach": EVIL}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("file_format", ["text", "csv", "markdown"])
def test_compare(screen, run, file_format):
    evil = evil_run(run, Path("runs"))
    other = evil_run(run, Path("others"))
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["optimizer"]["init_args"] |= {EVIL: 2, "foreach": EVIL * 2}
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    assert "\\x1b" in screen("compare", str(evil), str(other), f"--format={file_format}", "--plot=x.png")


def test_the_commands_on_a_checkpoint(screen, run):
    evil = evil_run(run, Path("runs"))
    Path(f"pictures{EVIL}").mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(f"pictures{EVIL}/{EVIL}.png")
    Path(f"pictures{EVIL}/no{EVIL}.png").write_text("none")
    for command in (
        "predict --sheet=x.png",
        "predict --format=csv",
        "predict --format=json",
        "explain --method=saliency",
    ):
        words = command.split()
        assert "\\x1b[31m" in screen(words[0], f"pictures{EVIL}", *words[1:], "--ckpt", str(evil))
    for command in ("evaluate --corruption_images=0", "export --format=safetensors", "test"):
        assert "\\x1b[31m" in screen(*command.split(), "--ckpt", str(evil))


@pytest.mark.parametrize("option", [f"--name={EVIL}", "--config=named.yaml"])
def test_a_name_of_a_run_can_be_printed(screen, option):
    Path("named.yaml").write_text(yaml.safe_dump({"name": "a\nb"}))
    assert "give printable characters" in screen("fit", "--model=MLP", *QUICK, option, code=2)
    assert not Path("runs").exists()


def test_data(screen):
    Path(f"data{EVIL}").mkdir()
    (Path(f"data{EVIL}") / "cifar-10-python.tar.gz").write_text("none")
    assert "\\x1b[31m" in screen("data", "check", f"--data_dir=data{EVIL}", code=1)
    assert "\\x1b[31m" in screen("data", "show", "--source=synthetic", f"--out={EVIL}.png")


def test_a_download(capsys):
    """From a port of this machine where nobody answers, after a wrong archive."""
    folder = Path(f"data{EVIL}")
    folder.mkdir()
    archive = Archive(CIFAR10.archive.name, ("http://127.0.0.1:9/archive",), size=5, md5="", room=5)
    download.part_of(CIFAR10, folder, archive).write_bytes(b"12345")
    with pytest.raises(InputError):
        download.fetch(replace(CIFAR10, archives=(archive,)), folder)
    out = capsys.readouterr().out
    assert_harmless(out)
    assert out.count("\\x1b[31m") == 2
