"""NumPy on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar, Self, TypeVar

import numpy

from xpnet.backends.base import Array, Backend, DeviceUnavailable, NoCompiler
from xpnet.backends.host import host_array

T = TypeVar("T", bound=Backend)


@cache
def missing_for_compiling() -> list[str]:
    """Return which libraries that the compiler needs are not installed; to look for them takes longer than a step."""
    return [name for name in ("numba", "scipy", "platformdirs") if find_spec(name) is None]


@cache
def keep_memory() -> None:
    """Let glibc reuse the memory of freed arrays of up to 32 MiB.

    By default glibc returns the memory of large arrays to the system, which must zero it for the next array: ensembles
    then train half as fast. Freeing a block raises the size from which glibc does so to the size of the block [1]_; the
    memory of the block is never touched. Without glibc, or if MALLOC_MMAP_THRESHOLD_ is set, this has no effect.

    References
    ----------
    .. [1] https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD
    """
    numpy.empty(2**25 - 2**16, dtype="uint8")


@cache
def _on_cpu(kind: type[T]) -> T:
    """Return the backend of the CPU, always the same one: creating it takes longer than a small operation."""
    return kind("cpu")


class NumpyBackend(Backend):
    """NumPy without a wrapper: it implements the standard from version 2.1 on, and a wrapper would be slower."""

    name: ClassVar[str] = "numpy"
    xp: ClassVar[Any] = numpy

    @classmethod
    def open(cls, device: str) -> Self:
        if device != "cpu":
            msg = f"numpy has no device {device!r}, only 'cpu'"
            raise DeviceUnavailable(msg)
        keep_memory()
        return cls(device)

    @classmethod
    def of(cls, array: Array) -> Self:
        backend: Self = _on_cpu(cls)
        return backend

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu"]

    def describe(self) -> str:
        return f"{os.cpu_count()} cores"

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        return host_array(x, dtype)

    def to_numpy(self, array: Array) -> Any:
        return array

    def take_rows(self, array: Array, rows: Any) -> Array:
        if array.flags.c_contiguous:
            return super().take_rows(array, rows)
        # numpy.take would first make a contiguous copy of the whole array.
        per_network = rows.ndim > 1 and array.ndim > 2
        return array[numpy.arange(rows.shape[0])[:, None], rows] if per_network else array[..., rows, :]

    def read_only(self, array: Array) -> Array:
        view = array[...]
        view.flags.writeable = False
        return view

    @property
    def step_memory(self) -> int:
        # Measured with 256 networks of several sizes: up to a third less time than with 64 MiB or 2 MiB.
        return 2**24

    def compiler(self, announce: Callable[[], None] = lambda: None) -> Any:
        if missing := missing_for_compiling():
            msg = f'{" and ".join(missing)} must be installed; use pip install "xpnet[jit]"'
            raise NoCompiler(msg)
        from xpnet.backends.compiled.cpu_compiler import Compiler

        return Compiler(announce)

    def on_device(self) -> AbstractContextManager[Any]:
        # Training reports a divergence itself, once and with its epoch, when it reads the losses.
        return numpy.errstate(all="ignore")
