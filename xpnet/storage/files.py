"""Files that are written whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from reprlib import repr
from typing import Any

_ABANDONED = 3600.0  # seconds


def file_path(path: Any) -> Path:
    """Return what names a file as a path.

    Raises
    ------
    TypeError, ValueError
        If it cannot be one.
    """
    try:
        named = os.fsdecode(path)
        usable = b"\0" not in os.fsencode(named)
    except UnicodeError:
        usable = False
    except TypeError:
        msg = f"path must be the path of a file, got {repr(path)}"
        raise TypeError(msg) from None
    if not usable:
        msg = f"path must be the path of a file, got {named!r}"
        raise ValueError(msg)
    return Path(named)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file; one that is there already stays until the new one is complete.

    Where the path is a symbolic link, the file that it leads to is replaced. What a writer who was killed has left
    behind is taken away an hour later, by the next one.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If the path is in no folder, or is one.
    OSError
        If the file cannot be written; the error names it.
    """
    path = path.resolve() if path.is_symlink() else path
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
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)
        raise
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()
