"""Files that are written atomically: completely or not at all."""

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
    """Return a validated path of a file.

    Raises
    ------
    TypeError, ValueError
        If it is not a path, or not one that the file system can represent.
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
    """Write a file atomically: an existing file is replaced only when the new one is complete.

    If the path is a symbolic link, its target is replaced. Temporary files of killed processes are deleted by a later
    call, after an hour.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If the folder does not exist, or the path is a folder.
    OSError
        If the file cannot be written; the error names it.
    """
    path = path.resolve() if path.is_symlink() else path
    if not path.parent.is_dir():
        msg = f"path must be in an existing folder, got {path}"
        raise FileNotFoundError(msg)
    if path.is_dir():
        msg = f"path must be a file, got the folder {path}"
        raise IsADirectoryError(msg)
    # Write to a temporary file in the same folder first, because only renaming is atomic.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)
        raise
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()
