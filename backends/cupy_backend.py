"""CuPy on CUDA GPUs.

CuPy imports on a machine without a driver, and with a driver fails only at the first matrix product if the CUDA
libraries are missing, so a device is tried before it is handed out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import array_api_compat.cupy
import cupy

from xpnet.backends.base import Array, Backend, DeviceUnavailable, first_line
from xpnet.backends.host import host_array
from xpnet.backends.registry import CUDA_FIX


def _vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    return cupy.sum(x1 * x2, axis=axis)


# array-api-compat's namespace, but for two functions: its sign waits for the device in search of NaN, which CuPy's own
# hands on anyway, and its vecdot is a matrix product for every sample.
_NAMESPACE = SimpleNamespace(**{**vars(array_api_compat.cupy), "sign": cupy.sign, "vecdot": _vecdot})


class CupyBackend(Backend):
    """CuPy on one GPU: a step launches kernels and never waits for them."""

    name: ClassVar[str] = "cupy"
    xp: ClassVar[Any] = _NAMESPACE

    @classmethod
    def open(cls, device: str) -> Self:
        devices = cls.devices()
        kind, _, index = device.partition(":")
        if kind != "cuda" or not (index == "" or index.isdecimal()):
            msg = f"cupy has no device {device!r}, only 'cuda' and 'cuda:N'"
            raise DeviceUnavailable(msg)
        backend = cls(f"cuda:{int(index or cupy.cuda.runtime.getDevice())}")
        if backend.device not in devices:
            msg = f"there is no {backend.device}; this machine has {', '.join(devices)}"
            raise DeviceUnavailable(msg)
        backend._try()
        return backend

    def _try(self) -> None:
        """Take a small matrix product, which needs the memory and the libraries that training needs."""
        try:
            with self.on_device():
                tried = cupy.ones((2, 2)) @ cupy.ones((2, 2))
            self.to_numpy(tried)
        except MemoryError as error:
            msg = f"{self.device} has no memory left ({error})"
            raise DeviceUnavailable(msg) from error
        except Exception as error:  # whatever a broken CUDA installation raises, of whichever library
            reason = first_line(error)
            msg = f"there is a driver, but no usable CUDA library ({type(error).__name__}: {reason}): {CUDA_FIX}"
            raise DeviceUnavailable(msg) from error

    @classmethod
    def of(cls, array: Array) -> Self:
        return cls(f"cuda:{array.device.id}")

    @classmethod
    def devices(cls) -> list[str]:
        if not cupy.cuda.is_available():
            found = f"CuPy {cupy.__version__} finds no NVIDIA GPU with a working driver"
            msg = f"{found}; install the driver, or use device 'cpu'"
            raise DeviceUnavailable(msg)
        return [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]

    @property
    def _index(self) -> int:
        return int(self.device.partition(":")[2])

    def describe(self) -> str:
        properties = cupy.cuda.runtime.getDeviceProperties(self._index)
        return f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"

    @property
    def working_memory(self) -> int:
        return int(cupy.cuda.runtime.getDeviceProperties(self._index)["totalGlobalMem"]) // 4

    def on_device(self) -> AbstractContextManager[Any]:
        return cupy.cuda.Device(self._index)  # type: ignore[no-any-return]

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        with self.on_device() as device:
            if not isinstance(x, cupy.ndarray):
                x = host_array(x, dtype)
            elif x.device != device:
                x = array_api_compat.to_device(x, device)
            return cupy.asarray(x, dtype=dtype)

    def to_numpy(self, array: Array) -> Any:
        with self.on_device():
            return cupy.asnumpy(array)

    def synchronize(self) -> None:
        with self.on_device() as device:
            device.synchronize()
