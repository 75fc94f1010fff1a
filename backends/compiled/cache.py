"""Compiled kernels on disk: what was compiled once is there for every later process.

A kernel's text is stored as ``<sha256>.py`` in a private folder, where Numba puts the machine code beside it: compiled
code that anybody else could write would be code that anybody else could run. Whatever is wrong with the folder or with
a file in it, the kernel is compiled anew or in memory alone.
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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs

from xpnet.backends.base import CannotCompile, first_line

PREFIX = "_xpnet_kernel_"

_one_at_a_time = threading.Lock()


def cache_folder() -> Path:
    """Return where kernels are kept: ``XPNET_CACHE_DIR``, or xpnet's folder among the user's caches."""
    return Path(os.environ.get("XPNET_CACHE_DIR") or platformdirs.user_cache_dir("xpnet", appauthor=False))


def load(text: str, nothing: tuple[Any, ...], announce: Callable[[], None] = lambda: None) -> Any:
    """Return the function ``kernel`` of a text, compiled.

    Parameters
    ----------
    text : str
        A Python module.
    nothing : tuple
        Arguments of the types that the kernel will get, with which it has nothing to do: to compile it.
    announce : callable
        Called before a text is compiled for the first time.
    """
    with _one_at_a_time:
        return _loaded(_name_of(text), text, nothing, announce)


def _loaded(name: str, text: str, nothing: tuple[Any, ...], announce: Callable[[], None]) -> Any:
    if name in sys.modules:
        return sys.modules[name].kernel
    folder = _private_folder()
    if folder is None or not any((folder / "__pycache__").glob(f"{name}.*.nbi")):
        announce()
    if folder is not None:
        for attempt in range(2):
            try:
                kernel = _imported(name, _written(folder, name, text)).kernel
                kernel(*nothing)
            # Numba passes on whatever a broken file makes pickle raise.
            except Exception:
                sys.modules.pop(name, None)
                if attempt == 0:
                    _remove(folder, name)
            else:
                return kernel
    try:
        kernel = _in_memory(name, text)
        kernel(*nothing)
    except Exception as error:
        sys.modules.pop(name, None)
        msg = f"Numba does not compile the step: {first_line(error)}"
        raise CannotCompile(msg) from error
    return kernel


def _name_of(text: str) -> str:
    functions = Path(__file__).with_name("functions.py").read_text(encoding="utf-8")
    depends_on = [text, functions, version("numba"), sys.version]
    return PREFIX + hashlib.sha256("\0".join(depends_on).encode()).hexdigest()


def _private_folder() -> Path | None:
    """Return the folder, made if it is not there, or None if it is not this user's alone or cannot be written to."""
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


def _written(folder: Path, name: str, text: str) -> Path:
    """Return the file with the text; several processes may write it at once."""
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    return path


def _imported(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _registered(name, module):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _registered(name: str, module: Any) -> Iterator[None]:
    """Put a module where Numba looks for it when it reads its cache, unless Ctrl-C comes before it is complete."""
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
