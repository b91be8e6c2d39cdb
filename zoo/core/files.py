"""Write files and folders that are complete at any moment, whatever happens to the process that writes them."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from datamodules.errors import InputError

PART = ".part"  # the end of the name of a file or folder that is being written
LEFT_BEHIND = 3600  # seconds after which the writer of such a file is taken for dead


def write(path: Path, content: bytes | memoryview, replace: bool = True) -> None:
    """Write `content` to `path`, which holds either all the old bytes or all the new bytes at any moment.

    Missing folders are made. If two processes write the same file at once, the later one wins. If `path` is a link, its
    target is written.

    Raises:
        FileExistsError: if the file exists and `replace` is False, even if it was made just now.
        OSError: if the file cannot be written or is not regular; the old file stays, and nothing is left beside it.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(part(path, "?" * 8))
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
    """Return the file that a writer with a token of eight characters writes the bytes for `path` to.

    Its name does not contain that of `path`: TensorBoard reads every file whose name contains "tfevents".
    """
    return path.with_name(f"{zlib.crc32(os.fsencode(path.name)):08x}.{token}{PART}")


def _move_to_free(source: Path, target: Path) -> None:
    """Rename a file without replacing another file; `os.rename` replaces it on some systems."""
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


def write_folder(folder: Path, contents: Iterable[tuple[str, bytes]], replace: bool = False) -> None:
    """Write files, by their path in the folder, to a folder that appears, or is replaced, once all are written.

    If the folder is a link, its target is written.

    Raises:
        FileExistsError: if the folder has files and `replace` is False, even if it was made just now.
        OSError: if the folder cannot be written; an old folder stays as it was, and nothing is left beside it.
    """
    folder = Path(os.path.realpath(folder))
    above = next(path for path in folder.parents if path.exists())
    beside, old = (above / f".{folder.name}.{secrets.token_hex(4)}{end}" for end in (PART, ".old"))
    _remove_left_behind(above / f".{glob.escape(folder.name)}.{'?' * 8}{PART}")
    has_moved = False
    try:
        for name, content in contents:
            write(beside / name, content)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if replace and folder.exists():
            folder.rename(old)
            has_moved = True
        beside.rename(folder)
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        if has_moved and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY) and folder.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder)) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_folder(option: str, folder: Path) -> None:
    """Raise InputError, before the work is done, if `write_folder` cannot write a folder that an option names."""
    real = Path(os.path.realpath(folder))
    try:
        above = next(path for path in (real, *real.parents) if path.exists())
        if not above.is_dir():
            raise InputError(f"{option} {folder}: '{above}' is not a folder: give the name of one")
        above = real.parent if above == real else above  # the folder is written beside its place
        if not os.access(above, os.W_OK):
            raise InputError(f"{option} {folder} cannot be written: '{above}' is not yours to write to")
    except OSError as error:  # a name that is too long
        raise InputError(f"{option} {folder} cannot be looked at: {error.strerror or error}") from error


def _remove_left_behind(pattern: Path) -> None:
    """Remove what killed processes have left; the folder of `pattern` is taken literally."""
    for name in glob.glob(f"{glob.escape(str(pattern.parent))}/{pattern.name}"):
        with contextlib.suppress(OSError):
            if time.time() - os.stat(name).st_mtime > LEFT_BEHIND:
                shutil.rmtree(name) if os.path.isdir(name) else os.unlink(name)
