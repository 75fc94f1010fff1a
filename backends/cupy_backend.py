"""CuPy on CUDA GPUs.

CuPy imports on a machine without a driver, and with a driver fails only at the first matrix product if the CUDA
libraries are missing, so a device is tried before it is handed out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import array_api_compat.cupy
import cupy

from xpnet.backends.base import Array, Backend, DeviceUnavailable, State, Step
from xpnet.backends.numpy_backend import host_array
from xpnet.backends.registry import CUDA_MEND


def _device_count() -> int:
    if not cupy.cuda.is_available():
        found = f"CuPy {cupy.__version__} finds no NVIDIA GPU with a working driver"
        msg = f"{found}; install the driver, or use device 'cpu'"
        raise DeviceUnavailable(msg)
    return int(cupy.cuda.runtime.getDeviceCount())


@dataclass(frozen=True)
class CupyBackend(Backend):
    """CuPy on one GPU: a step launches kernels and never waits for them."""

    name: ClassVar[str] = "cupy"
    xp: ClassVar[Any] = array_api_compat.cupy

    @classmethod
    def open(cls, device: str) -> Self:
        count = _device_count()
        kind, _, index = device.partition(":")
        if kind != "cuda" or not (index == "" or index.isdecimal()):
            msg = f"cupy has no device {device!r}, only 'cuda' and 'cuda:N'"
            raise DeviceUnavailable(msg)
        i = int(index) if index else int(cupy.cuda.runtime.getDevice())
        if i >= count:
            there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
            msg = f"there is no GPU {i}; this machine has {there}"
            raise DeviceUnavailable(msg)
        backend = cls(f"cuda:{i}")
        try:
            with backend.on_device():
                tried = cupy.ones((2, 2)) @ cupy.ones((2, 2))
            backend.to_numpy(tried)
        except Exception as error:  # whatever a broken CUDA installation raises, of whichever library
            reason = str(error).partition("\n")[0]
            msg = f"there is a driver, but no usable CUDA library ({type(error).__name__}: {reason}): {CUDA_MEND}"
            raise DeviceUnavailable(msg) from error
        return backend

    @classmethod
    def of(cls, array: Array) -> Self:
        return cls(f"cuda:{array.device.id}")

    @classmethod
    def devices(cls) -> dict[str, str]:
        devices = {}
        for i in range(_device_count()):
            backend = cls.open(f"cuda:{i}")
            properties = cupy.cuda.runtime.getDeviceProperties(i)
            memory = properties["totalGlobalMem"] / 2**30
            devices[backend.device] = f"{properties['name'].decode()}, {memory:.0f} GiB"
        return devices

    def on_device(self) -> AbstractContextManager[Any]:
        return cupy.cuda.Device(int(self.device.partition(":")[2]))  # type: ignore[no-any-return]

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
        with self.on_device():
            cupy.cuda.get_current_stream().synchronize()

    def scan(self, step: Step, state: State, inputs: tuple[Array, ...]) -> tuple[State, Array]:
        with self.on_device():
            return super().scan(step, state, inputs)
