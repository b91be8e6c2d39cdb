"""`data check` and `data prepare`, as they are called."""

import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Malicious, batch_file, write_pickle

import cli
from datamodules import download, reader


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
    for name in reader.FILES:
        content = (official_layout / reader.FOLDER / name).read_bytes()
        monkeypatch.setitem(reader.OFFICIAL_MD5, name, hashlib.md5(content).hexdigest())


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(folder, reader.FOLDER)


@pytest.mark.usefixtures("_official_sums")
def test_official_files(run, official_layout):
    code, lines, error = run("data", "check", "--data_dir", official_layout)
    assert (code, error) == (0, "")
    assert [line.split()[0] for line in lines[:-1]] == list(reader.FILES)
    assert all(line.endswith("  official") for line in lines[:-1])
    assert f"{(official_layout / reader.FOLDER / 'test_batch').stat().st_size:,} bytes" in lines[5]
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
    path = root / reader.FOLDER / name
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "a folder":
        path.mkdir()
    elif content is not None:
        write_pickle(path, content)


BAD = {
    "truncated": (lambda: b"\x80\x02}q", "not official: MD5", "no readable batch file"),
    "empty": (lambda: b"", "0 bytes", "no readable batch file"),
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
    pack(official_layout / reader.FOLDER, Path(reader.ARCHIVE))
    code, lines, _ = run("data", "check", "--data_dir", reader.ARCHIVE)
    assert code == 0
    assert len(lines) == 8
    assert all("of the right structure" in line for line in lines[:-1])


def test_a_truncated_archive_has_good_files_too(run, official_layout):
    pack(official_layout / reader.FOLDER, Path("whole"))
    whole = Path("whole").read_bytes()
    Path(reader.ARCHIVE).write_bytes(whole[: len(whole) // 2])
    code, lines, _ = run("data", "check", "--data_dir", ".")
    assert code == 1
    verdicts = {line.split()[0]: line for line in lines[:-1]}
    assert list(verdicts) == list(reader.FILES)
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

    def fetch(data_dir: Path, mirrors: list[str]) -> None:
        called.append(mirrors)
        (data_dir / reader.FOLDER).symlink_to(official_layout / reader.FOLDER)

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
    "data": ["data prepare, data check"],
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


@pytest.mark.parametrize("command", ["--help", "data --help", "data prepare --help", "data check -h"])
def test_help(command, capsys):
    try:
        code = cli.main(command.split())
    except SystemExit as stop:
        code = stop.code
    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    assert "data" in output.out


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
