"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; one that is there already stays until the new one is complete.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If the path is in no folder, or is one.
    """
    if not path.parent.is_dir():
        msg = f"there is no folder {path.parent} to write {path.name} into"
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f"{path} is a folder, not a file to write"
        raise IsADirectoryError(msg)
    # Into a file beside it first, for only a renaming is done at once or not at all.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
