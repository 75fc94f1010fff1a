"""Cache of compiled kernels on disk: a kernel is compiled once for all processes.

A kernel's source is stored as ``_xpnet_kernel_<sha256>.py`` in a private directory, and Numba stores the machine code
next to it. The directory must be private because xpnet executes what it contains. If the directory or a file in it
cannot be used, the kernel is compiled again, or only in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs

from xpnet.backends import streams
from xpnet.backends.base import CannotCompile, first_line

PREFIX = "_xpnet_kernel_"

_lock = threading.Lock()


def cache_folder() -> Path:
    """Return the directory of kernels: ``XPNET_CACHE_DIR``, or xpnet's directory in the user's cache directory."""
    return Path(os.environ.get("XPNET_CACHE_DIR") or platformdirs.user_cache_dir("xpnet", appauthor=False))


def load(text: str, empty_arguments: tuple[Any, ...], announce: Callable[[], None] = lambda: None) -> Any:
    """Return the compiled function ``kernel`` of a module.

    Parameters
    ----------
    text : str
        The source of a Python module.
    empty_arguments : tuple
        Arguments of the types of later calls, for which the kernel computes nothing: this call compiles it.
    announce : callable
        Called before a kernel is compiled that is not in the cache.

    Returns
    -------
    kernel : callable
        The compiled function.

    Raises
    ------
    CannotCompile
        If Numba cannot compile the kernel.
    """
    with _lock:
        return _load(_name_of(text), text, empty_arguments, announce)


def _load(name: str, text: str, empty_arguments: tuple[Any, ...], announce: Callable[[], None]) -> Any:
    if name in sys.modules:
        return sys.modules[name].kernel
    folder = _private_folder()
    if folder is None or not any((folder / "__pycache__").glob(f"{name}.*.nbi")):
        announce()
    if folder is not None:
        for attempt in range(2):
            try:
                kernel = _import(name, _write(folder, name, text)).kernel
                kernel(*empty_arguments)
            # A damaged file makes pickle raise any exception, and Numba does not catch it.
            except Exception:
                sys.modules.pop(name, None)
                if attempt == 0:
                    _remove(folder, name)
            else:
                return kernel
    try:
        kernel = _in_memory(name, text)
        kernel(*empty_arguments)
    except Exception as error:
        sys.modules.pop(name, None)
        msg = f"Numba does not compile the step: {first_line(error)}"
        raise CannotCompile(msg) from error
    return kernel


def _name_of(text: str) -> str:
    """Return the module name of a kernel: a hash of everything that its machine code depends on."""
    return PREFIX + hashlib.sha256(f"{text}\0{_environment()}".encode()).hexdigest()


@cache
def _environment() -> str:
    """Return a hash of the sources that kernels call, and of the versions of Numba and Python."""
    files = [Path(__file__).with_name(f"{name}.py") for name in ("functions", "memory", "random")]
    sources = [file.read_text(encoding="utf-8") for file in (*files, Path(streams.__file__))]
    return hashlib.sha256("\0".join([*sources, version("numba"), sys.version]).encode()).hexdigest()


def _private_folder() -> Path | None:
    """Return the directory, created if necessary, or None if it is not private to the user or not writable."""
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            status = folder.stat()
            if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                return None
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _write(folder: Path, name: str, text: str) -> Path:
    """Write the source to a file and return its path; several processes may do so at once."""
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    return path


def _import(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _registered(name, module):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _registered(name: str, module: Any) -> Iterator[None]:
    """Register a module, because Numba's cache requires it; remove it if its code raises an exception."""
    sys.modules[name] = module
    try:
        yield
    except BaseException:
        sys.modules.pop(name, None)
        raise


def _remove(folder: Path, name: str) -> None:
    for path in [folder / f"{name}.py", *(folder / "__pycache__").glob(f"{name}.*")]:
        with contextlib.suppress(OSError):
            path.unlink()


def _in_memory(name: str, text: str) -> Any:
    module = type(sys)(name)
    with _registered(name, module):
        exec(compile(text.replace(", cache=True", ""), f"<{name}>", "exec"), module.__dict__)
    return module.kernel
