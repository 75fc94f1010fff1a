"""CuPy on CUDA GPUs.

CuPy can be imported on a machine without a driver. With a driver but without the CUDA libraries it fails only at the
first matrix product. Therefore `open` tests a device before it returns it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import array_api_compat.cupy
import cupy

from xpnet.backends.base import Array, Backend, CannotCompile, DeviceUnavailable, first_line
from xpnet.backends.host import host_array
from xpnet.backends.registry import CUDA_FIX


def _vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    return cupy.sum(x1 * x2, axis=axis)


# The namespace of array-api-compat, except for two functions: its `sign` waits for the device to look for NaN, which
# cupy.sign returns as NaN anyway, and its `vecdot` is a matrix product for every sample.
_NAMESPACE = SimpleNamespace(**{**vars(array_api_compat.cupy), "sign": cupy.sign, "vecdot": _vecdot})


def _load(source: str) -> Callable[[str, int, int, int, Sequence[Any]], None]:
    """Compile a CUDA module, which CuPy caches, and return what launches its functions on the current stream."""
    module = cupy.RawModule(code=source)
    try:
        module.compile()
    except cupy.cuda.compiler.CompileException as error:
        msg = f"CUDA's compiler refuses the kernel: {first_line(error)}"
        raise CannotCompile(msg) from error

    def launch(name: str, blocks: int, threads: int, shared_bytes: int, arguments: Sequence[Any]) -> None:
        function = module.get_function(name)
        if shared_bytes > 48 * 2**10:  # more must be allowed
            function.max_dynamic_shared_size_bytes = shared_bytes
        function((blocks,), (threads,), tuple(arguments), shared_mem=shared_bytes)

    return launch


class CupyBackend(Backend):
    """CuPy on one GPU. A training step launches kernels and does not wait for them."""

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
        backend._test()
        return backend

    def _test(self) -> None:
        """Compute a small matrix product, which needs the same libraries as training; raise an error if it fails."""
        try:
            with self.on_device():
                product = cupy.ones((2, 2)) @ cupy.ones((2, 2))
            self.to_numpy(product)
        except MemoryError as error:
            msg = f"{self.device} has no memory left ({error})"
            raise DeviceUnavailable(msg) from error
        except Exception as error:  # a broken CUDA installation can raise any error
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

    def compiler(self, announce: Callable[[], None] = lambda: None) -> Any:
        from xpnet.backends.compiled.cuda_compiler import CudaCompiler

        with self.on_device() as device:
            return CudaCompiler(self, _load, device.attributes["MaxSharedMemoryPerBlockOptin"])

    def synchronize(self) -> None:
        with self.on_device() as device:
            device.synchronize()
