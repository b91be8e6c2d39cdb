"""Files that are whole at any moment, whatever happens to the process that writes them."""

import errno
import glob
import os
import secrets
import time
import zlib
from contextlib import suppress
from pathlib import Path

PART = ".part"  # the end of the name of what is being written
LEFT_BEHIND = 3600  # seconds after which such a file is nobody's any more: its process was killed


def write(path: Path, content: bytes | memoryview, replace: bool = True) -> None:
    """Write `content` to `path`, which holds either the old bytes or the new ones, never a part of them.

    It is written beside its place, brought to the disk, and renamed; its folder is made where there is none. Of two
    processes that write the same file at once, one comes last. Where `path` is a link, its target is written.

    Args:
        path: of the file.
        content: of the file.
        replace: whether a file that is there is replaced.

    Raises:
        FileExistsError: if there is one that is not to be replaced, even if it came just now.
        OSError: where it cannot be written, or is there and no regular file; with what was written so far removed, and
            the old file as it was.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    beside = part(path, secrets.token_hex(4))
    try:
        with open(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(beside, path)
        else:
            _move_to_free(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def part(path: Path, token: str) -> Path:
    """Return where the bytes of `path` lie while they are written.

    A killed process leaves the file behind. So its name does not contain that of `path`: TensorBoard reads every file
    whose name contains "tfevents".

    Args:
        path: of the file to write.
        token: eight characters, other ones for each writer.
    """
    return path.with_name(f"{zlib.crc32(os.fsencode(path.name)):08x}.{token}{PART}")


def _move_to_free(source: Path, target: Path) -> None:
    """Rename a file, but never over another one, as `os.rename` does on some systems."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(source, target)
    else:
        source.unlink()


def _remove_left_behind(path: Path) -> None:
    anyones = part(path, "?" * 8)
    for name in glob.glob(f"{glob.escape(str(anyones.parent))}/{anyones.name}"):
        with suppress(OSError):
            if time.time() - os.stat(name).st_mtime > LEFT_BEHIND:
                os.unlink(name)
