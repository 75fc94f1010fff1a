"""array-api-strict on the CPU: a test backend, the reference implementation of the array API standard.

It tests that the mathematics uses only functions of the standard. Arrays of its simulated devices (``"device1"``,
``"no_float64"``, …) cannot be mixed, as on GPUs.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import array_api_strict
import numpy

from xpnet.backends.base import Array, Backend, DeviceUnavailable
from xpnet.backends.host import host_array
from xpnet.backends.numpy_backend import NumpyBackend

_HOST = "CPU_DEVICE"
_Array = type(array_api_strict.asarray(0))  # the class is not public


def _devices() -> dict[str, Any]:
    devices = array_api_strict.__array_namespace_info__().devices()
    # "cpu" is the name in xpnet, _HOST that of the library.
    return {"cpu" if device._device == _HOST else device._device: device for device in devices}


class StrictBackend(NumpyBackend):
    """array-api-strict on one of its devices; it computes with NumPy and gives the same warnings."""

    name: ClassVar[str] = "array_api_strict"
    xp: ClassVar[Any] = array_api_strict

    compiler = Backend.compiler  # to test a backend that has none

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
        return "simulated device, for tests"

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        device = _devices()[self.device]
        if isinstance(x, _Array):
            # The type first: the device may not have the type of the array.
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
