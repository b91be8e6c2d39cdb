"""Files that are whole at any moment, whatever happens to the process that writes them."""

import os
from pathlib import Path


def write(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path`, which holds either the old bytes or the new ones, never a part of them.

    It is written beside its place, brought to the disk, and renamed; its folder is made where there is none.

    Raises:
        OSError: where it cannot be written, with what was written so far removed, and the old file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
