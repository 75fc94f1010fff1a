"""array-api-strict on the CPU: the standard and nothing else, to test that the mathematics keeps to it.

Its made-up devices (``"device1"``, ``"no_float64"``, …) refuse to mix, as GPUs do.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import array_api_strict
import numpy

from xpnet.backends.base import Array, Backend, DeviceUnavailable
from xpnet.backends.host import host_array
from xpnet.backends.numpy_backend import NumpyBackend

_HOST = "CPU_DEVICE"
_Array = type(array_api_strict.asarray(0))  # the library keeps its class to itself


def _devices() -> dict[str, Any]:
    devices = array_api_strict.__array_namespace_info__().devices()
    # "cpu" is what people say; the library's own name is _HOST.
    return {"cpu" if device._device == _HOST else device._device: device for device in devices}


class StrictBackend(NumpyBackend):
    """array-api-strict on one of its devices; NumPy computes underneath, and gives the same warnings."""

    name: ClassVar[str] = "array_api_strict"
    xp: ClassVar[Any] = array_api_strict

    @classmethod
    def open(cls, device: str) -> Self:
        if device not in cls.devices():
            msg = f"array_api_strict has no device {device!r}, only {', '.join(map(repr, cls.devices()))}"
            raise DeviceUnavailable(msg)
        return cls(device)

    @classmethod
    def of(cls, array: Array) -> Self:
        return cls(next(name for name, device in _devices().items() if device == array.device))

    @classmethod
    def devices(cls) -> list[str]:
        return list(_devices())

    def describe(self) -> str:
        return "made up, for tests"

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        device = _devices()[self.device]
        if isinstance(x, _Array):
            # The type first: the device may not have the one that the array comes with.
            if dtype is not None:
                x = array_api_strict.astype(x, getattr(array_api_strict, dtype), copy=False)
            return x.to_device(device)
        return array_api_strict.asarray(host_array(x, dtype), device=device)

    def take_rows(self, array: Array, rows: Any) -> Array:
        return Backend.take_rows(self, array, rows)

    def read_only(self, array: Array) -> Array:
        return array

    def to_numpy(self, array: Array) -> Any:
        return numpy.asarray(array.to_device(_devices()["cpu"]))
