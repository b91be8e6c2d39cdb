"""Download a data set's archive, or its files one by one, from whichever server delivers them.

CIFAR-10's official server has been throttled to about an hour since June 2026
(https://github.com/pytorch/vision/issues/9536), so a download moves to the next server if one stalls or is slow. All
files grow under names that `DataSet.find` ignores, and one rename completes the folder.
"""

import contextlib
import errno
import hashlib
import http.client
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from datamodules.data_set import Archive, DataSet
from datamodules.errors import InputError, one_line, printable
from datamodules.paths import user_path
from datamodules.readers import lookalikes

# The longest silence of a server, when connecting and between two pieces of its response.
TIMEOUT_SECONDS = 10.0
# A server whose average over a window is slower is left while there is another one: 11 minutes for CIFAR-10.
MIN_BYTES_PER_SECOND = 250_000
SPEED_WINDOW_SECONDS = 20.0
LINE_EVERY_SECONDS = 30.0  # between lines of progress, if there is no terminal for a bar
CHUNK_BYTES = 1 << 16


def fetch(data_set: DataSet, data_dir: str | Path, mirrors: Sequence[str] = ()) -> Path:
    """Download a data set to `data_dir`, unless it is there.

    The download resumes the part that an earlier run left. If several processes start at once, one downloads and the
    others wait. Servers need not be trusted: nothing is unpacked before the archive has its published MD5 sum.

    Args:
        data_dir: gets the data set's folder; created if missing.
        mirrors: further addresses of the archive, tried first; one that ends in "/" is the folder that holds it.

    Raises:
        InputError: if a mirror is not a web address, no server delivers the archive, the disk is full, or `data_dir`
            cannot be written. The downloaded part is kept for the next time.
    """
    if (location := data_set.find(data_dir)) is not None:
        return location
    assert data_set.archives, f"{data_set.title} has no archive"
    addresses = {archive: _addresses(archive, mirrors, data_set) for archive in data_set.archives}
    data_dir = user_path(data_dir)
    parts = {archive: part_of(data_set, data_dir, archive) for archive in data_set.archives}
    folder, folder_part = data_dir / data_set.folder, unpacking(data_set, data_dir)
    created = [path for path in (data_dir, *data_dir.parents) if not path.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _alone(data_set, data_dir):
            if (location := data_set.find(data_dir)) is not None:
                return location
            if folder.exists():
                folder.rmdir()  # raises, before the download, if the folder holds other files
            shutil.rmtree(folder_part, ignore_errors=True)
            try:
                for archive, part in parts.items():
                    _download(part, addresses[archive], data_set, archive)
                _unpack(parts, folder_part, data_set)
                folder_part.replace(folder)
            finally:
                shutil.rmtree(folder_part, ignore_errors=True)
            for part in parts.values():
                part.unlink()
            return folder
    except OSError as error:  # of the disk: errors of the network end in `_Left`
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            room = sum(archive.room for archive in data_set.archives)
            raise InputError(
                f"no room for {data_set.title} in '{data_dir}' ({error.strerror}): unpacking needs {room:,} "
                "bytes; make room and run this again, which resumes the download"
            ) from error
        raise InputError(f"{data_set.title} cannot be written to '{data_dir}': {error}") from error
    finally:
        with contextlib.suppress(OSError):  # only empty folders are removed
            for path in created:
                path.rmdir()


def part_of(data_set: DataSet, data_dir: Path, archive: Archive) -> Path:
    """Return the path of the downloaded part of an archive. Several data sets have files of the same names."""
    owner = f"{data_set.folder}-" if len(data_set.archives) > 1 else ""
    return data_dir / f"{owner}{archive.name}.part"


def unpacking(data_set: DataSet, data_dir: Path) -> Path:
    return data_dir / f".{data_set.folder}.part"


def lock_of(data_set: DataSet, data_dir: Path) -> Path:
    return data_dir / f".{data_set.folder}.lock"


def _addresses(archive: Archive, mirrors: Sequence[str], data_set: DataSet) -> list[str]:
    """Return all addresses of an archive, those of the mirrors first."""
    if len(data_set.archives) > 1 and (files := [mirror for mirror in mirrors if not mirror.endswith("/")]):
        count = f"the {len(data_set.archives)} files of {data_set.title}"
        raise InputError(f"mirror '{files[0]}' names one file: give the folder that holds {count}, with a / at its end")
    return [*dict.fromkeys([*(_archive_address(mirror, archive) for mirror in mirrors), *archive.addresses])]


def _archive_address(mirror: str, archive: Archive) -> str:
    try:
        usable = urlsplit(mirror).scheme in ("http", "https") and bool(urlsplit(mirror).hostname)
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"mirror '{mirror}' is not a web address: give one that begins with https:// or http://")
    return mirror + archive.name if mirror.endswith("/") else mirror


@contextlib.contextmanager
def _alone(data_set: DataSet, data_dir: Path) -> Iterator[None]:
    """Keep other processes from downloading to `data_dir`; the lock ends with its process."""
    path = lock_of(data_set, data_dir)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is downloading {data_set.title} to '{printable(data_dir)}': waiting for it", flush=True)
        try:
            lock.acquire()
        except FileNotFoundError:  # the other process failed, and removed the folder
            data_dir.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    try:
        yield
    finally:
        # Before the release: a process that waits for a removed file notices, and creates a new one.
        with contextlib.suppress(OSError):  # Windows removes no open file
            path.unlink()
        lock.release()


class _Left(Exception):
    """The download leaves a server for the next one. A server that sent nothing useful is not tried again."""

    def __init__(self, reason: str, received: int = 0) -> None:
        super().__init__(reason)
        self.received = received


def _download(part: Path, addresses: Sequence[str], data_set: DataSet, archive: Archive) -> None:
    """Complete `part` from one server after the other.

    The first round leaves slow servers. The second round tries those again that sent something, the fastest first, and
    leaves none for being slow. So every server is tried at most twice, and the download ends.
    """
    if _size(part) >= archive.size:
        if _keep_if_right(part, archive):
            return
        print(f"'{printable(part)}' has the archive's size but a wrong MD5 sum: downloading it again", flush=True)
    if instead := lookalikes.recognized(data_set, part.parent):
        print(f"Before the download: {one_line(instead)}", flush=True)
    what = data_set.title if len(data_set.archives) == 1 else f"{data_set.title}, {archive.name}"
    print(f"Downloading {what} ({_megabytes(archive.size)}) to '{printable(part.parent)}'", flush=True)
    reasons: dict[str, str] = {}
    remaining = list(addresses)
    try:
        for patient in (False, True):
            speeds: dict[str, float] = {}
            for address in remaining:
                began = time.monotonic()
                try:
                    _complete(part, address, archive, patient)
                    return
                except _Left as left:
                    print(f"  {_host(address)} is left: {printable(left)}", flush=True)
                    reasons[address] = str(left)
                    if left.received:
                        speeds[address] = left.received / max(time.monotonic() - began, 1e-3)
            remaining = sorted(speeds, key=lambda address: speeds[address], reverse=True)
            if remaining and not patient:
                print(f"Asking again, however slow: {', '.join(map(_host, remaining))}", flush=True)
    finally:
        if _size(part) == 0:
            part.unlink(missing_ok=True)
    hosts: dict[str, list[str]] = {}  # servers with the same reason share it
    for address, reason in reasons.items():
        hosts.setdefault(reason, []).append(_host(address))
    told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in hosts.items())
    problem = f"{data_set.title} could not be downloaded to '{part.parent}' ({told})"
    raise InputError(f"{problem}: try again, or name a mirror")


def _complete(part: Path, address: str, archive: Archive, patient: bool) -> None:
    """Download what `part` lacks, and check the archive; raise `_Left` if the server fails at either."""
    start = _size(part)
    with part.open("ab") as file:
        for chunk in _show(_receive(address, start, archive.size, patient), start, archive.size):
            file.write(chunk)
    if not _keep_if_right(part, archive):
        # A server that sent only the end may send the whole archive in the second round: the error may be another's.
        raise _Left("the archive's MD5 sum is wrong", received=archive.size - start if start else 0)


def _receive(address: str, start: int, size: int, patient: bool) -> Iterator[bytes]:
    """Yield the archive's bytes from `start` on; raise `_Left` if the server fails or, unless `patient`, is slow."""
    headers = {"User-Agent": "cifar10-zoo"} | ({"Range": f"bytes={start}-"} if start else {})
    received = 0
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            position = _first_position(response, start, size)
            print(f"  from {_host(address)}" + (f", resumed at {_megabytes(start)}" if start else ""), flush=True)
            window_began, window_bytes = time.monotonic(), 0
            while position < size:
                # `read1` returns what has arrived. `read` would wait for all of it from a slow server.
                chunk = response.read1(min(CHUNK_BYTES, size - position))
                if not chunk:
                    raise _Left("the connection broke off", received)
                received += len(chunk)
                yield chunk[max(0, start - position) :]
                position += len(chunk)

                window_bytes += len(chunk)
                seconds = time.monotonic() - window_began
                if seconds >= SPEED_WINDOW_SECONDS:
                    if window_bytes / seconds < MIN_BYTES_PER_SECOND and position < size and not patient:
                        raise _Left(f"too slow ({window_bytes / seconds / 1e3:.0f} kB/s)", received)
                    window_began, window_bytes = time.monotonic(), 0
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: the host cannot be encoded
        raise _Left(_reason(error), received) from error


def _first_position(response: Any, start: int, size: int) -> int:
    """Return the position of a response's first byte: `start`, or less from a server without ranges."""
    first, total = 0, response.length
    if response.status == http.client.PARTIAL_CONTENT:
        numbers = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        first, total = (int(numbers[1]), int(numbers[2])) if numbers else (0, None)
    if total != size or first > start:
        told = "size unknown" if total is None else f"{total:,} bytes"
        raise _Left(f"has another file ({told}, not {size:,} bytes)")
    return first


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return one_line(f"answers {error.code} {error.reason}")
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"silent for {TIMEOUT_SECONDS:g} s"
    # Some errors quote the response, which can be long.
    return one_line(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)[:200]


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _keep_if_right(part: Path, archive: Archive) -> bool:
    """Return whether `part` is the complete archive; delete it if not."""
    right = _md5(part) == archive.md5
    if not right:
        part.unlink()
    return right


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(parts: Mapping[Archive, Path], folder: Path, data_set: DataSet) -> None:
    """Extract the data set's files from an archive, by their names alone, or copy them; and check them."""
    folder.mkdir()
    for archive, part in parts.items():
        if not archive.name.endswith(".tar.gz"):
            shutil.copyfile(part, folder / archive.name)
            continue
        with tarfile.open(part, "r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in (*data_set.files, "readme.html") and member.isreg() and (content := tar.extractfile(member)):
                    with (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    if wrong := [verdict.name for verdict in data_set.check(folder) if not verdict.official]:
        told = ", ".join(f"'{part}'" for part in parts.values())
        raise InputError(f"{told} has no right {', '.join(wrong)}, though its own MD5 sum is right: a faulty disk?")


def _show(chunks: Iterable[bytes], start: int, size: int) -> Iterator[bytes]:
    """Pass `chunks` on and show the progress: a bar on a terminal, lines elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        # The delay, however short, hides the bar until the server has responded.
        with tqdm(initial=start, total=size, unit="B", unit_scale=True, desc="  ", leave=False, delay=1e-6) as bar:
            for chunk in chunks:
                yield chunk
                bar.update(len(chunk))
        return
    done, began = start, time.monotonic()
    last_tenth, last_time = 10 * done // size, began
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        now = time.monotonic()
        if done > start and (10 * done // size > last_tenth or now - last_time >= LINE_EVERY_SECONDS):
            last_tenth, last_time = 10 * done // size, now
            speed = (done - start) / max(now - began, 1e-3)
            left = f"{(size - done) / speed / 60:.1f} min left"
            print(f"    {_megabytes(done)} of {_megabytes(size)}, {speed / 1e6:.2f} MB/s, {left}", flush=True)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
