"""NumPy on the CPU."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self

import numpy

from xpnet.backends.base import Array, Backend, DeviceUnavailable


def host_array(x: Any, dtype: str | None = None) -> Any:
    """Return anything as a NumPy array; what is too great for the type becomes infinite, and never a mere warning."""
    if isinstance(x, numpy.ma.MaskedArray) and numpy.ma.is_masked(x):
        msg = "it is a masked array, whose masked values would be taken for numbers; fill them or drop them first"
        raise ValueError(msg)
    with numpy.errstate(over="ignore"):
        return numpy.asarray(x, dtype=dtype)


class NumpyBackend(Backend):
    """NumPy, used bare: it is complete from version 2.1 on, and a wrapper's calls cost as much as a small product."""

    name: ClassVar[str] = "numpy"
    xp: ClassVar[Any] = numpy

    @classmethod
    def open(cls, device: str) -> Self:
        if device != "cpu":
            msg = f"numpy has no device {device!r}, only 'cpu'"
            raise DeviceUnavailable(msg)
        return cls(device)

    @classmethod
    def of(cls, array: Array) -> Self:
        return cls("cpu")

    @classmethod
    def devices(cls) -> list[str]:
        return ["cpu"]

    def describe(self) -> str:
        return f"{os.cpu_count()} cores"

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        return host_array(x, dtype)

    def to_numpy(self, array: Array) -> Any:
        return array

    @property
    def step_memory(self) -> int:
        # Measured: with a mebibyte or two, networks side by side train twice as fast as with ten.
        return 2**21

    def on_device(self) -> AbstractContextManager[Any]:
        # Training that diverges is reported once, with its epoch, by whoever reads the losses.
        return numpy.errstate(all="ignore")
