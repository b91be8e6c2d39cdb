"""Files that are whole at any moment."""

import os
import threading
import time
from pathlib import Path

import pytest

from zoo.core import files


def test_two_writers_and_a_reader():
    """Whoever reads sees one of the two contents, and all of it."""
    path, contents, done = Path("shared"), {b"a" * 100_000, b"b" * 100_000}, threading.Event()
    files.write(path, min(contents))

    def write(content: bytes) -> None:
        for _ in range(40):
            files.write(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    seen = set()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen <= contents
    assert [entry.name for entry in Path().iterdir()] == ["shared"]


def test_a_link_is_followed():
    Path("target").write_bytes(b"old")
    Path("link").symlink_to("target")
    files.write(Path("link"), b"new")
    assert Path("link").is_symlink()
    assert Path("target").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["folder", "pipe", "."])
def test_what_is_no_file_stays_what_it_is(kind):
    path = Path(kind)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        files.write(path, b"new")
    assert not path.is_file()


def test_permissions_are_the_usual_ones():
    mask = os.umask(0o027)
    try:
        files.write(Path("file"), b"")
    finally:
        os.umask(mask)
    assert Path("file").stat().st_mode & 0o777 == 0o640


def test_an_interrupt_leaves_nothing_behind(monkeypatch):
    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write(Path("file"), b"new")
    assert not list(Path().iterdir())


def test_what_a_killed_process_left_is_removed_in_time():
    old, young, another = (files.part(Path("file"), token) for token in ("00000000", "11111111", "mine"))
    for path in (old, young, another):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * files.LEFT_BEHIND,) * 2)
    files.write(Path("file"), b"new")
    assert {entry.name for entry in Path().iterdir()} == {"file", young.name, another.name}


def test_what_a_killed_process_left_is_no_event_file():
    """TensorBoard reads every file whose name contains "tfevents"."""
    assert "tfevents" not in files.part(Path("events.out.tfevents.1"), "00000000").name
