"""The download, from a server on this machine that behaves in every way that servers do."""

import contextlib
import errno
import functools
import hashlib
import io
import os
import pickle
import select
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tqdm

from datamodules import download
from datamodules.data_set import Archive
from datamodules.data_sets import CIFAR10
from datamodules.errors import InputError
from datamodules.readers.cifar import CIFARDataSet

ROOT = Path(download.__file__).parents[1]
DATA = Path("data")
PART = download.part_of(CIFAR10, DATA, CIFAR10.archive)
CONTENTS = {name: np.random.default_rng(k).bytes(4_000) for k, name in enumerate(CIFAR10.files)}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def packed(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """An archive of the members; a `TarInfo` stands for itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


BYTES = packed(
    {f"{CIFAR10.folder}/{name}": content for name, content in CONTENTS.items()}
    | {f"{CIFAR10.folder}/readme.html": b"read me", f"{CIFAR10.folder}/stray": b"stray"}
)
HALF = len(BYTES) // 2


def with_archive(archive: Archive) -> CIFARDataSet:
    """CIFAR-10 with another archive, of `CONTENTS`."""
    return replace(CIFAR10, archives=(archive,), md5={name: md5(content) for name, content in CONTENTS.items()})


class Server(ThreadingHTTPServer):
    """Serves `content`, in the way that the first word of a path tells, and keeps a record."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = BYTES
        self.requests: list[tuple[str, str | None]] = []  # the way, and the header Range
        self.gate = threading.Event()  # holds back those who wait for it
        self.silence, self.nothing_more = socket.socketpair()  # the second has something to read when nothing will come
        self.now = 0.0

    def asked(self) -> list[str]:
        return [way for way, _ in self.requests]

    def monotonic(self) -> float:
        """The clock of a download: a slow server takes 25 seconds from one look at it to the next, the others none."""
        asked = self.asked()
        self.now += 25 * bool(asked and "slow" in asked[-1] and asked.count(asked[-1]) == 1)
        return self.now

    def server_close(self) -> None:
        super().server_close()
        self.silence.close()
        self.nothing_more.close()

    def data_set(self, *ways: str) -> CIFARDataSet:
        """CIFAR-10 with the stand-in for its archive, which is served in these ways."""
        addresses = tuple(f"http://127.0.0.1:{self.server_port}/{way}/{CIFAR10.archive.name}" for way in ways)
        return with_archive(Archive(CIFAR10.archive.name, addresses, len(self.content), md5(self.content), 123_456))

    def handle_error(self, *args) -> None:
        """A client that hangs up is part of the game."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        way, asked = self.path.split("/")[1], self.headers.get("Range")
        self.server.requests.append((way, asked))
        getattr(self, f"serve_{way}")(int(asked.removeprefix("bytes=")[:-1]) if asked else 0)

    def head(self, start: int, size: int | None = None) -> None:
        size = len(self.server.content) if size is None else size
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()

    def serve_well(self, start: int) -> None:
        self.head(start)
        self.wfile.write(self.server.content[start:])

    def serve_no_ranges(self, start: int) -> None:
        self.serve_well(0)

    def serve_silence(self, start: int) -> None:
        self.server.silence.send(b"!")
        self.server.gate.wait()

    def serve_stall(self, start: int) -> None:
        self.head(start)
        self.wfile.write(self.server.content[start:HALF])
        self.serve_silence(start)

    def serve_drop(self, start: int) -> None:
        self.head(start)
        self.wfile.write(self.server.content[start : start + HALF // 2])

    def serve_slow(self, start: int) -> None:
        """Send a first part, and nothing more until the client leaves; all of it when asked again."""
        if sum("slow" in way for way in self.server.asked()) > 1:
            return self.serve_well(start)
        self.head(start)
        self.wfile.write(self.server.content[start : start + 2_000])
        self.server.gate.wait()

    def serve_slow_no_ranges(self, start: int) -> None:
        self.serve_slow(0)

    def serve_missing(self, start: int) -> None:
        self.send_error(404)

    def serve_unsatisfiable(self, start: int) -> None:
        self.send_error(416)

    def serve_wrong(self, start: int) -> None:
        self.head(start)
        self.wfile.write(bytes(len(self.server.content) - start))

    def serve_larger(self, start: int) -> None:
        self.head(start, len(self.server.content) + 1)
        self.wfile.write(self.server.content[start:] + b"!")

    def serve_page(self, start: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Please log in</html>")

    def serve_nonsense(self, start: int) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    def log_message(self, *args) -> None:
        """Quietly."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.gate.set()
        server.shutdown()


@pytest.fixture
def _time_flies(server, monkeypatch) -> None:
    """Let a client's time be up as soon as nothing more will come, and a slow server's seconds pass at once."""

    class Client(socket.socket):
        def recv_into(self, *arguments):
            if self not in select.select([self, server.nothing_more], [], [])[0]:
                server.nothing_more.recv(1)
                raise TimeoutError
            return super().recv_into(*arguments)

    def connect(address, timeout, *others):
        assert timeout == download.TIMEOUT_SECONDS
        return Client(fileno=create(address, None, *others).detach())

    create = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(download, "time", server)


def leave_part(content: bytes) -> None:
    DATA.mkdir(exist_ok=True)
    PART.write_bytes(content)


def assert_whole() -> None:
    """The data are there, and nothing but them."""
    assert CIFAR10.find(DATA) == DATA / CIFAR10.folder
    assert [path.name for path in DATA.iterdir()] == [CIFAR10.folder]
    found = {path.name: path.read_bytes() for path in (DATA / CIFAR10.folder).iterdir()}
    assert found == CONTENTS | {"readme.html": b"read me"}


def test_downloads_checks_and_leaves_nothing_else(server, capsys):
    assert download.fetch(server.data_set("well", "missing"), DATA) == DATA / CIFAR10.folder
    assert_whole()
    assert server.requests == [("well", None)]
    output = capsys.readouterr()
    assert f"127.0.0.1:{server.server_port}" in output.out
    assert "MB/s" in output.out
    assert output.err == ""


def test_data_that_are_there_are_left_alone(server):
    folder = DATA / CIFAR10.folder
    folder.mkdir(parents=True)
    (folder / "test_batch").write_bytes(b"mine")
    assert download.fetch(server.data_set("well"), DATA) == folder
    assert not server.requests
    assert [path.name for path in folder.iterdir()] == ["test_batch"]


LEFT = {
    "missing": "answers 404",
    "unsatisfiable": "answers 416",
    "wrong": "MD5 sum is wrong",
    "larger": f"has another file ({len(BYTES) + 1:,} bytes",
    "page": "size unknown",
    "nonsense": "SSH",
    "drop": "broke off",
    "silence": "silent for 10 s",
    "stall": "silent for 10 s",
    "slow": "too slow",
}


@pytest.mark.usefixtures("_time_flies")
@pytest.mark.parametrize("way", LEFT)
def test_a_bad_server_is_left_for_the_next_one(server, way, capsys):
    download.fetch(server.data_set(way, "well"), DATA)
    assert_whole()
    assert server.asked() == [way, "well"]
    resumed = server.requests[1][1] is not None
    assert resumed == (way in ("drop", "stall", "slow")), "what came is kept where it can be right"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "is left" in line]
    assert LEFT[way] in line
    assert f"127.0.0.1:{server.server_port}" in line


@pytest.mark.usefixtures("_time_flies")
@pytest.mark.parametrize("way", [way for way in LEFT if way != "slow"])
def test_no_good_server_ends_in_one_line(server, way):
    with pytest.raises(InputError) as raised:
        download.fetch(server.data_set(way), DATA)
    assert LEFT[way] in str(raised.value)
    assert "\n" not in str(raised.value)
    assert CIFAR10.find(DATA) is None
    sent_something = way in ("drop", "stall")
    assert server.asked() == [way] * (2 if sent_something else 1)
    assert [path.name for path in DATA.glob("*")] == [PART.name] * sent_something
    assert DATA.exists() == sent_something, "what was made and is empty is taken away"


class Paced:
    """Stands for `urlopen` and the clock: servers that send 100 bytes a time, each at its own pace.

    Args:
        pace: returns how many seconds the next 100 bytes take, given the server's name, how often it was asked before,
            and the position; None: the connection breaks off.
    """

    def __init__(self, pace: Callable[[str, int, int], float | None]) -> None:
        self.pace, self.now = pace, 0.0
        self.asked: list[tuple[str, int]] = []  # the server, and the first byte that was wanted

    def monotonic(self) -> float:
        return self.now

    def urlopen(self, request, timeout):
        start = int(request.get_header("Range", "bytes=0-").removeprefix("bytes=")[:-1])
        times = sum(request.host == host for host, _ in self.asked)
        self.asked.append((request.host, start))
        position = start

        def read1(size):
            nonlocal position
            seconds = self.pace(request.host, times, position)
            if seconds is None:
                return b""
            self.now += seconds
            content = BYTES[position : position + min(size, 100)]
            position += len(content)
            return content

        headers = {"Content-Range": f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"}
        response = SimpleNamespace(status=206 if start else 200, headers=headers, length=len(BYTES), read1=read1)
        return contextlib.nullcontext(response)


@pytest.fixture
def paced(monkeypatch) -> Callable[..., list[tuple[str, int]]]:
    """Download from servers of a pace, of which less than 1,000 bytes a second is too slow; return who was asked."""

    def fetch(pace: Callable[[str, int, int], float | None], *hosts: str) -> list[tuple[str, int]]:
        servers = Paced(pace)
        monkeypatch.setattr(download, "time", servers)
        monkeypatch.setattr(download.urllib.request, "urlopen", servers.urlopen)
        monkeypatch.setattr(download, "SPEED_WINDOW_SECONDS", 1.0)
        monkeypatch.setattr(download, "MIN_BYTES_PER_SECOND", 1_000)
        addresses = tuple(f"http://{host}/" for host in hosts)
        download.fetch(with_archive(Archive(CIFAR10.archive.name, addresses, len(BYTES), md5(BYTES), 1)), DATA)
        assert_whole()
        return servers.asked

    return fetch


def test_slow_servers_are_asked_again_the_quickest_first(paced):
    """One of them sends most at first, but takes longer. All but the slowest break off when they are asked again."""
    seconds = {"fading": 5, "a": 0.4, "b": 0.15, "c": 0.2}

    def pace(host, times, position):
        if times and host != "a":
            return None
        return 0.06 if position < 3_000 else seconds[host]

    asked = paced(pace, *seconds)
    assert [host for host, _ in asked] == ["fading", "a", "b", "c", "b", "c", "fading", "a"]


def test_a_server_that_starts_fast_and_then_crawls_is_left(paced):
    """Its last window counts, and not its average of more than 1,000 bytes a second."""
    (_, start), (host, resumed) = paced(
        lambda host, times, position: 1e-3 if host == "good" or position < 20_000 else 0.25, "fading", "good"
    )
    assert (start, host) == (0, "good")
    assert 20_000 <= resumed < 21_000


def test_a_server_that_is_a_little_faster_than_too_slow_is_kept(paced):
    assert paced(lambda host, times, position: 0.09, "steady", "other") == [("steady", 0)]


@pytest.mark.usefixtures("_time_flies")
@pytest.mark.parametrize("way", ["slow", "slow_no_ranges"])
def test_where_all_are_slow_the_quickest_goes_on(server, way, capsys):
    leave_part(BYTES[:HALF])
    download.fetch(server.data_set("missing", way), DATA)
    assert_whole()
    assert server.asked() == ["missing", way, way]
    assert "Asking again, however slow: 127.0.0.1" in capsys.readouterr().out


def test_mirrors_are_asked_first(server):
    *mirrors, _ = server.data_set("missing", "well", "drop").archive.addresses
    folder = mirrors[1].removesuffix(CIFAR10.archive.name)
    download.fetch(server.data_set("drop"), DATA, [mirrors[0], folder])
    assert server.asked() == ["missing", "well"]


@pytest.mark.parametrize("mirror", ["ftp://a.b/c.tar.gz", "file:///etc/passwd", "a.b/c", "", "https://", "http://[x"])
def test_a_mirror_that_is_no_web_address(mirror):
    with pytest.raises(InputError, match="is not a web address") as raised:
        download.fetch(CIFAR10, DATA, [mirror])
    assert f"'{mirror}'" in str(raised.value)
    assert not DATA.exists()


def test_a_part_is_resumed_by_its_missing_bytes_alone(server):
    leave_part(BYTES[:HALF])
    download.fetch(server.data_set("well"), DATA)
    assert_whole()
    assert server.requests == [("well", f"bytes={HALF}-")]


def test_a_server_without_ranges_completes_a_part_too(server, monkeypatch):
    monkeypatch.setattr(download, "CHUNK_BYTES", 1_000)
    leave_part(BYTES[: HALF + 1])
    download.fetch(server.data_set("no_ranges"), DATA)
    assert_whole()


def test_a_whole_part_needs_no_server(server):
    leave_part(BYTES)
    download.fetch(server.data_set("missing"), DATA)
    assert_whole()
    assert not server.requests


@pytest.mark.parametrize("part", [bytes(HALF), bytes(len(BYTES)), BYTES + b"!"], ids=["half", "whole", "longer"])
def test_a_wrong_part_is_thrown_away(server, part):
    leave_part(part)
    download.fetch(server.data_set("well"), DATA)
    assert_whole()
    assert server.requests[-1] == ("well", None)


def test_the_right_file_is_not_taken_for_another_by_a_wrong_server(server):
    """The wrong end of a right beginning: all is loaded anew, and a server whose every byte was wrong is done with."""
    leave_part(BYTES[:HALF])
    with pytest.raises(InputError, match="MD5 sum is wrong"):
        download.fetch(server.data_set("wrong"), DATA)
    assert server.requests == [("wrong", f"bytes={HALF}-"), ("wrong", None)]
    assert not PART.exists()


def test_until_the_end_nothing_looks_like_data(server, monkeypatch):
    seen = []

    def watched(function):
        return lambda *arguments: seen.append(CIFAR10.find(DATA)) or function(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", watched(hashlib.file_digest))  # of the archive
    monkeypatch.setattr(CIFARDataSet, "check", watched(CIFARDataSet.check))
    download.fetch(server.data_set("well"), DATA)
    assert seen == [None, None]


def test_what_a_killed_run_left_is_cleared_away(server):
    folder = download.unpacking(CIFAR10, DATA)
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"half")
    (folder / "stray").write_bytes(b"half")
    download.lock_of(CIFAR10, DATA).touch()
    assert CIFAR10.find(DATA) is None
    download.fetch(server.data_set("well"), DATA)
    assert_whole()


def start(server: Server, way: str) -> subprocess.Popen:
    """A process of its own that downloads."""
    code = "import pickle, sys; from datamodules import download; download.fetch(pickle.load(sys.stdin.buffer), 'data')"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    pickle.dump(server.data_set(way), process.stdin.buffer)
    process.stdin.close()
    return process


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.01)


def serve_in_two_halves(handler: Handler, start: int) -> None:
    """The second half waits for the gate."""
    handler.head(start)
    handler.wfile.write(handler.server.content[start:HALF])
    handler.server.gate.wait()
    handler.wfile.write(handler.server.content[max(start, HALF) :])


def test_a_killed_download_is_no_data_and_is_resumed(server, monkeypatch):
    monkeypatch.setattr(Handler, "serve_halves", serve_in_two_halves, raising=False)
    process = start(server, "halves")
    with process:
        wait_for(lambda: PART.exists() and PART.stat().st_size)
        process.kill()
    there = PART.stat().st_size
    assert CIFAR10.find(DATA) is None
    download.fetch(server.data_set("well"), DATA)
    assert_whole()
    assert server.requests == [("halves", None), ("well", f"bytes={there}-")]


def test_of_two_processes_one_downloads_and_one_waits(server, monkeypatch):
    monkeypatch.setattr(Handler, "serve_halves", serve_in_two_halves, raising=False)
    with start(server, "halves") as first:
        wait_for(lambda: server.requests)
        with start(server, "halves") as second:
            assert "Another process is downloading" in second.stdout.readline()
            assert CIFAR10.find(DATA) is None
            server.gate.set()
            assert second.wait() == first.wait() == 0, second.stdout.read() + first.stdout.read()
    assert_whole()
    assert server.asked() == ["halves"]


def test_if_the_first_process_dies_the_second_takes_over(server, monkeypatch):
    monkeypatch.setattr(Handler, "serve_halves", serve_in_two_halves, raising=False)
    with start(server, "halves") as first:
        wait_for(lambda: PART.exists() and PART.stat().st_size)
        with start(server, "well") as second:
            assert "Another process is downloading" in second.stdout.readline()
            first.kill()
            assert second.wait() == 0, second.stdout.read()
    assert_whole()


def test_if_the_first_process_fails_the_second_tries_for_itself(server, monkeypatch):
    def refuse(handler: Handler, start: int) -> None:
        handler.server.gate.wait()
        handler.send_error(503)

    monkeypatch.setattr(Handler, "serve_refusal", refuse, raising=False)
    with start(server, "refusal") as first:
        wait_for(lambda: server.requests)
        with start(server, "well") as second:
            assert "Another process is downloading" in second.stdout.readline()
            server.gate.set()
            assert second.wait() == 0, second.stdout.read()
        assert "answers 503" in first.stdout.read()
    assert_whole()


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE], ids=["symlink", "link", "folder"])
def test_members_that_are_no_files_are_not_unpacked(server, kind):
    Path("outside").write_bytes(CONTENTS["test_batch"])
    members = {name: content for name, content in CONTENTS.items() if name != "test_batch"}
    members["link"] = link("test_batch", kind, str(Path("outside").resolve()))
    server.content = packed(members)
    with pytest.raises(InputError, match="no right test_batch"):
        download.fetch(server.data_set("well"), DATA)
    assert CIFAR10.find(DATA) is None
    assert sorted(path.name for path in Path().rglob("*")) == sorted(["outside", "data", PART.name])


def test_members_are_unpacked_by_name_wherever_they_want_to_go(server):
    absolute = Path("absolute").resolve()
    members = {f"../../{name}": content for name, content in CONTENTS.items()}
    server.content = packed(members | {"../evil": b"x", str(absolute): b"x", "readme.html": b"read me"})
    download.fetch(server.data_set("well"), DATA)
    assert_whole()
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_a_wrong_file_in_a_right_archive(server):
    data_set = server.data_set("well")
    with pytest.raises(InputError, match="no right data_batch_2"):
        download.fetch(replace(data_set, md5={**data_set.md5, "data_batch_2": "0" * 32}), DATA)
    assert CIFAR10.find(DATA) is None
    assert [path.name for path in DATA.iterdir()] == [PART.name]


@pytest.mark.parametrize("data_dir", ["file", "file/data"])
def test_a_folder_that_cannot_be_made(server, data_dir, monkeypatch):
    monkeypatch.setattr(CIFARDataSet, "find", lambda self, data_dir: None)
    Path("file").write_text("mine")
    with pytest.raises(InputError, match=f"cannot be written to '{data_dir}'"):
        download.fetch(server.data_set("well"), data_dir)
    assert not server.requests
    assert Path("file").read_text() == "mine"


def test_a_folder_of_that_name_with_something_else_is_left_alone(server):
    (DATA / CIFAR10.folder).mkdir(parents=True)
    (DATA / CIFAR10.folder / "notes").write_text("mine")
    with pytest.raises(InputError, match=r"cannot be written to 'data'.*not empty"):
        download.fetch(server.data_set("well"), DATA)
    assert not server.requests
    assert (DATA / CIFAR10.folder / "notes").read_text() == "mine"


def test_an_empty_folder_of_that_name_is_no_obstacle(server):
    (DATA / CIFAR10.folder).mkdir(parents=True)
    download.fetch(server.data_set("well"), DATA)
    assert_whole()


@pytest.mark.parametrize("step", ["_complete", "_unpack"])
def test_a_full_disk_ends_it_and_asks_no_other_server(server, step, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open
    full = PART.name if step == "_complete" else "data_batch_3"

    def open_on_full_disk(path, mode="r", *args, **kwargs):
        return FullDisk(path, mode) if path.name == full and "r" not in mode else opened(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    with pytest.raises(InputError, match=r"no room .*No space left.* 123,456 bytes"):
        download.fetch(server.data_set("well", "well", "no_ranges"), DATA)
    assert server.asked() == ["well"]
    assert CIFAR10.find(DATA) is None
    assert [path.name for path in Path().rglob("*")] == ([] if step == "_complete" else ["data", PART.name])


def test_a_disk_that_is_really_full(server):
    """A disk in memory of 40 KiB, which holds the archive, but not its files too."""
    DATA.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(DATA)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed")
    try:
        with pytest.raises(InputError, match="no room"):
            download.fetch(server.data_set("well"), DATA)
        assert CIFAR10.find(DATA) is None
        assert [path.name for path in DATA.iterdir()] == [PART.name]
    finally:
        subprocess.run(["umount", str(DATA)], check=True)


def test_no_network(monkeypatch):
    """Every server fails alike: the reason is told once."""

    def no_network(*args, **kwargs):
        raise download.urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(InputError) as raised:
        download.fetch(CIFAR10, "a/b")
    message = str(raised.value)
    assert message.count("Name or service not known") == 1
    assert all(address.split("/")[2] in message for address in CIFAR10.archive.addresses)
    assert not list(Path().iterdir())


def test_a_terminal_gets_a_bar(server, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("tqdm.tqdm", functools.partial(tqdm.tqdm, mininterval=0))
    download.fetch(server.data_set("well"), DATA)
    output = capsys.readouterr()
    assert "B/s" in output.err
    assert "MB/s" not in output.out


def test_lines_come_every_tenth_and_not_more_often(server, monkeypatch, capsys):
    monkeypatch.setattr(download, "CHUNK_BYTES", 100)
    download.fetch(server.data_set("well"), DATA)
    lines = [line for line in capsys.readouterr().out.splitlines() if "MB/s" in line]
    assert len(lines) == 10


def test_needs_no_torch():
    code = (
        "import datamodules.download, sys; assert not {'torch', 'torchvision', 'lightning', 'tqdm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_official_archive_is_torchvisions():
    from torchvision import datasets

    assert CIFAR10.archive.md5 == datasets.CIFAR10.tgz_md5
    assert CIFAR10.archive.addresses[0] == datasets.CIFAR10.url
